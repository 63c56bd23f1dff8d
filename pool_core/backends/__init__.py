"""Which llama.cpp devices this machine has, and the runtimes built for them.

Nothing is re-exported here: `wheelhouse` must stay importable with the standard library alone.
"""
