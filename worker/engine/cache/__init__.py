"""What is kept of sequences outside the context: in RAM, and on disk."""
