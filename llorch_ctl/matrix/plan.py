"""Which cells there are, in which order each pool takes them, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from llorch_ctl.matrix.spec import Matrix
from pool_core.errors import UnknownName, UsageError

FILTER_KEYS = ("model", "backend", "pool", "case")


@dataclass(frozen=True, slots=True)
class CellKey:
    """One entry of the matrix."""

    model: str
    backend: str
    pool: str

    def __str__(self) -> str:
        return f"{self.model}/{self.backend}/{self.pool}"


@dataclass(frozen=True, slots=True)
class Filter:
    """`key=glob[,key=glob]`, or a plain glob on `model/backend/pool`.

    Different keys must all match; of the same key, any.
    """

    terms: tuple[tuple[str, str], ...] = ()
    cell: str = "*"

    @classmethod
    def parse(cls, text: str | None) -> Filter:
        """Raises UsageError for a term that is neither."""
        if not text:
            return cls()
        if "=" not in text:
            return cls(cell=text)
        terms = []
        for term in text.split(","):
            key, is_term, glob = (part.strip() for part in term.partition("="))
            if not is_term or not glob:
                raise UsageError(f'bad filter term "{term}"', "write key=glob[,key=glob]")
            if key not in FILTER_KEYS:
                raise UnknownName("filter key", key, FILTER_KEYS, ", ".join(FILTER_KEYS))
            terms.append((key, glob))
        return cls(terms=tuple(terms))

    def allows(self, key: str, value: str) -> bool:
        globs = [glob for name, glob in self.terms if name == key]
        return not globs or any(fnmatchcase(value, glob) for glob in globs)

    def wants(self, cell: CellKey) -> bool:
        return fnmatchcase(str(cell), self.cell) and all(
            self.allows(key, getattr(cell, key)) for key in ("model", "backend", "pool")
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The matrix as it will run: one lane of cells for each pool."""

    matrix: Matrix
    lanes: dict[str, tuple[CellKey, ...]]

    @property
    def cells(self) -> list[CellKey]:
        return [cell for lane in self.lanes.values() for cell in lane]

    def baselines(self, cell: CellKey) -> list[CellKey]:
        """The cells that `cell` is compared with: its pool's first backend, the first pool's.

        None that a filter left out.
        """
        first_pool = next(iter(self.lanes), cell.pool)
        backend = self.matrix.backends[0]
        wanted = [CellKey(cell.model, backend, pool) for pool in (cell.pool, first_pool)]
        return [key for key in dict.fromkeys(wanted) if key != cell and key in self.cells]

    def to_dict(self) -> dict[str, Any]:
        """What `matrix show --json` promises."""
        cells = [
            {"model": cell.model, "backend": cell.backend, "pool": cell.pool}
            | {"baselines": [str(key) for key in self.baselines(cell)]}
            for cell in self.cells
        ]
        cases = [case.model_dump(mode="json", by_alias=True) for case in self.matrix.cases]
        return {"matrix": self.matrix.name, "cells": cells, "cases": cases}


def make_plan(matrix: Matrix, pools: Sequence[str], chosen: Filter | None = None) -> Plan:
    """Each wanted model, backend and pool exactly once; a model's baseline before its others.

    Raises UsageError when nothing is left.
    """
    chosen = chosen or Filter()
    cases = tuple(case for case in matrix.cases if chosen.allows("case", case.name))
    lanes: dict[str, tuple[CellKey, ...]] = {}
    for pool in pools:
        keys = (CellKey(m, b, pool) for m in matrix.models for b in matrix.backends)
        if lane := tuple(key for key in keys if chosen.wants(key)):
            lanes[pool] = lane
    if not lanes or not cases:
        what = "cell" if cases else "case"
        raise UsageError(f"the filter leaves no {what}", "see: llorch matrix show")
    return Plan(matrix.model_copy(update={"cases": cases}), lanes)
