"""The engine: pure Python, knows llama.cpp only through the ModelRunner protocol."""
