"""`llorch-pool` and `python -m pool_ctl`."""

from __future__ import annotations

import sys


def main() -> int:
    if sys.argv[1:] == ["stdio"]:
        from pool_ctl.stdio import serve  # says hello before anything slow is imported

        return serve()
    from pool_ctl.app import main as run_app

    return run_app(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
