"""Models x backends x pools: run, compare, report."""
