"""The commands of `llorch`."""
