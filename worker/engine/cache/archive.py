"""What is kept of sequences outside the context: warm in RAM, cold on disk."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal
from uuid import uuid4

from worker.engine.cache.disk import DiskStore, Entry
from worker.engine.cache.io_thread import IoThread
from worker.engine.cache.prefix_index import Match, PrefixIndex
from worker.engine.cache.ram import Held, RamTier
from worker.engine.cache.snapshot import Snapshot, Tokens, agent_key
from worker.engine.cache.stats import ArchiveStats, Tally

log = logging.getLogger(__name__)

EXACT_BLOCK = 256  # reproducible requests prefill in blocks of so many tokens
OPEN_S = 2.0  # a thousand files are read in a tenth of it; a slow disk delays nobody for longer
CLOSE_S = 10.0
_MIN_BACKLOG = 256 << 20
_SCAN = ""  # no snapshot has this key, nor one that begins with "/"

OnDone = Callable[[Snapshot | None], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A stored snapshot that begins with the prompt's first `length` tokens."""

    key: str
    length: int
    tier: Literal["warm", "cold"]


@dataclass(frozen=True, slots=True)
class Holding:
    """What there is of one key: the newest tokens, and the bytes of its copies. `used_s` is Unix
    time, 0 when it is not on disk."""

    tokens: Tokens
    tail: tuple[int, ...]
    ram_bytes: int
    disk_bytes: int
    used_s: float


