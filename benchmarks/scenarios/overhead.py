"""Throughput with a model so small that what surrounds it is most of the work."""

from __future__ import annotations

from benchmarks.scenarios.throughput import run

__all__ = ["run"]
