"""The peers: built or installed on first use, and kept in the user's cache."""