class Archive:
    """Snapshots by key: in RAM within `ram_bytes`, and on disk where there is one.

    Called from the engine's thread; nothing here waits for the disk but `flush` and `close`. What
    is written waits where it is, in RAM. What falls out of there before it is written waits in a
    backlog of at most `backlog_bytes`, or of one snapshot that is larger; beyond it the oldest is
    dropped, and counted. The constructor waits at most `open_s` for what is on disk to be listed;
    the rest of a longer list is found as it is read.
    """

    def __init__(
        self,
        *,
        ram_bytes: int,
        disk: DiskStore | None = None,
        backlog_bytes: int | None = None,
        open_s: float = OPEN_S,
    ) -> None:
        self._lock = threading.RLock()  # around all below, and never held while the disk works
        self._ram = RamTier(ram_bytes)
        self._backlog: OrderedDict[str, Snapshot] = OrderedDict()
        self._max_backlog = max(_MIN_BACKLOG, ram_bytes // 4)
        if backlog_bytes is not None:
            self._max_backlog = backlog_bytes
        self._cold: dict[str, Entry] = {}
        self._doomed: set[str] = set()  # their files are about to go
        self._writing: str | None = None
        self._near, self._far = PrefixIndex(), PrefixIndex()
        self._is_closed = False
        self._disk = disk
        self._tally = disk.tally if disk else Tally()
        self._io: IoThread | None = None
        if disk is not None:
            disk.on_change = self._on_disk_change
            self._io = IoThread("cache")
            disk.on_pause = self._io.run_reads
            self._io.change(_SCAN, disk.refresh)
            self._io.flush(open_s)

    @property
    def has_disk(self) -> bool:
        return self._disk is not None

    def find(
        self, prompt: Tokens, *, agent: str | None = None, exact: bool = False
    ) -> Found | None:
        """The stored snapshot with the longest beginning in common with the prompt, if any.

        `exact` looks only among exact ones, in whole blocks. Of equal lengths the agent's own goes
        first, then one in RAM.
        """
        step = EXACT_BLOCK if exact else 1
        with self._lock:
            near = self._near.find(prompt, agent=agent, exact=exact, multiple_of=step)
            far = self._far.find(prompt, agent=agent, exact=exact, multiple_of=step)
        if far is not None and (near is None or _rank(far) > _rank(near)):
            return Found(far.key, far.length, "cold")
        return Found(near.key, near.length, "warm") if near is not None else None

    def fetch(self, key: str, on_done: OnDone) -> None:
        """Give the key's snapshot to `on_done`: at once when warm, else later in the I/O thread.

        None: it is gone or could not be read. It may have been replaced since it was found, so its
        tokens are to be compared. What was read from disk is warm from now on.
        """
        with self._lock:
            snapshot, may_read = self._look(key)
        if may_read and self._io is not None and self._io.read(partial(self._read, key, on_done)):
            return
        on_done(snapshot)

    def put(self, snapshot: Snapshot, *, durable: bool) -> None:
        """Keep the snapshot in the place of any of the same key. `durable` writes it to disk soon.

        One too large for RAM goes to disk if it is durable, and nowhere if not.
        """
        key = snapshot.key
        with self._lock:
            waited = self._drop_backlog(key)
            held = self._ram.peek(key)
            durable = durable or waited or (held is not None and held.durable and not held.written)
            durable = durable and self._io is not None
            self._hold(Held(snapshot, durable, written=False))
            if durable and self._ram.peek(key) is not None:
                self._write_soon(key)

    def reject(self, key: str, reason: str) -> None:
        """The key's snapshot did not restore: forget it, and set its file aside."""
        where = f"{key}, {self._disk.path(key)}" if self._disk is not None else key
        self._tally.read_failed(reason, where, "it did not restore")
        self._doom(key, lambda disk: disk.set_aside(key, reason))

    def remove(self, key: str) -> None:
        """Forget the key's snapshot, in RAM and on disk."""
        self._doom(key, lambda disk: disk.remove(key))

    @property
    def max_snapshot_bytes(self) -> int:
        """What is larger than this finds no place in RAM, not even on its way to the disk."""
        return max(self._ram.max_bytes, self._max_backlog if self.has_disk else 0)

    @property
    def agents(self) -> set[str]:
        """Whoever has something here."""
        with self._lock:
            return self._near.agents | self._far.agents

    def look_up(self, key: str) -> Holding | None:
        """What there is of the key, without counting as a use."""
        with self._lock:
            held, entry = self._ram.peek(key), self._cold.get(key)
            here = held.snapshot if held is not None else self._backlog.get(key)
            if key in self._doomed:
                entry = None
            newest = here or entry
            if newest is None:
                return None
            return Holding(
                newest.tokens,
                newest.tail,
                0 if here is None else here.num_bytes,
                0 if entry is None else entry.num_bytes,
                0.0 if entry is None else entry.used_ns / 1e9,
            )

    def remove_agent(self, agent: str) -> None:
        """Forget all that is this agent's, in RAM and on disk."""
        with self._lock:
            keys = self._near.keys_of(agent) | self._far.keys_of(agent)
            for key in keys | {agent_key(agent)}:  # of which a file may have been set aside
                self.remove(key)

    def after_changes(self, on_done: Callable[[], None]) -> None:
        """Have it called, in the I/O thread or now, when all changes so far are on disk."""
        if self._io is None or not self._io.change(f"{_SCAN}/{uuid4().hex}", on_done):
            on_done()

    def keep_all(self) -> None:
        """Queue what is only in RAM for writing, before this process ends."""
        with self._lock:
            for held in self._ram:
                if not held.written and self._io is not None:
                    held.durable = True
                    self._write_soon(held.snapshot.key)

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was queued has been written, or given up; False when it took longer."""
        return self._io.flush(timeout_s) if self._io is not None else True

    def close(self) -> None:
        """Stop the I/O thread. What waits to be written is dropped; who waits for a read gets None.

        `keep_all` and `flush` go before.
        """
        with self._lock:
            self._is_closed = True
        if self._io is not None:
            self._io.close(CLOSE_S)

    def stats(self) -> ArchiveStats:
        with self._lock:
            return ArchiveStats(
                warm_count=len(self._ram),
                warm_bytes=self._ram.num_bytes,
                warm_limit=self._ram.max_bytes,
                cold_count=len(self._cold),
                cold_bytes=sum(entry.num_bytes for entry in self._cold.values()),
                cold_limit=self._disk.max_bytes if self._disk is not None else 0,
                writes=self._tally.writes,
                write_errors=self._tally.write_errors,
                failures=self._tally.failures,
                pending_writes=self._io.num_changes if self._io is not None else 0,
                backlog_bytes=self._backlog_bytes(),
            )

    def _look(self, key: str) -> tuple[Snapshot | None, bool]:
        """What is in memory under the key; if nothing, whether the disk may be asked."""
        snapshot = self._use(key)
        is_there = key in self._cold and key not in self._doomed
        return snapshot, snapshot is None and is_there and not self._is_closed

    def _use(self, key: str) -> Snapshot | None:
        """What is in memory under the key."""
        held = self._ram.use(key)
        return held.snapshot if held is not None else self._backlog.get(key)

    def _hold(self, held: Held) -> None:
        """Put into RAM, and see to what falls out."""
        for fallen in self._ram.put(held):
            if fallen.durable and not fallen.written:
                self._delay(fallen.snapshot)
            self._place(fallen.snapshot.key)
        self._place(held.snapshot.key)

    def _delay(self, snapshot: Snapshot) -> None:
        """Have a snapshot that left RAM wait for its turn to be written."""
        self._backlog[snapshot.key] = snapshot
        self._write_soon(snapshot.key)
        while self._backlog_bytes() > self._max_backlog and len(self._backlog) > 1:
            oldest = next(key for key in self._backlog if key != self._writing)
            self._drop_backlog(oldest)
            assert self._io is not None
            self._io.forget_change(oldest)
            self._tally.write_failed("backlog", oldest, "the disk is slower than what comes")
            self._place(oldest)

    def _drop_backlog(self, key: str) -> bool:
        return self._backlog.pop(key, None) is not None

    def _backlog_bytes(self) -> int:
        return sum(snapshot.num_bytes for snapshot in self._backlog.values())

    def _place(self, key: str) -> None:
        """Have the key found where its newest snapshot is: in memory, on disk, or nowhere."""
        held = self._ram.peek(key)
        here = held.snapshot if held is not None else self._backlog.get(key)
        there = None if key in self._doomed else self._cold.get(key)
        if here is not None:
            self._near.put(key, here.tokens, agent=here.agent, exact=here.exact)
            self._far.discard(key)
            return
        self._near.discard(key)
        if there is not None:
            self._far.put(key, there.tokens, agent=there.agent, exact=there.exact)
        else:
            self._far.discard(key)

    def _doom(self, key: str, change: Callable[[DiskStore], None]) -> None:
        """Forget the key in memory now, and its file as soon as the disk allows."""
        with self._lock:
            self._ram.pop(key)
            self._drop_backlog(key)
            if self._io is not None and self._disk is not None:
                self._doomed.add(key)
                self._io.change(key, partial(self._end, key, partial(change, self._disk)))
            self._place(key)

    def _end(self, key: str, change: Callable[[], None]) -> None:
        change()
        with self._lock:
            self._doomed.discard(key)
            self._place(key)

    def _write_soon(self, key: str) -> None:
        assert self._io is not None
        self._doomed.discard(key)
        self._io.change(key, partial(self._write, key))

    def _write(self, key: str) -> None:
        """In the I/O thread: write the newest there is under the key."""
        with self._lock:
            held = self._ram.peek(key)
            snapshot = self._backlog.get(key)
            if held is not None:
                snapshot = None if held.written else held.snapshot
            if snapshot is None or self._disk is None:
                return
            self._writing = key
        is_written = False
        try:
            is_written = self._disk.write(snapshot)
        finally:
            self._end_write(key, snapshot, is_written)

    def _end_write(self, key: str, snapshot: Snapshot, is_written: bool) -> None:
        with self._lock:
            self._writing = None
            held = self._ram.peek(key)
            if is_written and held is not None and held.snapshot is snapshot:
                held.written = True
            if self._backlog.get(key) is snapshot:
                self._drop_backlog(key)
            self._place(key)

    def _read(self, key: str, on_done: OnDone) -> None:
        """In the I/O thread: what the key holds now, from memory if it came back there."""
        snapshot = None
        try:
            with self._lock:
                snapshot, may_read = self._look(key)
            if may_read and self._disk is not None:
                read = self._disk.read(key)
                with self._lock:
                    snapshot = self._use(key)
                    if snapshot is None and key not in self._doomed and read is not None:
                        snapshot = read
                        self._hold(Held(read, durable=True, written=True))
        finally:
            on_done(snapshot)

    def _on_disk_change(self, key: str, entry: Entry | None) -> None:
        """In the I/O thread: a file came, was replaced, or went."""
        with self._lock:
            if entry is not None:
                self._cold[key] = entry
            elif self._cold.pop(key, None) is not None:
                held = self._ram.peek(key)
                if held is not None:
                    held.written = False
            self._place(key)


def _rank(match: Match) -> tuple[int, bool]:
    return match.length, match.own
