"""`llorch` and `python -m llorch_ctl`."""

from __future__ import annotations

import sys


def main() -> int:
    from llorch_ctl.app import main as run_app

    return run_app(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
