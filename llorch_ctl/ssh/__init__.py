"""SSH connections to pools: the only importer of paramiko."""
