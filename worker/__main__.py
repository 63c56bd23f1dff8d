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
    if args[:1] == ["--make-key"]:
        return _make_key(args[1:])
    from worker.settings import parse_settings

    settings = parse_settings(args)
    from worker.serve import serve  # heavy: not before the settings are known to be right

    return serve(settings)


def _make_key(names: list[str]) -> int:
    """A new key for its owner, and what a worker has to know of it."""
    from pool_core.api_keys import key_line, make_key
    from pool_core.errors import UsageError

    if len(names) != 1:
        raise UsageError("--make-key takes one NAME and nothing else")
    key = make_key()
    line = key_line(names[0], key)
    print(f"{key}\nfor the file of --keys, which must be yours alone (chmod 600):\n{line}")
    return WorkerExit.OK


if __name__ == "__main__":
    sys.exit(main())
