"""`llorch-pool`: the local command line of one pool, a thin face of pool_core."""
