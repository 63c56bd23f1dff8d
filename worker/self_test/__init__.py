"""Whether a model says the same alone, in a crowd, and after its cache was away."""
