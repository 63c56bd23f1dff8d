"""Agents by name: who there is, what is kept of each, and what can be done with one at rest."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from worker.engine.blocks import blocks_for
from worker.engine.cache.snapshot import Snapshot, agent_key
from worker.engine.errors import AgentBusy, AgentExists, NothingKept, UnknownAgent
from worker.engine.events import EngineEvent, Failed, Finished
from worker.engine.keeper import CacheKeeper
from worker.engine.request import GenerateRequest
from worker.engine.residents import Residents
from worker.engine.scheduler import Scheduler

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive

MAX_RECORDS = 10_000

Status = Literal["idle", "running", "waiting"]
Tier = Literal["hot", "warm", "cold", "none"]


@dataclass(slots=True)
class _Record:
    """What is remembered of an agent beside its cache. Unix seconds."""

    created_s: float | None
    used_s: float
    turns: int = 0
    hits: int = 0


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent as it is between two steps.

    `tier` is the fastest place that holds its cache: the context, RAM, the disk, or none. `tokens`
    are those of its text, of which the last may not be computed yet; `blocks` is what they take in
    the context, or would. `context_bytes` is an estimate, None before any state was saved.
    `created_s` is None for one of an earlier life of the worker. `hits` of its `turns` found some
    of their prompt computed.
    """

    name: str
    status: Status
    tier: Tier
    tokens: int
    blocks: int
    context_bytes: int | None
    ram_bytes: int
    disk_bytes: int
    created_s: float | None
    used_s: float
    turns: int
    hits: int


