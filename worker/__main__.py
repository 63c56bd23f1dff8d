"""`llorch-worker`: serve a model, test one, or lend this machine's devices to another."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pool_core.errors import LlorchError
from pool_core.spawn.report import WorkerExit


def main(argv: Sequence[str] | None = None) -> int:
    """The process's exit code: see WorkerExit. Usage errors are one line on stderr."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(args)
    except LlorchError as error:
        print(f"llorch-worker: error: {error}", file=sys.stderr)
        return WorkerExit.USAGE
    except KeyboardInterrupt:
        return 130


def _run(args: list[str]) -> int:
    if args[:1] == ["rpc-server"]:
        from worker.llama.rpc import main as serve_rpc

        return serve_rpc(args[1:])
    if any(arg.split("=")[0] == "--self-test" for arg in args):
        from worker.self_test.cli import main as self_test

        return self_test(args)
    from worker.settings import parse_settings

    settings = parse_settings(args)
    from worker.serve import serve  # heavy: not before the settings are known to be right

    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
