"""The commands of `llorch-pool`."""
