"""Reading a worker's log: its end, and what is added to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_TAIL_BYTES = 256 * 1024
_FOLLOW_S = 0.2


def tail(log: Path, lines: int) -> list[str]:
    """The last `lines` (1 or more) lines that are not blank; none if there is no such file."""
    try:
        with log.open("rb") as file:
            found, rest = _end_of(file, lines)
    except OSError:
        return []
    last = [rest.decode(errors="replace")] if rest.strip() else []
    return [*found, *last][-lines:]


def message_of(line: str) -> str:
    """What a line says: the message of a structured one, any other as it is."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    message = record.get("msg") if isinstance(record, dict) else None
    return message if isinstance(message, str) else line


def follow(log: Path, lines: int, is_alive: Callable[[], bool]) -> Iterator[str]:
    """The last `lines` lines, then every line as it is written, until the writer has ended."""
    with log.open("rb") as file:
        found, pending = _end_of(file, lines)
        yield from found
        while True:
            alive = is_alive()  # asked before reading: what it wrote last is still read
            *whole, pending = (pending + file.read()).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
            if not alive:
                break
            time.sleep(_FOLLOW_S)
        if pending:
            yield pending.decode(errors="replace")


def _end_of(file: BinaryIO, lines: int) -> tuple[list[str], bytes]:
    """The last `lines` whole lines that are not blank, and what follows their last newline."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL_BYTES))
    *whole, rest = file.read(_TAIL_BYTES).split(b"\n")
    if size > _TAIL_BYTES:
        del whole[:1]  # perhaps the end of a longer line
    found = [line.decode(errors="replace") for line in whole if line.strip()]
    return found[-lines:] if lines > 0 else [], rest
