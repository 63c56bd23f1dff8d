"""`llorch infer`: ask a worker, wherever it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from llorch_ctl.context import Session
from llorch_ctl.options import (
    HostsOption,
    JsonOption,
    PoolsOption,
    TargetArgument,
    session_of,
)
from pool_core.errors import UsageError
from pool_core.wording import plain

if TYPE_CHECKING:
    from llorch_ctl.ask import Reply
    from llorch_ctl.find import Found


def register(app: typer.Typer) -> None:
    app.command(
        epilog="\b\nExamples:\n"
        '  llorch infer ref-llama "What is the capital of France?"\n'
        "  llorch infer qwen --pool mac --max-tokens 200 - < prompt.txt\n"
        '  llorch infer ref-phi3-cpu-3f2a --raw "Once upon a time"'
    )(infer)


def infer(
    ctx: typer.Context,
    target: TargetArgument,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help='What to ask; "-" reads it from stdin.')
    ],
    pools: PoolsOption = None,
    hosts: HostsOption = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instructions that come before the prompt.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after this many tokens.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, metavar="T", help="0 is greedy.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed gives the same answer.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Send the prompt as it is, without a chat template.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Show tokens as they come.")
    ] = True,
    json_lines: JsonOption = False,
) -> None:
    """Ask a ready worker and show its answer as it comes.

    TARGET is a worker, or a model that some worker serves: one of this machine, else one of the
    inventory, unless --pool says where. The way to another machine is a tunnel through SSH.
    """
    session = session_of(ctx)
    if raw and system:
        raise UsageError("--raw sends the prompt alone", "leave --system out")
    from llorch_ctl.ask import AnswerBroken, Question, ask
    from llorch_ctl.connect import open_transport
    from llorch_ctl.find import find_worker

    text = sys.stdin.read() if prompt == "-" else prompt
    question = Question(text, system, max_tokens, temperature, seed, raw)
    worker = find_worker(session, target, pools or (), hosts or ())
    with (
        open_transport(worker.pool, session.home) as transport,
        transport.open_port(worker.port) as tunnel,
    ):
        work = ask(tunnel, worker.model, question, worker.token)
        try:
            _show(session, worker, work, stream=stream)
        except AnswerBroken as broken:  # was it the worker, or the way to it?
            raise (transport.wait_lost(0.5) or broken) from None


def _show(
    session: Session, worker: Found, work: Generator[str, None, Reply], *, stream: bool
) -> None:
    is_live = stream and not session.console.json_lines
    started = time.monotonic()
    text, reply = _listen(work, is_live=is_live)
    seconds = time.monotonic() - started
    if session.console.json_lines:
        _show_json(session, worker, text, reply, seconds)
        return
    if not is_live:
        print(plain(text), flush=True)
    rate = f", {reply.num_tokens / seconds:.0f} tokens/s" if seconds > 0 else ""
    where = f"{worker.id} on {worker.pool.name}"
    session.console.note(f"{where}: {reply.num_tokens} tokens, {reply.stop_reason.lower()}{rate}")


def _listen(work: Generator[str, None, Reply], *, is_live: bool) -> tuple[str, Reply]:
    """The whole answer; `is_live` prints it as it comes, and ends its last line however it ends.

    Ctrl-C hangs up, and the worker stops.
    """
    pieces: list[str] = []
    with closing(work):
        try:
            while True:
                try:
                    piece = next(work)
                except StopIteration as stop:
                    return "".join(pieces), stop.value
                pieces.append(piece)
                if is_live:
                    print(plain(piece), end="", flush=True)
        finally:
            if is_live and pieces:
                print(flush=True)


def _show_json(session: Session, worker: Found, text: str, reply: Reply, seconds: float) -> None:
    session.console.result(
        {
            "pool": worker.pool.name,
            "worker": worker.id,
            "model": worker.model,
            "text": text,
            "stop_reason": reply.stop_reason,
            "usage": reply.usage,
            "seconds": round(seconds, 3),
        }
    )
