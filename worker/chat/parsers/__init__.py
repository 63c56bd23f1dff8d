"""Readers of answers: what in the text of a model is said, thought, or a tool call."""
