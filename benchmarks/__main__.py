"""`benchmarks/run`: measures, prints tables of ratios, and adds them to RESULTS.md."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.reporter import Reporter
from benchmarks.scenarios import SCENARIOS
from benchmarks.session import Session
from pool_core.errors import LlorchError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words)
    if args.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:14} {scenario.summary} [{', '.join(scenario.models)}]")
        return 0
    try:
        run(args, command_line(words))
    except LlorchError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def command_line(words: Sequence[str]) -> str:
    """What was typed, without this machine's paths."""
    shown = ["PATH" if "/" in word else word for word in words]
    return shlex.join(["benchmarks/run", *shown])


def run(args: argparse.Namespace, command: str) -> None:
    """Every scenario that was named, in the order of the list."""
    unknown = set(args.scenarios) - set(SCENARIOS)
    if unknown:
        raise UsageError(f"no scenario {', '.join(sorted(unknown))}", "see benchmarks/run --list")
    path = None if args.dry_run or args.quick else args.results
    for scenario in SCENARIOS.values():
        if args.scenarios and scenario.name not in args.scenarios:
            continue
        reporter = Reporter(command, path)
        scenario.run(_session(args, scenario.models, reporter))


def _session(args: argparse.Namespace, models: tuple[str, ...], reporter: Reporter) -> Session:
    return Session(
        models=tuple(args.models.split(",")) if args.models else models,
        clients=tuple(map(int, args.clients.split(","))),
        turns=args.turns or (1 if args.quick else 5),
        threads=args.threads,
        quick=args.quick,
        backend=args.backend,
        worker_options=tuple(shlex.split(args.worker_options)),
        peer_options=tuple(shlex.split(args.peer_options)),
        llama_server_path=args.llama_server,
        model_folder=args.model_folder,
        reporter=reporter,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    add = parser.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help="default: all; see --list")
    add("--list", action="store_true", help="the scenarios, and the models of each")
    add("--quick", action="store_true", help="one turn and less of it: does it run? Not recorded")
    add("--dry-run", action="store_true", help="print the tables only")
    add("--models", metavar="NAME,…", help="60m, 0.5b, or a reference model such as ref-llama")
    add("--clients", default="1,4,8,16", metavar="N,…")
    add("--turns", type=int, metavar="N", help="how often each side is measured (default 5)")
    add("--threads", type=int, default=2, metavar="N", help="compute threads of each server")
    add("--backend", default="cpu", help="cpu, cuda or metal")
    add("--worker-options", default="", metavar="'…'", help="added to our worker's command line")
    add("--peer-options", default="", metavar="'…'", help="added to llama-server's command line")
    add("--llama-server", type=Path, metavar="PATH", help="instead of building it")
    add("--model-folder", type=Path, metavar="PATH", help="where random models are, or are made")
    add("--results", type=Path, default=results.RESULTS, metavar="PATH")
    return parser


if __name__ == "__main__":
    sys.exit(main())
