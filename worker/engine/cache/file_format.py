"""A snapshot as a file: the head, tokens included, then the state; every bit of it checksummed.

    magic 8 | version u32 | header size u32 | XXH3-128 of the rest of the head | header, JSON
    tokens, int32 each | state

Little-endian. The header holds the state's XXH3-128: what guards against damage at the speed of
memory, and not against malice. Files are untrusted: every size is checked against the file's own
before anything of that size is allocated.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from io import FileIO
from typing import Any

import numpy as np
from xxhash import xxh3_128

from worker.engine.cache.buffer import new_bytes, writable
from worker.engine.cache.fingerprint import FORMAT_VERSION, Fingerprint
from worker.engine.cache.snapshot import MAX_TAIL, Snapshot, Tokens

_MAGIC = b"LLORCHKV"
_PREAMBLE = struct.Struct("<8sII16s")
_MAX_HEADER = 1 << 16
_PIECE = 2 << 20  # hashed while it is in the processor's cache
_TOKEN = np.dtype("<i4")


class BadFile(Exception):
    """The file is not a snapshot that can be used.

    `reason` is "truncated", "checksum", "version", "fingerprint", "header" or "unreadable".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of the snapshot in it; `num_bytes` is the whole file's size."""

    key: str
    agent: str | None
    exact: bool
    tokens: Tokens
    state_bytes: int
    state_xxh3_128: str
    num_bytes: int
    tail: tuple[int, ...] = ()


def encode_head(snapshot: Snapshot, fingerprint: Fingerprint) -> bytes:
    """All of the file that goes before the state. Raises ValueError for an absurdly long name."""
    fields: dict[str, Any] = {
        "fingerprint": fingerprint.fields,
        "fingerprint_digest": fingerprint.digest,
        "key": snapshot.key,
        "agent": snapshot.agent,
        "exact": snapshot.exact,
        "num_tokens": len(snapshot.tokens),
        "state_bytes": len(snapshot.state),
        "state_xxh3_128": xxh3_128(snapshot.state).hexdigest(),
    }
    if snapshot.tail:
        fields["tail"] = list(snapshot.tail)
    header = json.dumps(fields, separators=(",", ":")).encode()
    if len(header) > _MAX_HEADER:
        raise ValueError(f"a header of {len(header)} bytes")
    body = header + snapshot.tokens.astype(_TOKEN).tobytes()
    digest = _head_digest(FORMAT_VERSION, len(header), body)
    return _PREAMBLE.pack(_MAGIC, FORMAT_VERSION, len(header), digest) + body


def read_head(file: FileIO, num_bytes: int, fingerprint: Fingerprint) -> Head:
    """Read and check a file of `num_bytes` up to its state. Raises BadFile and OSError."""
    raw = _read_exactly(file, _PREAMBLE.size)
    magic, version, header_bytes, digest = _PREAMBLE.unpack(raw)
    if magic != _MAGIC:
        raise BadFile("header", "not a cache file")
    if version != FORMAT_VERSION:
        raise BadFile("version", f"format {version}, not {FORMAT_VERSION}")
    if header_bytes > _MAX_HEADER:
        raise BadFile("header", f"a header of {header_bytes} bytes")
    header = _read_exactly(file, header_bytes)
    fields = _parse(header)
    num_tokens, state_bytes = _size(fields, "num_tokens"), _size(fields, "state_bytes")
    expected = _PREAMBLE.size + header_bytes + num_tokens * _TOKEN.itemsize + state_bytes
    if num_bytes != expected:
        reason = "truncated" if num_bytes < expected else "header"
        raise BadFile(reason, f"{num_bytes} bytes, not {expected}")
    raw_tokens = _read_exactly(file, num_tokens * _TOKEN.itemsize)
    if _head_digest(version, header_bytes, header + raw_tokens) != digest:
        raise BadFile("checksum", "the head differs from its checksum")
    if fields.get("fingerprint_digest") != fingerprint.digest:
        raise BadFile("fingerprint", "of another model, build or settings")
    agent = fields.get("agent")
    return Head(
        key=_text(fields, "key"),
        agent=None if agent is None else _text(fields, "agent"),
        exact=fields.get("exact") is True,
        tokens=np.frombuffer(raw_tokens, _TOKEN).astype(np.int32, copy=False),
        state_bytes=state_bytes,
        state_xxh3_128=_text(fields, "state_xxh3_128"),
        num_bytes=num_bytes,
        tail=_tail(fields),
    )


def read_state(file: FileIO, head: Head) -> bytes:
    """Read and check what follows the head. Raises BadFile and OSError."""
    state, digest, size = new_bytes(head.state_bytes), xxh3_128(), 0
    with writable(state) as view:
        while size < len(view):
            num_read = file.readinto(view[size : size + _PIECE])
            if not num_read:
                raise BadFile("truncated", f"ends {len(view) - size} bytes early")
            digest.update(view[size : size + num_read])
            size += num_read
    if digest.hexdigest() != head.state_xxh3_128:
        raise BadFile("checksum", "the state differs from its checksum")
    return state


def _head_digest(version: int, header_bytes: int, body: bytes) -> bytes:
    start = _PREAMBLE.pack(_MAGIC, version, header_bytes, b"")
    return xxh3_128(start + body).digest()


def _read_exactly(file: FileIO, size: int) -> bytes:
    data = file.read(size) or b""
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            raise BadFile("truncated", f"ends {size - len(data)} bytes early")
        data += more
    return data


def _parse(header: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise BadFile("header", f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadFile("header", "not a JSON object")
    return fields


def _size(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or value < 0:
        raise BadFile("header", f"{name} is {value!r:.100}")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadFile("header", f"{name} is {value!r:.100}")
    return value


def _tail(fields: dict[str, Any]) -> tuple[int, ...]:
    value = fields.get("tail", [])
    if not isinstance(value, list) or len(value) > MAX_TAIL:
        raise BadFile("header", "tail is not a list of a few tokens")
    if not all(type(token) is int and 0 <= token < 1 << 31 for token in value):
        raise BadFile("header", "tail holds what is no token")
    return tuple(value)
