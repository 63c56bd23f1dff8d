"""Which versions are the newest, as pip and npm say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from pool_core.errors import LlorchError

_GOOD_FOR_S = 24 * 3600.0
_REPLIES_WITHIN_S = 120.0
_PINNED = re.compile(r"[=<>~]")


class RegistryError(LlorchError):
    """A registry cannot be reached, or does not know the package."""

    code = "E_REGISTRY"


class Newest:
    """Asks each registry about each package at most once a day; the answers are kept in a file.

    When a registry cannot be reached, the last answer that is known holds.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def pypi(self, requirement: str) -> str:
        """`litellm[proxy]` gives `litellm[proxy]==1.2.3`; what has a version stays as it is."""
        if _PINNED.search(requirement):
            return requirement
        name = requirement.partition("[")[0]
        argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "index", "versions"]
        found = self._ask(f"pypi:{name}", [*argv, name], r"\((\S+)\)")
        return f"{requirement}=={found}"

    def npm(self, name: str, npm: Path) -> str:
        """`promptfoo` gives `promptfoo@1.2.3`."""
        found = self._ask(f"npm:{name}", [str(npm), "view", name, "version"], r"(\S+)")
        return f"{name}@{found}"

    def _ask(self, key: str, argv: list[str], pattern: str) -> str:
        version, asked_at = self._known().get(key, ("", 0.0))
        if version and time.time() - asked_at < _GOOD_FOR_S:
            return version
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_REPLIES_WITHIN_S)
            match = re.search(pattern, done.stdout)
            problem = done.stderr.strip()[-300:]
        except subprocess.TimeoutExpired:
            match, problem = None, f"no reply within {_REPLIES_WITHIN_S:.0f} s"
        if match is None and not version:
            raise RegistryError(f"no version of {key}: {problem}", "is the registry reachable?")
        if match is not None:
            version = match.group(1)
            self._remember(key, version)
        return version

    def _known(self) -> dict[str, tuple[str, float]]:
        try:
            return {
                key: (text, at) for key, (text, at) in json.loads(self._file.read_text()).items()
            }
        except (OSError, ValueError):
            return {}

    def _remember(self, key: str, version: str) -> None:
        known = self._known() | {key: (version, time.time())}
        part = self._file.with_suffix(f".{time.monotonic_ns()}")
        part.write_text(json.dumps(known, indent=1))
        part.rename(self._file)
