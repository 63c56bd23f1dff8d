"""`llorch-worker --self-test MODEL.gguf`: load a model, test it, and leave."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from pool_core.errors import LlorchError, UsageError
from pool_core.spawn.report import WorkerExit
from worker.engine.async_engine import AsyncEngine
from worker.engine.runner import ModelRunner
from worker.keeping import ModelDigest, open_keeping
from worker.loading import load_model
from worker.log import configure_logging
from worker.self_test.compare import TOLERANCE
from worker.self_test.result import End, Report, to_dict
from worker.self_test.run import SelfTest
from worker.self_test.table import Table
from worker.settings import WorkerSettings, parse_settings

OPTION = "--self-test"


def main(argv: Sequence[str]) -> int:
    """`argv` is the worker's command line with `--self-test MODEL.gguf` in the place of
    `--model MODEL.gguf`. Raises UsageError."""
    own, rest = _make_parser().parse_known_args(argv)
    settings = parse_settings(["--model", own.model, *rest])
    configure_logging(logging.WARNING)
    try:
        runner = load_model(settings, lambda share: None)
    except LlorchError as error:
        print(f"llorch-worker: error: {error}", file=sys.stderr)
        return int(getattr(error, "exit", WorkerExit.FAILED))
    show = _print_json if own.json else Table().show
    try:
        ok = asyncio.run(_test(runner, settings, own.tolerance, show))
    except (LlorchError, OSError) as error:
        print(f"llorch-worker: error: {error}", file=sys.stderr)
        return WorkerExit.FAILED
    finally:
        runner.close()
    return WorkerExit.OK if ok else WorkerExit.SELF_TEST_FAILED


class _Engines:
    """One engine after another on one runner; each finds on disk what the one before left."""

    def __init__(self, runner: ModelRunner, settings: WorkerSettings) -> None:
        self._runner = runner
        self._settings = settings
        self._engine: AsyncEngine | None = None

    async def start(self) -> AsyncEngine:
        settings, runner = self._settings, self._runner
        keeping = open_keeping(settings, runner.info, ModelDigest(settings))
        if keeping.disk_problem:
            raise LlorchError(keeping.disk_problem, "give --agents a folder that can be written to")
        self._engine = AsyncEngine(
            runner,
            archive=keeping.archive,
            max_running=min(settings.slots, runner.layout.num_slots),
            drafts=settings.drafts,
        )
        self._engine.start()
        return self._engine

    async def restart(self) -> AsyncEngine:
        await self.stop()
        self._runner.reset()
        return await self.start()

    async def stop(self) -> None:
        if self._engine is not None:
            await self._engine.stop()
            self._engine = None


async def _test(
    runner: ModelRunner, settings: WorkerSettings, tolerance: float, show: Callable[[Report], None]
) -> bool:
    ok = False
    with tempfile.TemporaryDirectory(prefix="self-test-", dir=settings.agents) as folder:
        # Nobody else's caches, so it does not matter which model they are of.
        settings = replace(settings, agents=Path(folder), model_sha256="")
        engines = _Engines(runner, settings)
        try:
            test = SelfTest(
                await engines.start(),
                runner.vocab,
                runner.memory,
                tolerance=tolerance,
                restart=engines.restart,
            )
            async with aclosing(test.run()) as reports:
                async for report in reports:
                    show(report)
                    ok = isinstance(report, End) and report.ok
        finally:
            await engines.stop()
    return ok


def _print_json(report: Report) -> None:
    print(json.dumps(to_dict(report), ensure_ascii=False), flush=True)


def _nats(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of nats")
    return value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"usage: llorch-worker {OPTION} MODEL.gguf [--json] …")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument(OPTION, dest="model", required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tolerance", type=_nats, default=TOLERANCE)
    return parser
