"""What the APIs ask and want of agents, from asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from worker.engine.agents import AgentView
from worker.engine.cache.snapshot import Snapshot
from worker.engine.errors import AgentBusy, NothingKept

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive
    from worker.engine.engine import Engine

T = TypeVar("T")
_TRIES = 3  # of ending an agent's requests, while more come


class Ask(Protocol):
    """Has the engine's thread answer between two steps; what it raises is raised here."""

    def __call__(self, question: Callable[[Engine], T]) -> Awaitable[T]: ...


class AgentDesk:
    """Belongs to the event loop; nothing here blocks it, nor a step for the disk's sake.

    Every method may raise EngineStopped, and those that take a name UnknownAgent and AgentBusy.
    """

    def __init__(self, ask: Ask, cancel: Callable[[str], bool], archive: Archive | None) -> None:
        self._ask = ask
        self._cancel = cancel
        self._archive = archive
        self._claimed: set[str] = set()

    @property
    def max_snapshot_bytes(self) -> int:
        """The largest cache that can be kept."""
        return 0 if self._archive is None else self._archive.max_snapshot_bytes

    @contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """Nobody else may claim the name meanwhile. Raises AgentBusy."""
        if name in self._claimed:
            raise AgentBusy(name)
        self._claimed.add(name)
        try:
            yield
        finally:
            self._claimed.remove(name)

    async def view(self, name: str) -> AgentView:
        """Raises UnknownAgent."""
        return await self._ask(lambda engine: engine.agents.view(name))

    async def page(self, after: str, limit: int) -> tuple[list[AgentView], bool]:
        """Up to `limit` agents behind the name `after`, by name; whether there are more."""
        return await self._ask(lambda engine: engine.agents.page(after, limit))

    async def check_idle(self, name: str) -> None:
        """Raises AgentBusy; a name that nobody has is at rest."""
        if await self._ask(lambda engine: engine.agents.requests_of(name)):
            raise AgentBusy(name)

    async def knows(self, name: str) -> bool:
        return await self._ask(lambda engine: engine.agents.knows(name))

    async def text(self, name: str) -> tuple[int, ...]:
        """The tokens of its last turn. Raises UnknownAgent and AgentBusy."""
        return await self._ask(lambda engine: engine.agents.text(name))

    async def create(self, name: str) -> None:
        """Raises AgentExists."""
        await self._ask(lambda engine: engine.agents.create(name))

    async def spill(self, name: str) -> None:
        """Have it leave the context, for RAM and disk."""
        await self._ask(lambda engine: engine.agents.spill(name))

    async def fork(self, name: str, new: str) -> None:
        """Create `new` with the cache of `name`, wherever that is. Raises AgentExists too, and
        NothingKept when the cache is lost on the way, or finds no room."""
        with self.claimed(name), self.claimed(new):
            if await self._ask(lambda engine: engine.agents.fork(name, new)):
                return
            try:
                snapshot = await self._fetch(name)
                await self._ask(lambda engine: engine.agents.put(new, snapshot))
            except BaseException:
                await self._ask(lambda engine: engine.agents.delete(new))
                raise

    async def take(self, name: str) -> Snapshot:
        """Its cache, which stays where it is. Raises NothingKept too."""
        with self.claimed(name):
            return await self._fetch(name)

    async def put(self, name: str, snapshot: Snapshot) -> None:
        """Let it have this cache in the place of any other; it need not exist. The caller has
        claimed the name. Raises NothingKept when there is no room for it."""
        await self._ask(lambda engine: engine.agents.put(name, snapshot))

    async def delete(self, name: str, *, cancel: bool = False) -> None:
        """Returns when it is gone from everywhere, the disk included. With `cancel` its requests
        are ended first."""
        with self.claimed(name):
            for left in reversed(range(_TRIES)):
                try:
                    await self._ask(lambda engine: engine.agents.delete(name))
                    break
                except AgentBusy:
                    if not cancel or not left:
                        raise
                for request_id in await self._ask(lambda e: e.agents.requests_of(name)):
                    self._cancel(request_id)
            await self._wait_for_disk()

    async def _fetch(self, name: str) -> Snapshot:
        loop = asyncio.get_running_loop()
        arrival: asyncio.Future[Snapshot | None] = loop.create_future()

        def on_done(snapshot: Snapshot | None) -> None:  # in any thread
            loop.call_soon_threadsafe(_settle, arrival, snapshot)

        await self._ask(lambda engine: engine.agents.fetch(name, on_done))
        snapshot = await arrival
        if snapshot is None:
            raise NothingKept(name)
        return snapshot

    async def _wait_for_disk(self) -> None:
        if self._archive is None:
            return
        loop = asyncio.get_running_loop()
        is_done: asyncio.Future[None] = loop.create_future()

        def on_done() -> None:  # in any thread
            loop.call_soon_threadsafe(_settle, is_done, None)

        self._archive.after_changes(on_done)
        await is_done


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)
