"""`llorch`: inventory, SSH, fan-out, tunnels and the matrix, from the laptop of the operator."""
