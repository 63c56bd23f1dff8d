"""What a GGUF file says of itself, read fast and without trusting it."""

from pool_core.gguf.errors import HeaderError
from pool_core.gguf.header import GgufHeader
from pool_core.gguf.memory import KV_BYTES, MemoryEstimate, estimate_memory
from pool_core.gguf.reader import read_header
from pool_core.gguf.tensors import TensorTable

__all__ = [
    "KV_BYTES",
    "GgufHeader",
    "HeaderError",
    "MemoryEstimate",
    "TensorTable",
    "estimate_memory",
    "read_header",
]
