"""The servers that are measured, all asked in the same way."""
