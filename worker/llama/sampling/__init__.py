"""Choosing a token from a row of logits, with numpy: llama.cpp's samplers in llama.cpp's order.

Each sequence has its own sampler, so that nothing another sequence does can show in its choices:
the random numbers for its n-th token depend on its seed and n alone.
"""

from worker.llama.sampling.logprobs import logprobs
from worker.llama.sampling.rows import Row
from worker.llama.sampling.sampler import Sampler

__all__ = ["Row", "Sampler", "logprobs"]
