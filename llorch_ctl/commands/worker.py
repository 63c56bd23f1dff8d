"""`llorch worker`: workers as seen from here."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from llorch_ctl.options import (
    HostsOption,
    JsonOption,
    PoolsOption,
    TargetArgument,
    session_of,
)
from pool_core.events import State
from pool_ctl.commands import QuickApp

app = QuickApp(help="Reach the workers of other machines.")


@app.callback()
def group() -> None:
    """A group, though it has one command."""


@app.command(
    epilog="\b\nExamples:\n"
    "  llorch worker forward qwen --pool mac\n"
    "  llorch worker forward ref-llama-cpu-3f2a --port 8001"
)
def forward(
    ctx: typer.Context,
    target: TargetArgument,
    pools: PoolsOption = None,
    hosts: HostsOption = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="P", help="Port here; 0 is any free.")
    ] = 0,
    json_lines: JsonOption = False,
) -> None:
    """Give a worker an address on this machine, until Ctrl-C.

    TARGET is a worker, or a model that some worker serves. The address is on 127.0.0.1; the way
    to the worker is a tunnel through SSH.
    """
    session = session_of(ctx)
    from llorch_ctl.connect import open_transport
    from llorch_ctl.find import find_worker

    worker = find_worker(session, target, pools or (), hosts or ())
    with (
        open_transport(worker.pool, session.home) as transport,
        transport.forward(worker.port, port) as tunnel,
    ):
        if session.console.json_lines:
            session.console.relay(State(worker.id, "forwarding", tunnel.url), worker.pool.name)
        else:
            session.console.print(tunnel.url)
            session.console.note(f"{worker.id} on {worker.pool.name}, until Ctrl-C")
        with suppress(KeyboardInterrupt):
            while (lost := transport.wait_lost(1.0)) is None:
                pass
            raise lost
    session.console.result({"worker": worker.id, "pool": worker.pool.name, "url": tunnel.url})
