"""Snapshots that come and go by other ways than the store's folder, in the same form."""

from __future__ import annotations

from dataclasses import dataclass
from io import FileIO

from worker.engine.cache.file_format import BadFile, encode_head, read_head, read_state
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.cache.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a snapshot from outside may be at most, to be of use here."""

    max_tokens: int
    vocab_size: int
    max_bytes: int


def export_head(snapshot: Snapshot, fingerprint: Fingerprint) -> bytes:
    """What goes before the snapshot's state in a file. Blocks: it reads all of the state."""
    return encode_head(snapshot, fingerprint)


def import_file(file: FileIO, num_bytes: int, fingerprint: Fingerprint, bounds: Bounds) -> Snapshot:
    """Read an untrusted file of `num_bytes`, checked as those of the store are and more: nothing
    is read whose size is not known to be right, and every token is one of this model's. Blocks.

    Raises BadFile, also with the reasons "too_large", "tokens" and "memory", and OSError.
    """
    head = read_head(file, num_bytes, fingerprint)
    size = len(head.tokens) + len(head.tail)
    if not 0 < len(head.tokens) or size > bounds.max_tokens:
        raise BadFile("too_large", f"{size} tokens, at most {bounds.max_tokens} fit")
    if head.state_bytes + head.tokens.nbytes > bounds.max_bytes:
        raise BadFile("too_large", f"{num_bytes} bytes, at most {bounds.max_bytes} can be kept")
    most = max(int(head.tokens.max()), *head.tail, 0)
    if int(head.tokens.min()) < 0 or most >= bounds.vocab_size:
        raise BadFile("tokens", f"token {most} of a vocabulary of {bounds.vocab_size}")
    try:
        state = read_state(file, head)
    except MemoryError:
        raise BadFile("memory", f"no memory for {head.state_bytes} bytes") from None
    return Snapshot(head.key, head.tokens, state, head.agent, tail=head.tail)
