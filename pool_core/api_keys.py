"""API keys: a file of names and hashes that a worker reads and `worker key` writes.

A line is `NAME:sha256:HEX`. A key is 32 random bytes, so nothing can be guessed from a hash however
fast it is to compute, and a slow one would only make every request slow. Passwords would need one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from pool_core.errors import UnknownName, UsageError
from pool_core.files import clear_os_errors, write_atomic

_PREFIX = "llk-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_OTHERS = 0o077


def make_key() -> str:
    """A new secret; nobody but its owner ever has it again."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def key_line(name: str, key: str) -> str:
    return f"{check_name(name)}:sha256:{hash_key(key)}"


def check_name(name: str) -> str:
    """Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" is no name for a key', "use letters, digits and _ . @ -, 64 at most"
        )
    return name


def read_keys(path: Path) -> dict[str, str]:
    """Hashes by name. Raises UsageError when the file says something else, or others may touch
    it; PermissionRefused or LlorchError when it cannot be read."""
    with clear_os_errors(path):
        mode = path.stat().st_mode
        text = path.read_bytes().decode(errors="replace")
    if mode & _OTHERS:
        raise UsageError(f"{path} is open to other users", f"run: chmod 600 {path}")
    keys: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, kind, digest = (*line.strip().split(":"), "", "")[:3]
        if not _NAME.fullmatch(name) or kind != "sha256" or not _HASH.fullmatch(digest):
            raise UsageError(f"{path}: line {number} is not NAME:sha256:HEX")
        if name in keys:
            raise UsageError(f"{path}: line {number} names {name} a second time")
        keys[name] = digest
    return keys


class KeyFile:
    """The pool's own file of keys; it need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, str]:
        return read_keys(self.path) if self.path.exists() else {}

    def add(self, name: str) -> str:
        """The new key. Raises UsageError when the name is taken."""
        check_name(name)
        keys = self.load()
        if name in keys:
            raise UsageError(f"there is a key {name} already", "remove it first, or use another")
        key = make_key()
        self._save(keys | {name: hash_key(key)})
        return key

    def remove(self, name: str) -> None:
        """Raises UnknownName."""
        keys = self.load()
        if name not in keys:
            raise UnknownName("key", name, keys, "llorch-pool worker key list")
        self._save({other: digest for other, digest in keys.items() if other != name})

    def create(self) -> None:
        """An empty file, if there is none."""
        if not self.path.exists():
            self._save({})

    def _save(self, keys: Mapping[str, str]) -> None:
        lines = [f"{name}:sha256:{digest}\n" for name, digest in keys.items()]
        write_atomic(self.path, "".join(lines), 0o600)
