"""What a pool has, asked before anything is started on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from llorch_ctl.matrix.link import PoolLink
from llorch_ctl.matrix.observation import Fault
from llorch_ctl.matrix.spec import Matrix
from pool_core.backends.descriptors import BACKENDS
from pool_core.errors import LlorchError, UnknownName

_MACHINE_KEYS = ("device", "build")


@dataclass(frozen=True, slots=True)
class Survey:
    """One pool's answer. `models` maps ids and aliases to rows; `error` is why there is none.

    `required` are the backends that no pool of the run has.
    """

    pool: str
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    backends: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    error: LlorchError | None = None
    required: frozenset[str] = frozenset()

    def is_absent(self, backend: str) -> bool:
        """Whether this machine could not run the backend, whatever were installed."""
        return not self.backends.get(backend, {}).get("available", True)

    def may_skip(self, backend: str) -> bool:
        """Whether its absence is a gap in the matrix and no fault: some other pool has it."""
        return self.is_absent(backend) and backend not in self.required

    def is_missing(self, model: str) -> bool:
        """Whether the model's file has to be downloaded first."""
        return self.models.get(model, {}).get("state") in ("missing", "partial")

    def fault(self, backend: str) -> Fault | None:
        """Why no cell on this backend can run here; None if one can be tried."""
        if self.error:
            return Fault(self.error.message, self.error.remedy or "")
        row = self.backends.get(backend, {})
        if self.is_absent(backend) or not row.get("installed", True):
            reason = row.get("reason") or "not installed"
            return Fault(f"no {backend} on {self.pool}: {reason}", row.get("remedy") or "")
        return None

    def machine_with(self, worker: Mapping[str, Any]) -> dict[str, Any]:
        """The machine together with what a worker's record tells of its device and build."""
        return {**self.machine, **{key: worker[key] for key in _MACHINE_KEYS if worker.get(key)}}


def survey_pools(links: Iterable[PoolLink]) -> dict[str, Survey]:
    """Ask all pools at once. A pool that cannot be reached gets a Survey with its error."""
    links = list(links)
    with ThreadPoolExecutor(len(links), thread_name_prefix="matrix-survey") as threads:
        try:
            surveys = list(threads.map(_survey, links))
        except BaseException:  # Ctrl-C: do not wait for a pool that does not answer
            for link in links:
                link.halt()
            raise
    nowhere = frozenset(
        name
        for name in BACKENDS
        if all(survey.error or survey.is_absent(name) for survey in surveys)
    )
    return {survey.pool: replace(survey, required=nowhere) for survey in surveys}


def check_names(matrix: Matrix, surveys: Mapping[str, Survey]) -> None:
    """Raises UnknownName for a backend or a model that is nowhere, or not on every pool."""
    for backend in matrix.backends:
        if backend not in BACKENDS:
            raise UnknownName("backend", backend, BACKENDS, "llorch backend list")
    for survey in surveys.values():
        for model in matrix.models:
            if survey.error is None and model not in survey.models:
                listing = f"llorch models list --pool {survey.pool}"
                raise UnknownName("model", model, survey.models, listing)


def _survey(link: PoolLink) -> Survey:
    try:
        models = link.call(["models", "list"])["models"]
        backends = link.call(["backend", "list"])["backends"]
        status = link.call(["status"])
    except LlorchError as error:
        return Survey(link.pool, error=error)
    return Survey(
        pool=link.pool,
        models={name: row for row in models for name in (row["id"], *row.get("aliases", ()))},
        backends={row["name"]: row for row in backends},
        machine=_machine(status),
    )


def _machine(status: Mapping[str, Any]) -> dict[str, Any]:
    """What a report tells of a machine; a worker's record adds its device and build."""
    return {
        "name": status.get("machine", ""),
        "system": status.get("system", ""),
        "cpu": status.get("cpu", ""),
        "llorch": status.get("version", ""),
    }
