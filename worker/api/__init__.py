"""The HTTP face of a worker."""
