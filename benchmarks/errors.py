"""What can go wrong while measuring."""

from __future__ import annotations

from pool_core.errors import LlorchError


class BenchmarkError(LlorchError):
    """A measurement could not be made, or what was measured is not what was asked for."""

    code = "E_BENCHMARK"
