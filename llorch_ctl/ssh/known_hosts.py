"""known_hosts files as OpenSSH reads them; lines it would skip are skipped."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

_BRACKETED = re.compile(r"\[(?P<host>.+)\]:\d+")


class Verdict(Enum):
    """What the files say about a key that a host showed."""

    KNOWN = "known"
    NEW = "new"
    CHANGED = "changed"
    REVOKED = "revoked"
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `marker` is "", "@revoked" or "@cert-authority"."""

    marker: str
    hosts: str
    key_type: str
    blob: bytes
    file: Path
    line: int

    def matches(self, name: str) -> bool:
        if self.hosts.startswith("|1|"):
            return _matches_hash(self.hosts, name)
        return _matches_patterns(self.hosts, name)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


class KnownHosts:
    """The entries of several files, in their order. Files that are not there are empty."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._entries = [entry for file in files for entry in _entries_of(file)]

    def types_of(self, name: str) -> list[str]:
        """The key types that are known for a host, to ask it for these first."""
        plain = [e for e in self._matching(name) if not e.marker]
        return list(dict.fromkeys(entry.key_type for entry in plain))

    def judge(self, name: str, key_type: str, blob: bytes) -> tuple[Verdict, Entry | None]:
        """The verdict on a key that the host `name` showed, and the line that decided it."""
        entries = list(self._matching(name))
        for entry in entries:
            if entry.marker == "@revoked" and entry.blob == blob:
                return Verdict.REVOKED, entry
        known = [entry for entry in entries if not entry.marker]
        for entry in known:
            if entry.blob == blob:
                return Verdict.KNOWN, entry
        # We asked for the known types first: a host that shows another type lost its known keys.
        changed = [entry for entry in known if entry.matches(name)]
        if changed:
            same_type = [entry for entry in changed if entry.key_type == key_type]
            return Verdict.CHANGED, (same_type or changed)[0]
        authorities = [entry for entry in entries if entry.marker == "@cert-authority"]
        if authorities:
            return Verdict.AUTHORITY, authorities[0]
        return Verdict.NEW, None

    def _matching(self, name: str) -> Iterator[Entry]:
        """Entries for `[host]:port`, and, as ssh does, those for the bare host that may vouch."""
        bracketed = _BRACKETED.fullmatch(name)
        bare = bracketed["host"] if bracketed else name
        for entry in self._entries:
            if entry.matches(name) or entry.matches(bare):
                yield entry


def _entries_of(file: Path) -> tuple[Entry, ...]:
    try:
        stat = file.stat()
    except OSError:
        return ()
    return _parse_file(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _parse_file(file: Path, mtime_ns: int, size: int) -> tuple[Entry, ...]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    lines = enumerate(text.splitlines(), start=1)
    return tuple(entry for number, line in lines if (entry := parse_line(line, file, number)))


def parse_line(line: str, file: Path, number: int) -> Entry | None:
    """None for a comment, and for whatever is not a line of a known_hosts file."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if marker not in ("", "@revoked", "@cert-authority") or len(words) < 3:
        return None
    hosts, key_type, encoded = words[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    prefix = len(key_type).to_bytes(4, "big") + key_type.encode()
    if not blob.startswith(prefix):  # the type inside the key is what it is
        return None
    return Entry(marker, hosts, key_type, blob, file, number)


def _matches_hash(hosts: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in hosts[3:].split("|"))
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def _matches_patterns(patterns: str, name: str) -> bool:
    matched = False
    for pattern in patterns.lower().split(","):
        if pattern.startswith("!"):
            if _glob(pattern[1:]).fullmatch(name):
                return False
        elif _glob(pattern).fullmatch(name):
            matched = True
    return matched


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    """`*` and `?` only: brackets are part of a name here."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(char, re.escape(char)) for char in pattern))


def fingerprint(blob: bytes) -> str:
    """As `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
