"""What can go wrong with worker processes."""

from __future__ import annotations

from pool_core.errors import LlorchError


class SpawnError(LlorchError):
    """A worker did not become ready. Nothing of it runs any more; its log is kept."""

    code = "E_SPAWN"


class DoesNotFit(SpawnError):
    """The model and its context need more memory than there is; bytes in `details`."""

    code = "E_MEMORY"


class StopUnverified(LlorchError):
    """A worker was told to stop, and something of it is still there."""

    code = "E_UNVERIFIED"


class DamagedRecord(LlorchError):
    """A file in `workers/` is not what a spawner wrote."""

    code = "E_RECORD"
