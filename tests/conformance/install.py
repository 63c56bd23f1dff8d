"""Clients installed beside the user's other caches: never in the project's own environment."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pool_core.backends.wheelhouse import wheelhouse
from pool_core.errors import LlorchError
from tests.conformance.clients import NODE, Group
from tests.conformance.registry import Newest

_SPOKEN_EVERY_S = 15.0
_TOOLS = ("pytest", "pytest-timeout")

Say = Callable[[str], None]


class InstallError(LlorchError):
    """A client cannot be installed."""

    code = "E_INSTALL"


@dataclass(frozen=True, slots=True)
class Installed:
    """A group's folder: a virtual environment, or one with `node_modules`."""

    folder: Path
    is_venv: bool

    @property
    def python(self) -> Path:
        """The one that runs its suites."""
        return self.folder / "bin" / "python" if self.is_venv else Path(sys.executable)

    def version(self, package: str) -> str:
        """What is really there. Raises InstallError when it is not."""
        if not self.is_venv:
            text = (self.folder / "node_modules" / package / "package.json").read_text()
            return str(json.loads(text)["version"])
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise InstallError(f"{package} is not in {self.folder}")
        return done.stdout.strip()


class Installer:
    """Makes folders keyed by versions. Others may do so at the same time: each folder has a lock,
    held exclusively while it is filled and shared while it is used."""

    def __init__(self, say: Say, root: Path | None = None) -> None:
        self._say = say
        self._root = root or wheelhouse().parent / "conformance"
        self._root.mkdir(parents=True, exist_ok=True)
        self._newest = Newest(self._root / "newest.json")
        self._one_at_a_time = threading.Lock()
        self._node: tuple[Path, _Lock] | None = None

    @contextmanager
    def installed(self, group: Group) -> Iterator[Installed]:
        """The newest versions, as long as the block runs. Raises LlorchError."""
        with ExitStack() as stack:
            with self._one_at_a_time:
                wanted = self._versions(group)
                folder = self._root / group.name / _folder_name(wanted)
                lock = stack.enter_context(_Lock(_lock_file(folder)))
                self._fill(group, wanted, folder, lock)
            yield Installed(folder, is_venv=bool(group.pypi))

    def node_programs(self) -> Path:
        """The folder that holds node and npm; it stays in use as long as this process runs."""
        with self._one_at_a_time:
            return self._node_folder()

    def _versions(self, group: Group) -> list[str]:
        if group.pypi:
            return [self._newest.pypi(requirement) for requirement in group.pypi]
        npm = self._node_folder() / "npm"
        return [self._newest.npm(name, npm) for name in group.npm]

    def _node_folder(self) -> Path:
        if self._node is None:
            wanted = self._versions(NODE)
            folder = self._root / NODE.name / _folder_name(wanted)
            self._node = folder, _Lock(_lock_file(folder))
            self._fill(NODE, wanted, *self._node)
        return self._node[0] / "bin"

    def _fill(self, group: Group, wanted: list[str], folder: Path, lock: _Lock) -> None:
        """Afterwards the folder is complete and the lock is shared."""
        while True:
            lock.share()
            if (folder / ".complete").exists():
                return
            lock.own()
            if (folder / ".complete").exists():
                continue
            shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run has left
            self._install(group, wanted, folder)
            (folder / ".complete").touch()
            _remove_older(folder)

    def _install(self, group: Group, wanted: list[str], folder: Path) -> None:
        started = time.monotonic()
        self._say(f"installing {' '.join(wanted)}")
        if group.pypi:
            venv.create(folder, with_pip=True, symlinks=True)
            python = str(folder / "bin" / "python")
            # By name: the newest may ask for what this index does not have, and an older one not.
            names = [*group.pypi, *_TOOLS]
            argv = [python, "-m", "pip", "--disable-pip-version-check", "install", *names]
            self._run(group.name, argv, {})
        else:
            node = self._node_folder()
            folder.mkdir(parents=True)
            argv = [str(node / "npm"), "install", "--prefix", str(folder), *wanted]
            argv += ["--no-audit", "--no-fund", "--loglevel=http"]
            self._run(group.name, argv, {"PATH": f"{node}:{os.environ['PATH']}"})
        self._say(f"installed {group.name} in {time.monotonic() - started:.0f} s")

    def _run(self, name: str, argv: list[str], env: Mapping[str, str]) -> None:
        """Raises InstallError with the last words of what failed."""
        tail: deque[str] = deque(maxlen=12)
        started = spoken = time.monotonic()
        process = subprocess.Popen(
            ["nice", *argv],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout):
                tail.append(line.rstrip())
                now = time.monotonic()
                if now - spoken >= _SPOKEN_EVERY_S:
                    spoken = now
                    self._say(f"{name}: {now - started:.0f} s, {count} steps: {line.strip()[:60]}")
        if process.returncode:
            raise InstallError(f"{name} cannot be installed:\n  " + "\n  ".join(tail))


class _Lock:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = path.open("w")

    def share(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_SH)

    def own(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def try_own(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._handle.close()


def _folder_name(wanted: list[str]) -> str:
    """Of versions, and of the Python they are for."""
    versions = re.sub(r"[^A-Za-z0-9.=@,+-]+", "-", "+".join(wanted)).strip("-")
    return f"{versions}-py{sys.version_info.major}{sys.version_info.minor}"


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _remove_older(folder: Path) -> None:
    """Other versions of the same group, unless somebody uses them."""
    for other in folder.parent.iterdir():
        if not other.is_dir() or other == folder:
            continue
        with _Lock(_lock_file(other)) as lock:
            if lock.try_own():
                shutil.rmtree(other, ignore_errors=True)
