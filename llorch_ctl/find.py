"""Which worker is meant: by its id, or any ready one of a model, on the pools that may have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llorch_ctl.context import Session
from llorch_ctl.fleet import Fleet, Outcome
from llorch_ctl.inventory import LOCAL, Pool
from llorch_ctl.screen import open_screen
from pool_core.errors import LlorchError, UnknownName

_READY = "ready"


class NoReadyWorker(LlorchError):
    """The model is known, and no worker that was asked for serves it now."""

    code = "E_NO_WORKER"


@dataclass(frozen=True, slots=True)
class Found:
    """A ready worker and the pool it is on."""

    pool: Pool
    id: str
    model: str
    port: int
    token: str | None


def find_worker(session: Session, wanted: str, pools: Sequence[str], hosts: Sequence[str]) -> Found:
    """The ready worker `wanted` means: a worker's id, or a model's id or alias.

    Without pools or hosts this machine is asked first, then the whole inventory. Raises
    NoReadyWorker, UnknownName, or the error of a pool when only that can be the reason.
    """
    search = _Search(session, wanted)
    if pools or hosts:
        return search.among(session.inventory.select(pools, hosts))
    here = session.inventory.get(LOCAL)
    found = search.look([here])
    return found or search.among(list(session.inventory.pools.values()))


class _Search:
    """What was seen so far, for the error if nothing fits."""

    def __init__(self, session: Session, wanted: str) -> None:
        self._session = session
        self._wanted = wanted
        self._models = _known_models(session)
        self._model = self._models.get(wanted, wanted)
        self._rows: list[tuple[Pool, dict[str, Any]]] = []
        self._failures: list[Outcome] = []
        self._asked: list[Pool] = []

    def among(self, pools: list[Pool]) -> Found:
        found = self.look(pools)
        if found is None:
            raise self._nothing()
        return found

    def look(self, pools: list[Pool]) -> Found | None:
        if not pools:
            return None
        self._asked += pools
        with open_screen(self._session.console, pools) as screen:
            fleet = Fleet(pools, self._session.home)
            outcomes = fleet.run(("worker", "list"), screen.show)
        for outcome in outcomes:
            rows = outcome.answer.data.get("workers", ()) if outcome.answer else ()
            self._rows += [(outcome.pool, row) for row in rows if isinstance(row, dict)]
        self._failures += [outcome for outcome in outcomes if outcome.error]
        matching = [
            (pool, row)
            for key, name in (("id", self._wanted), ("model", self._model))
            for pool, row in self._rows
            if row.get(key) == name and row.get("status") == _READY and row.get("port")
        ]
        return _found(*matching[0]) if matching else None

    def _nothing(self) -> LlorchError:
        for pool, row in self._rows:
            if row.get("id") == self._wanted:
                reason = f": {row['reason']}" if row.get("reason") else ""
                return NoReadyWorker(
                    f"worker {self._wanted} on {pool.name} is {row.get('status')}{reason}",
                    f"see: llorch pool worker logs {self._wanted} --pool {pool.name}",
                )
        for outcome in self._failures:
            if outcome.error:  # it may well be there
                return outcome.error
        if self._model in self._models.values():
            names = ", ".join(pool.name for pool in self._asked)
            where = "" if self._asked[-1].is_local else f" --pool {self._asked[-1].name}"
            return NoReadyWorker(
                f"no ready worker serves {self._model} on {names}",
                f"start one: llorch pool worker spawn cpu --model {self._model}{where}",
            )
        known = {row.get("id", "") for _, row in self._rows} | self._models.keys()
        return UnknownName("model or worker", self._wanted, known, "llorch pool worker list --all")


def _found(pool: Pool, row: dict[str, Any]) -> Found:
    return Found(pool, str(row["id"]), str(row["model"]), int(row["port"]), row.get("token"))


def _known_models(session: Session) -> dict[str, str]:
    """Names and aliases that this machine knows, and the id each stands for."""
    from pool_core.catalog import Catalog

    entries = Catalog.load(session.home).entries()
    return {name: entry.id for entry in entries for name in (entry.id, *entry.aliases)}
