"""`llorch-worker`: one HTTP daemon running one model on one backend."""
