"""What the hub look-alike serves, how it can fail, and what it remembers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

CHUNK = 1 << 16


class FaultKind(StrEnum):
    STATUS = "status"  # answer with `code`, `headers`
    REFUSE = "refuse"  # close without an answer
    DROP = "drop"  # close (FIN) after `after` bytes of the body
    RESET = "reset"  # reset (RST) after `after` bytes
    STALL = "stall"  # send nothing more after `after` bytes, until the client gives up
    SLOW = "slow"  # `bps` bytes a second
    CORRUPT = "corrupt"  # flip the byte at offset `after` of the file
    TRUNCATE = "truncate"  # serve as if the file had only `after` bytes
    IGNORE_RANGE = "ignore-range"  # answer 200 with the whole file


@dataclass
class Fault:
    """Strikes the next `times` requests (-1: all) whose method, server and path match."""

    kind: FaultKind
    method: str = "GET"
    where: str = "cdn"
    path: str = ""
    times: int = 1
    after: int = 0
    bps: int = 0
    code: int = 500
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exchange:
    """One request and what was answered; `sent` counts bytes of the body."""

    where: str
    method: str
    path: str
    status: int
    sent: int
    range: str | None
    authorization: str | None


@dataclass
class Repo:
    """A repository. `gated` and `private` want a good token; `commit` follows the content."""

    id: str
    files: dict[str, bytes | Path]
    gated: bool = False
    private: bool = False
    _digests: dict[str, tuple[object, str]] = field(default_factory=dict, repr=False)

    @classmethod
    def of_folder(cls, repo_id: str, folder: Path) -> Self:
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        return cls(repo_id, dict(files))

    @property
    def commit(self) -> str:
        listing = [self.id, *(f"{name} {self.sha256(name)}" for name in sorted(self.files))]
        return hashlib.sha1("\n".join(listing).encode()).hexdigest()

    def size(self, name: str) -> int:
        content = self.files[name]
        return len(content) if isinstance(content, bytes) else content.stat().st_size

    def sha256(self, name: str) -> str:
        content = self.files[name]
        version: object = content
        if isinstance(content, Path):
            version = (content, content.stat().st_mtime_ns, content.stat().st_size)
        known = self._digests.get(name)
        if known is None or known[0] != version:
            known = (version, self._hash(name))
            self._digests[name] = known
        return known[1]

    def _hash(self, name: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks(name, 0, self.size(name)):
            digest.update(chunk)
        return digest.hexdigest()

    def chunks(self, name: str, start: int, end: int, step: int = CHUNK) -> Iterator[bytes]:
        content = self.files[name]
        if isinstance(content, bytes):
            for at in range(start, end, step):
                yield content[at : min(at + step, end)]
            return
        with content.open("rb") as file:
            file.seek(start)
            while start < end and (chunk := file.read(min(step, end - start))):
                start += len(chunk)
                yield chunk
