"""`scripts/conformance`: installs the clients, tries them, prints the table."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence

from pool_core.errors import LlorchError
from tests.conformance.clients import GROUPS
from tests.conformance.results import to_table, write_docs
from tests.conformance.run import run_groups
from tests.rigs.worker import ROOT

PAGE = ROOT / "docs" / "clients.md"


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.write_docs and (args.groups or args.only):
        parser.error("--write-docs tries everything")
    if args.list:
        for group in GROUPS:
            when = "by default" if group.by_default else "with --all"
            print(f"{group.name:14} {', '.join(group.pypi or group.npm)} ({when})")
        return 0
    names = {group.name for group in GROUPS if group.by_default or args.all or args.write_docs}
    wanted = [group for group in GROUPS if group.name in (set(args.groups) or names)]
    started = time.monotonic()
    try:
        results = run_groups(wanted, say, ["-k", args.only] if args.only else [])
    except LlorchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\n{to_table(results).to_markdown()}", flush=True)
    if args.write_docs:
        write_docs(PAGE, results, datetime.date.today().isoformat())
    failed = [result.client for result in results if not result.passed]
    say(f"{time.monotonic() - started:.0f} s; {'failed: ' + ', '.join(failed) if failed else 'ok'}")
    return bool(failed)


def say(text: str) -> None:
    print(f"conformance: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description="Try real clients, at their newest versions, against a real worker.",
    )
    names = [group.name for group in GROUPS]
    parser.add_argument("groups", nargs="*", metavar="GROUP", choices=[*names, []])
    parser.add_argument("--all", action="store_true", help="also those that are heavy to install")
    parser.add_argument("--list", action="store_true", help="the groups there are")
    parser.add_argument("--only", metavar="WORDS", help="tests that match, as pytest's -k")
    parser.add_argument(
        "--write-docs", action="store_true", help="try all, and put the table into docs/"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
