"""From a pool to the transport that reaches it."""

from __future__ import annotations

from llorch_ctl.inventory import Pool
from llorch_ctl.transport import Transport
from pool_core.home import Home


def open_transport(pool: Pool, home: Home) -> Transport:
    """A transport that connects when it is first used. Close it, or use it in a `with`."""
    if pool.is_local:
        from llorch_ctl.local import LocalTransport

        return LocalTransport(pool.name, home, pool.command)
    from llorch_ctl.remote import RemoteTransport  # paramiko is slow to import

    return RemoteTransport(pool, home)
