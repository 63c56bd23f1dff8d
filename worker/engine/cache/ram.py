"""Snapshots in RAM: a budget in bytes, least recently used out first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from worker.engine.cache.snapshot import Snapshot


@dataclass(slots=True)
class Held:
    """A snapshot in RAM. `durable` ones go to disk when they fall out; `written` ones are there."""

    snapshot: Snapshot
    durable: bool
    written: bool


class RamTier:
    """Never holds more than `max_bytes`. Not safe for threads: the archive's lock is around it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._held: OrderedDict[str, Held] = OrderedDict()  # the least recently used first

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._held.values()))

    def put(self, held: Held) -> list[Held]:
        """Replace what has the same key, and return what fell out: maybe the new one itself."""
        self.pop(held.snapshot.key)
        if held.snapshot.num_bytes > self.max_bytes:
            return [held]
        self._held[held.snapshot.key] = held
        self.num_bytes += held.snapshot.num_bytes
        fallen = []
        while self.num_bytes > self.max_bytes:
            _, oldest = self._held.popitem(last=False)
            self.num_bytes -= oldest.snapshot.num_bytes
            fallen.append(oldest)
        return fallen

    def peek(self, key: str) -> Held | None:
        """What the key holds, without counting as a use."""
        return self._held.get(key)

    def use(self, key: str) -> Held | None:
        """What the key holds, which is now the most recently used."""
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
        return held

    def pop(self, key: str) -> Held | None:
        """Take the key out, if it is here."""
        held = self._held.pop(key, None)
        if held is not None:
            self.num_bytes -= held.snapshot.num_bytes
        return held
