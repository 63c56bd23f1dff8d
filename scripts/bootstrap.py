"""Set up a checkout: .venv, llama-cpp-python with the RPC backend, llorch itself.

Run by `scripts/setup` with any Python >= 3.11 and nothing installed; standard library only.
Safe to interrupt and to run again; two at once wait for each other.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pool_core.backends.wheelhouse import (  # noqa: E402  (needs ROOT on the path)
    BuildProgress,
    build_wheel,
    find_wheel,
)
from pool_core.errors import LlorchError  # noqa: E402

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
BAR_WIDTH = 30
PLAIN_EVERY_S = 20.0


class Steps:
    """Says on stderr what is being done: a moving bar on a terminal, sparse lines elsewhere."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._last = 0.0

    def say(self, text: str) -> None:
        print(f"{self._clear()}llorch: {text}", file=sys.stderr, flush=True)

    def build(self, progress: BuildProgress, started: float) -> None:
        """Show how far the compiler is."""
        now = time.monotonic()
        elapsed = f"{int(now - started) // 60}:{int(now - started) % 60:02d}"
        if not progress.total:
            text = f"fetching and configuring llama.cpp  {elapsed}"
        else:
            filled = BAR_WIDTH * progress.done // progress.total
            bar = "━" * filled + "─" * (BAR_WIDTH - filled) + " " if self._tty else ""
            text = f"building llama.cpp  {bar}{progress.done}/{progress.total}  {elapsed}"
        if self._tty:
            print(f"{self._clear()}llorch: {text}", end="", file=sys.stderr, flush=True)
        elif now - self._last >= PLAIN_EVERY_S:
            self._last = now
            self.say(text)

    def _clear(self) -> str:
        return "\r\x1b[K" if self._tty else ""


def set_up(extras: list[str], steps: Steps) -> None:
    """Make `.venv` able to run llorch (and, with extras, its tests)."""
    started = time.monotonic()
    steps.say(f"setting up {VENV} (minutes the first time; later runs start at once)")
    make_venv()
    install_engine(steps)
    steps.say("installing packages")
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    pip("install", "--editable", target)
    for name in ["base", *extras]:
        stamp(name).touch()
    steps.say(f"ready after {time.monotonic() - started:.0f} s")


def make_venv() -> None:
    """Make `.venv`, unless one with a working pip is there. Raises LlorchError."""
    works = [str(PYTHON), "-m", "pip", "--version"]
    if PYTHON.exists() and subprocess.run(works, capture_output=True).returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(VENV, ignore_errors=True)
        raise LlorchError(
            "this Python cannot make virtual environments",
            "install its venv module (Debian: apt install python3-venv)",
        ) from None


def install_engine(steps: Steps) -> None:
    """Install the llama-cpp-python wheel built for this machine, building it if need be."""
    started = time.monotonic()
    build = build_wheel(PYTHON)
    try:
        for progress in build:
            steps.build(progress, started)
    finally:
        build.close()  # ends the compiler on Ctrl-C
    wheel = find_wheel(PYTHON)
    assert wheel is not None
    pip("install", str(wheel))


def pip(*args: str) -> None:
    """Run the venv's pip, its output in the log. Raises LlorchError with its last words."""
    argv = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *args]
    with LOG.open("a", encoding="utf-8") as log:
        code = subprocess.run(argv, stdout=log, stderr=subprocess.STDOUT).returncode
    if code != 0:
        tail = LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        raise LlorchError(
            f"pip {args[0]} failed:\n  " + "\n  ".join(tail),
            f"whole output: {LOG}; is the package index reachable?",
        )


def stamp(name: str) -> Path:
    """A file newer than pyproject.toml says that this part is set up."""
    return VENV / f".ready-{name}"


def is_ready(extras: list[str]) -> bool:
    wanted = (ROOT / "pyproject.toml").stat().st_mtime
    stamps = [stamp(name) for name in ["base", *extras]]
    return all(path.exists() and path.stat().st_mtime >= wanted for path in stamps)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    with (ROOT / "pyproject.toml").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up this checkout of llorch in .venv.")
    parser.add_argument(
        "extras", nargs="*", choices=["dev", "docs", []], help="also what tests or docs need"
    )
    extras = parser.parse_args().extras
    steps = Steps()
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal ends the compiler too
        signal.signal(number, signal.default_int_handler)
    try:
        with one_at_a_time():
            if not is_ready(extras):
                set_up(extras, steps)
    except LlorchError as error:
        steps.say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        steps.say("set-up stopped; run it again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
