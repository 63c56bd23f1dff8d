"""What becomes of computed cells: kept in the context, saved outside it, brought back."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.cache.snapshot import Snapshot, agent_key, common_length, tail_of
from worker.engine.plans import Start
from worker.engine.residents import Resident, Residents
from worker.engine.runner import ModelRunner, RestoreFailed
from worker.engine.sequence import Sequence

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive

log = logging.getLogger(__name__)

_MIN_KEPT = 16  # tokens of nobody's; computing fewer costs nothing. An agent's are its text
_MIN_SAVED = CELLS_PER_BLOCK  # of a sequence that is nobody's
_HEADROOM = 0.1


@dataclass(slots=True)
class CacheTotals:
    """What only grows. The archive counts its own failures."""

    saves: int = 0
    restores: int = 0
    useless_restores: int = 0
    evictions: int = 0
    preemptions: int = 0
    failures: Counter[str] = field(default_factory=Counter)


class CacheKeeper:
    """Has the engine's residents start, rest and leave, and moves their state about.

    Lives in the engine's thread; snapshots that were fetched arrive from others.
    """

    def __init__(
        self,
        runner: ModelRunner,
        residents: Residents,
        archive: Archive | None,
        clock: Callable[[], float],
    ) -> None:
        self._runner = runner
        self._residents = residents
        self._archive = archive
        self._clock = clock
        self._arrivals: deque[tuple[Sequence, Snapshot | None]] = deque()
        self.on_arrival: Callable[[], None] = lambda: None
        self.totals = CacheTotals()
        self.bytes_per_token: float | None = None  # of a saved state, once there was one

    # Room

    def make_slot(self, *, isolated: bool, spare: Resident | None) -> bool:
        """Have a slot free, by moving out the idle resident that is in it."""
        slot = self._residents.pick_slot(isolated=isolated, spare=spare)
        if slot is None:
            return False
        if slot in self._residents.idle:
            self.evict(self._residents.idle[slot])
        return True

    def make_room(self, blocks: int, *, spare: Resident | None = None) -> bool:
        """Free that many blocks by moving idle residents out; False if they do not suffice."""
        residents = self._residents
        while residents.ledger.free < blocks:
            victim = next((one for one in residents.idle.values() if one is not spare), None)
            if victim is None:
                return False
            self.evict(victim)
        return True

    def leaves_headroom(self, blocks: int) -> bool:
        """Whether those who run can still grow when one more starts. Whoever is alone may have
        everything."""
        residents = self._residents
        if not residents.running or residents.layout.is_split:
            return True
        return residents.num_running_blocks + blocks <= (1 - _HEADROOM) * residents.ledger.total

    def evict_all(self) -> None:
        for one in list(self._residents.idle.values()):
            self.evict(one)

    def evict(self, one: Resident) -> None:
        """Out of the context, to RAM if it is worth it."""
        worth = one.agent is not None or one.length >= _MIN_SAVED
        if worth and not one.is_saved:
            self.save(one, durable=one.is_durable)
        self.totals.evictions += 1
        self._close(one)

    # Starting

    @property
    def has_arrivals(self) -> bool:
        return bool(self._arrivals)

    def fetch(self, seq: Sequence, key: str) -> None:
        """Have the snapshot brought; `receive` hands it over."""
        assert self._archive is not None, "nothing was found where there is nothing"
        seq.is_loading = True
        seq.num_fetches += 1

        def arrive(snapshot: Snapshot | None) -> None:
            self._arrivals.append((seq, snapshot))
            self.on_arrival()

        self._archive.fetch(key, arrive)

    def receive(self) -> None:
        while self._arrivals:
            seq, snapshot = self._arrivals.popleft()
            seq.snapshot = snapshot
            seq.is_loading = False

    def occupy(self, seq: Sequence, start: Start) -> None:
        """Give the sequence its slot, with what it need not compute. Raises RunnerError."""
        home = self._resume(seq, start) if start.resumes else self._open(seq, start)
        if not seq.has_started:  # later, what is there it has computed itself
            seq.cached_tokens = home.length
            seq.restored_tokens = home.length if start.snapshot is not None else 0
        seq.snapshot = None
        seq.start(home, self._clock())

    def park(self, seq: Sequence) -> None:
        """Take a running sequence out of the context; it goes on later where it is now."""
        home = seq.home
        assert home is not None, "only who runs can be parked"
        if home.length:
            seq.snapshot = Snapshot(_PARKED, home.computed, self._runner.save(home.slot))
        self.totals.preemptions += 1
        self._close(home)
        seq.park()

    # Ending

    def keep(self, seq: Sequence) -> None:
        """Let go of the slot of one that ended, keeping what is in it if that may be of use."""
        home = seq.home
        if home is None:
            return
        seq.home = None
        worth = home.length >= _MIN_KEPT or (home.length > 0 and home.agent is not None)
        if not seq.request.use_cache or not worth:
            self._close(home)
        elif home.is_isolated:
            home.tail = tail_of(seq.tokens, home.length)
            if home.agent is not None and self._archive is not None:
                self._close_superseded(home)
                self.save(home, durable=True)
            self._close(home)
        else:
            self._close_superseded(home)
            self._residents.rest(home, self._clock())

    def discard(self, seq: Sequence) -> None:
        """Let go of the slot of one whose cells are not to be trusted."""
        if seq.home is not None:
            self._close(seq.home)
            seq.home = None

    def save_exact(self, seq: Sequence) -> None:
        """A reproducible prompt's whole blocks are computed, and nothing yet beyond them."""
        home = seq.home
        if self._archive is None or home is None or not seq.request.use_cache:
            return
        tokens = home.computed
        key = f"exact/{blake2b(tokens.tobytes(), digest_size=16).hexdigest()}"
        snapshot = Snapshot(key, tokens, self._runner.save(home.slot), seq.agent, exact=True)
        self._archive.put(snapshot, durable=seq.agent is not None)
        self.totals.saves += 1

    def forget_all(self) -> None:
        """The context is lost; what is outside it is not."""
        for one in [*self._residents.running.values(), *self._residents.idle.values()]:
            self._residents.close(one)

    def _resume(self, seq: Sequence, start: Start) -> Resident:
        home = start.source
        assert home is not None
        is_shorter = start.length < home.length
        self._residents.resume(home, seq.tokens, start.length, start.cells)
        home.hits += 1
        if seq.agent is not None and home.agent is None:
            home.agent, home.key, home.saved_length = seq.agent, agent_key(seq.agent), 0
        if is_shorter:
            self._runner.trim(home.slot, start.length)
        return home

    def _open(self, seq: Sequence, start: Start) -> Resident:
        home = self._residents.open(
            seq.tokens,
            start.cells,
            agent=seq.agent,
            isolated=seq.is_isolated,
            source=start.source,
            length=0 if start.source is None else start.length,
        )
        if seq.is_isolated:
            try:
                self._runner.isolate(home.slot, start.cells)
            except Exception:
                self._close(home)
                raise
        if start.snapshot is not None:
            self._restore(home, start.snapshot, start.length)
        elif start.source is not None:
            self._runner.copy_prefix(start.source.slot, home.slot, start.length)
            self._residents.touch(start.source, self._clock())
        return home

    def _restore(self, home: Resident, snapshot: Snapshot, length: int) -> None:
        """Set the empty slot to the first `length` of the snapshot, or leave it empty."""
        runner, size = self._runner, len(snapshot.tokens)
        try:
            runner.restore(home.slot, snapshot.state, size)
        except RestoreFailed as error:
            log.error("a state of %d tokens did not restore: %s", size, error)
            if self._archive is not None and snapshot.key != _PARKED:
                self._archive.reject(snapshot.key, error.reason)
            else:
                self.totals.failures[error.reason] += 1
            return
        if length < size:
            if not runner.can_reuse(home.slot, length):
                self.totals.useless_restores += 1
                log.error("a state of %d tokens was restored for nothing: %d wanted", size, length)
                runner.trim(home.slot, 0)
                return
            runner.trim(home.slot, length)
        self.totals.restores += 1
        home.length = length
        if home.agent is None and length == size and snapshot.key.startswith("text/"):
            home.key, home.hits = snapshot.key, 1

    def save(self, one: Resident, *, durable: bool) -> None:
        """Have its state outside the context too."""
        if self._archive is None:
            return
        self._archive.put(self.snapshot_of(one), durable=durable)
        one.saved_length = one.length
        self.totals.saves += 1

    # What is done by name

    def snapshot_of(self, one: Resident) -> Snapshot:
        state = self._runner.save(one.slot)
        self.bytes_per_token = len(state) / max(1, one.length)
        return Snapshot(one.key, one.computed, state, one.agent, tail=one.tail)

    def copy(self, one: Resident, agent: str) -> bool:
        """Give the agent a second one like this idle one; False when nobody would have room."""
        if not self._residents.can_copy(one):
            return False
        tokens = [*one.tokens, *one.tail]
        twin = self._residents.open(tokens, one.length, agent=agent, source=one, length=one.length)
        self._runner.copy_prefix(one.slot, twin.slot, one.length)
        self._residents.rest(twin, self._clock())
        return True

    def drop_agent(self, agent: str) -> None:
        """Out of the context, and nowhere else."""
        for one in list(self._residents.idle.values()):
            if one.agent == agent:
                self._close(one)

    def _close_superseded(self, newer: Resident) -> None:
        """Idle ones that have nothing which `newer` has not."""
        for one in list(self._residents.idle.values()):
            is_own = one.key == newer.key
            is_part = one.agent is None and one.length <= newer.length
            if is_own or (is_part and common_length(one.computed, newer.computed) == one.length):
                self._close(one)

    def _close(self, one: Resident) -> None:
        self._runner.release(one.slot)
        self._residents.close(one)


_PARKED = "parked"
