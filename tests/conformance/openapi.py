"""Is `/openapi.json` true? schemathesis asks a worker whatever the description allows, and what it
does not: `python -m tests.conformance.openapi [--max-examples N] [--url URL]`.

Without a URL the application serves a scripted model, for it is the doors that are tried.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pool_core.errors import LlorchError
from tests.conformance.clients import Group
from tests.conformance.install import Installer
from tests.rigs.api_server import serve_api

SCHEMATHESIS = Group("schemathesis", (), pypi=("schemathesis",))
# What the model can take (its context, its names, a grammar that compiles) no schema can say.
_NOT_CHECKED = "positive_data_acceptance"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.openapi")
    parser.add_argument("--max-examples", type=int, default=15, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="of a worker that runs")
    args = parser.parse_args(argv)
    try:
        with Installer(_say).installed(SCHEMATHESIS) as installed, _serving(args.url) as url:
            program = installed.folder / "bin" / "schemathesis"
            argv = [str(program), "run", f"{url}/openapi.json", "--seed", str(args.seed)]
            argv += ["--max-examples", str(args.max_examples)]
            argv += ["--phases", "examples,coverage,fuzzing"]
            argv += ["--checks", "all", "--exclude-checks", _NOT_CHECKED]
            with tempfile.TemporaryDirectory() as folder:
                return subprocess.run(argv, cwd=folder).returncode
    except LlorchError as error:
        _say(f"error: {error}")
        return 1


@contextmanager
def _serving(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with serve_api() as server:
        yield server.url


def _say(text: str) -> None:
    print(f"openapi: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
