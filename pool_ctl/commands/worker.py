"""`llorch-pool worker`: start, look at and stop workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pool_core.errors import ExitCode
from pool_core.events import Log
from pool_core.spawn.record import WorkerSpec
from pool_core.spawn.spawner import Spawner
from pool_core.wording import plain
from pool_ctl.commands import QuickApp
from pool_ctl.commands.worker_key import app as key_app
from pool_ctl.context import Session
from pool_ctl.options import (
    BackendArgument,
    CatalogOption,
    JsonOption,
    ModelOption,
    WorkerArgument,
    session_of,
)

app = QuickApp(help="Start, look at and stop workers.")
app.add_typer(key_app, name="key")

GraceOption = Annotated[
    float | None,
    typer.Option(
        "--grace", min=0, metavar="SECONDS", help="How long it may finish its requests. [40]"
    ),
]


RateOption = Annotated[
    int, typer.Option(min=0, metavar="N", show_default=False, help="Of all callers. [any]")
]
KeyRateOption = Annotated[
    int, typer.Option(min=0, metavar="N", show_default=False, help="Of one key. [any]")
]


@app.command(
    epilog="\b\nExamples:\n"
    "  llorch-pool worker spawn cpu --model ref-llama\n"
    "  llorch-pool worker spawn rpc --model ref-qwen2 --ctx 4096\n"
    "  llorch-pool worker spawn cuda --model qwen --gpu 1 --port 8001 --token"
)
def spawn(
    ctx: typer.Context,
    backend: BackendArgument,
    model: ModelOption,
    gpu: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Which GPU; all of them if not said.")
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="P", show_default=False, help="Port; a free one if not said."
        ),
    ] = 0,
    host: Annotated[
        str, typer.Option("--bind", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    context: Annotated[
        int,
        typer.Option(
            "--ctx",
            min=0,
            metavar="N",
            show_default=False,
            help="Context in tokens, shared by all requests. [the model's, at most 16384]",
        ),
    ] = 0,
    slots: Annotated[
        int,
        typer.Option(
            min=0, max=256, metavar="N", show_default=False, help="Most requests at once. [16]"
        ),
    ] = 0,
    threads: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", show_default=False, help="CPU threads; one a core if not said."
        ),
    ] = 0,
    kv_type: Annotated[
        str, typer.Option(metavar="TYPE", help="Cache precision: f16, q8_0 or q4_0. [f16]")
    ] = "",
    kv_layout: Annotated[
        str,
        typer.Option(
            metavar="LAYOUT",
            help="Whether each request has a share of the context (split), or all have all of it "
            "(unified). [auto: split while that suffices]",
        ),
    ] = "",
    ram_cache: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="RAM for caches of agents that wait. [2G, at most an eighth of the memory]",
        ),
    ] = "",
    disk_cache: Annotated[
        str, typer.Option(metavar="SIZE", help="Disk for caches of agents. [10G]")
    ] = "",
    no_agents: Annotated[
        bool, typer.Option("--no-agents", help="Keep no caches on disk; a restart forgets all.")
    ] = False,
    no_draft: Annotated[
        bool, typer.Option("--no-draft", help="Never guess tokens ahead, whatever repeats.")
    ] = False,
    rpc: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="Use this running RPC server (repeatable), not an own one."
        ),
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="Make a token that every request has to carry.")
    ] = False,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys", help="Every request has to carry a key of this pool's (worker key add)."
        ),
    ] = False,
    queue: Annotated[
        int | None,
        typer.Option(min=0, max=65536, metavar="N", help="Most requests that wait. [64]"),
    ] = None,
    queue_order: Annotated[
        str, typer.Option(metavar="ORDER", help="Who is next: fifo or priority. [fifo]")
    ] = "",
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web pages from there may call (repeatable)."),
    ] = None,
    requests_per_minute: RateOption = 0,
    tokens_per_minute: RateOption = 0,
    key_requests_per_minute: KeyRateOption = 0,
    key_tokens_per_minute: KeyRateOption = 0,
    key_concurrency: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", show_default=False, help="Requests of one key at a time. [any]"
        ),
    ] = 0,
    catalog: CatalogOption = None,
    json_lines: JsonOption = False,
) -> None:
    """Start a worker and wait until it is ready.

    BACKEND is cpu, rpc, cuda or metal. The worker goes on when this command has ended.
    """
    session = session_of(ctx)
    from pool_core.catalog import ModelStore

    entry = session.catalog(catalog).get(model)
    spec = WorkerSpec(
        model=entry.id,
        model_path=ModelStore(session.home).require(entry),
        backend=backend,
        ctx=context,
        slots=slots,
        threads=threads,
        port=port,
        host=host,
        gpu=gpu,
        kv_type=kv_type,
        kv_layout=kv_layout,
        rpc=tuple(rpc or ()),
        with_token=token or keys,  # the pool itself has to get in, too
        agents=None if no_agents else session.home.agents,
        model_sha256=entry.whole_sha256,
        ram_cache=ram_cache,
        disk_cache=disk_cache,
        drafts=not no_draft,
        keys=_key_file(session) if keys else None,
        queue=queue,
        queue_order=queue_order,
        cors=tuple(cors or ()),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        key_requests_per_minute=key_requests_per_minute,
        key_tokens_per_minute=key_tokens_per_minute,
        key_concurrency=key_concurrency,
    )
    record = session.console.run(_spawner(session).spawn(spec))
    session.show("worker spawn", record.to_dict())


@app.command("list")
def list_workers(ctx: typer.Context, json_lines: JsonOption = False) -> None:
    """Every worker of this machine, the failed ones included."""
    session = session_of(ctx)
    records = _spawner(session).list()
    session.show("worker list", {"workers": [record.to_dict() for record in records]})


@app.command()
def show(ctx: typer.Context, worker: WorkerArgument, json_lines: JsonOption = False) -> None:
    """Everything known of one worker."""
    session = session_of(ctx)
    session.show("worker show", _spawner(session).get(worker).to_dict())


@app.command()
def stop(
    ctx: typer.Context,
    worker: WorkerArgument,
    grace: GraceOption = None,
    json_lines: JsonOption = False,
) -> None:
    """Stop a worker, and check that nothing of it is left."""
    session = session_of(ctx)
    session.show("worker stop", session.console.run(_spawner(session).stop(worker, grace)))


@app.command("stop-all")
def stop_all(ctx: typer.Context, grace: GraceOption = None, json_lines: JsonOption = False) -> None:
    """Stop every worker of this machine, all at once."""
    session = session_of(ctx)
    session.show("worker stop-all", session.console.run(_spawner(session).stop_all(grace)))


@app.command(
    epilog="\b\nExamples:\n"
    "  llorch-pool worker logs ref-llama-cpu-3f2a\n"
    "  llorch-pool worker logs -f -n 0 ref-llama-cpu-3f2a"
)
def logs(
    ctx: typer.Context,
    worker: WorkerArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the worker ends, or Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many lines to begin with.")
    ] = 100,
    json_lines: JsonOption = False,
) -> None:
    """What a worker wrote; also of one that is gone, as long as its log is kept."""
    session = session_of(ctx)
    spawner = _spawner(session)
    log = str(spawner.log_path(worker))
    if not follow:
        session.show(
            "worker logs", {"id": worker, "log": log, "lines": spawner.log_tail(worker, lines)}
        )
        return
    for event in spawner.follow_log(worker, lines):
        if session.console.json_lines:
            session.console.emit(event)
        elif isinstance(event, Log):
            typer.echo(plain(event.msg))
    if session.console.json_lines:
        session.console.result({"id": worker, "log": log, "lines": []})


@app.command()
def check(
    ctx: typer.Context,
    worker: WorkerArgument,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            metavar="NATS",
            help="How far log-probabilities of ordinary requests may be apart. [0.5]",
        ),
    ] = None,
    json_lines: JsonOption = False,
) -> None:
    """Have a worker test itself: are its answers the same alone, in a crowd and from its cache?

    The same prompts are asked alone, together, while others compute long prompts, and after their
    cache went out of the context and came back. Reproducible requests must be equal to the last
    bit, the others up to rounding. The worker goes on serving, slower. Exits 6 when they differ.
    """
    session = session_of(ctx)
    from pool_core.spawn.check import check_worker

    found = session.console.run(check_worker(_spawner(session).get(worker), tolerance))
    session.show("worker check", found, ok=found["ok"])
    if not found["ok"]:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _key_file(session: Session) -> Path:
    """The pool's keys, for a worker to read; one that has none yet gets them later."""
    from pool_core.api_keys import KeyFile

    file = KeyFile(session.home.worker_keys)
    file.create()
    return file.path


def _spawner(session: Session) -> Spawner:
    return Spawner(session.home, session.settings)