class Agents:
    """The directory of agents. Lives in the engine's thread.

    What it remembers beside the caches is for the `MAX_RECORDS` last used.
    """

    def __init__(
        self,
        residents: Residents,
        scheduler: Scheduler,
        keeper: CacheKeeper,
        archive: Archive | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._residents = residents
        self._scheduler = scheduler
        self._keeper = keeper
        self._archive = archive
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()  # the last used at the end
        self._asked: dict[str, str] = {}  # by request id: whose it is

    # What happens to them

    def note(self, request: GenerateRequest) -> None:
        """A request was queued."""
        if request.agent is not None:
            self._asked[request.request_id] = request.agent
            self._use(request.agent)

    def count(self, events: Iterable[EngineEvent]) -> None:
        """Remember which turns have ended."""
        for event in events:
            if not isinstance(event, Finished | Failed):
                continue
            name = self._asked.pop(event.request_id, None)
            if name is not None:
                record = self._use(name)
                record.turns += 1
                if isinstance(event, Finished):
                    record.hits += event.timings.cached_tokens > 0

    # What is known of them

    def view(self, name: str) -> AgentView:
        """Raises UnknownAgent."""
        record = self._records.get(name)
        home = self._residents.of_agent(name)
        kept = None if self._archive is None else self._archive.look_up(agent_key(name))
        if record is None and home is None and kept is None:
            raise UnknownAgent(name)
        tokens = num_computed = 0
        if home is not None:
            tokens, num_computed = len(home.tokens) + len(home.tail), home.length
        elif kept is not None:
            tokens, num_computed = len(kept.tokens) + len(kept.tail), len(kept.tokens)
        ram_bytes, disk_bytes = (kept.ram_bytes, kept.disk_bytes) if kept is not None else (0, 0)
        tier: Tier = "warm" if ram_bytes else "cold" if disk_bytes else "none"
        blocks = len(home.blocks) if home is not None else blocks_for(num_computed)
        if record is None:
            record = _Record(None, 0.0 if kept is None else kept.used_s)
        return AgentView(
            name=name,
            status=self._status(name),
            tier="hot" if home is not None else tier,
            tokens=tokens,
            blocks=blocks,
            context_bytes=self._estimate(0 if home is None else num_computed),
            ram_bytes=ram_bytes,
            disk_bytes=disk_bytes,
            created_s=record.created_s,
            used_s=record.used_s,
            turns=record.turns,
            hits=record.hits,
        )

    def page(self, after: str, limit: int) -> tuple[list[AgentView], bool]:
        """Up to `limit` of them, by name, from the one behind `after` on; whether there are
        more."""
        names = set(self._records)
        everyone = (*self._residents.running.values(), *self._residents.idle.values())
        names.update(one.agent for one in everyone if one.agent is not None)
        if self._archive is not None:
            names |= self._archive.agents
        ordered = sorted(names)
        first = bisect_right(ordered, after)
        views = []
        for name in ordered[first : first + limit]:
            try:
                views.append(self.view(name))
            except UnknownAgent:  # only a reproducible prompt of its is left
                continue
        return views, len(ordered) > first + limit

    def knows(self, name: str) -> bool:
        if name in self._records or self._residents.of_agent(name) is not None:
            return True
        return self._archive is not None and self._archive.look_up(agent_key(name)) is not None

    def requests_of(self, name: str) -> list[str]:
        """The ids of those that run or wait."""
        return [request_id for request_id, agent in self._asked.items() if agent == name]

    def text(self, name: str) -> tuple[int, ...]:
        """All tokens of its last turn, prompt and answer; none when none were kept.

        Raises UnknownAgent and AgentBusy.
        """
        self._check_idle(name)
        home = self._residents.of_agent(name)
        if home is not None:
            return (*home.tokens, *home.tail)
        kept = None if self._archive is None else self._archive.look_up(agent_key(name))
        return () if kept is None else (*kept.tokens.tolist(), *kept.tail)

    # What can be done with them

    def create(self, name: str) -> None:
        """Raises AgentExists."""
        if self.knows(name):
            raise AgentExists(name)
        self._use(name)

    def fork(self, name: str, new: str) -> bool:
        """Create `new` with what `name` has. False when its cache is still to be brought: by
        `fetch`, and then `put`. Raises UnknownAgent, AgentBusy and AgentExists."""
        self._check_idle(name)
        self.create(new)
        home = self._residents.of_agent(name)
        if home is not None:
            return self._keeper.copy(home, new)
        return self._archive is None or self._archive.look_up(agent_key(name)) is None

    def fetch(self, name: str, on_done: Callable[[Snapshot | None], None]) -> None:
        """Give its snapshot to `on_done`, now or later in another thread; None when there is
        none. Raises UnknownAgent and AgentBusy."""
        self._check_idle(name)
        home = self._residents.of_agent(name)
        if home is not None:
            on_done(self._keeper.snapshot_of(home))
        elif self._archive is not None:
            self._archive.fetch(agent_key(name), on_done)
        else:
            on_done(None)

    def put(self, name: str, snapshot: Snapshot) -> None:
        """Let the agent, made if need be, have that cache and no other.

        Raises AgentBusy, and NothingKept when there is no room.
        """
        if self.requests_of(name):
            raise AgentBusy(name)
        if self._archive is None or snapshot.num_bytes > self._archive.max_snapshot_bytes:
            raise NothingKept(name)
        self._keeper.drop_agent(name)
        self._archive.put(
            replace(snapshot, key=agent_key(name), agent=name, exact=False), durable=True
        )
        if self._archive.look_up(agent_key(name)) is None:
            raise NothingKept(name)
        self._use(name)

    def spill(self, name: str) -> None:
        """Have it leave the context. Raises UnknownAgent and AgentBusy."""
        self._check_idle(name)
        home = self._residents.of_agent(name)
        if home is not None:
            self._keeper.evict(home)

    def delete(self, name: str) -> None:
        """Gone from the context and from RAM, and soon from the disk. Raises UnknownAgent and
        AgentBusy."""
        self._check_idle(name)
        self._keeper.drop_agent(name)
        if self._archive is not None:
            self._archive.remove_agent(name)
        self._records.pop(name, None)

    def _check_idle(self, name: str) -> None:
        if self.requests_of(name):
            raise AgentBusy(name)
        if not self.knows(name):
            raise UnknownAgent(name)

    def _status(self, name: str) -> Status:
        if any(seq.agent == name for seq in self._scheduler.running):
            return "running"
        return "waiting" if any(seq.agent == name for seq in self._scheduler.waiting) else "idle"

    def _estimate(self, num_tokens: int) -> int | None:
        per_token = self._keeper.bytes_per_token
        if num_tokens == 0:
            return 0
        return None if per_token is None else round(num_tokens * per_token)

    def _use(self, name: str) -> _Record:
        now = self._clock()
        record = self._records.get(name)
        if record is None:
            created_s = None if self.knows(name) else now
            record = self._records[name] = _Record(created_s, now)
        record.used_s = now
        self._records.move_to_end(name)
        while len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)
        return record
