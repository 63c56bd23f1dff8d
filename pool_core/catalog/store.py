"""The pool's own catalog file: the only one that llorch writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from pool_core.catalog.catalog import Catalog
from pool_core.catalog.entry import POOL, ModelEntry
from pool_core.catalog.reader import explain, make_entry, read_tables
from pool_core.errors import LlorchError, UsageError
from pool_core.files import clear_os_errors, write_atomic
from pool_core.home import Home, private_dir

_HEADER = """\
# Written by llorch-pool (models register, download, unregister): comments here do not survive.
# Keep models that you write by hand in a file of your own, and name it with --catalog.

"""
_LOCK_WAIT_S = 10.0


class CatalogStore:
    """Changes `catalog.toml`, one writer at a time; readers see the old file or the new one."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file = home.catalog_file

    def register(self, entry: ModelEntry) -> ModelEntry:
        """Add a model, and return it as it now stands.

        Again with the same files: what is given replaces what was there, and what a download
        learned is kept. Raises UsageError when the id means other files, or a name is taken.
        """

        def change(models: dict[str, ModelEntry]) -> ModelEntry:
            self._refuse_taken_names(entry)
            known = models.get(entry.id)
            if known is None:
                return entry
            if not known.same_place(entry):
                raise UsageError(
                    f'"{entry.id}" is already registered, for other files',
                    f"llorch-pool models unregister {entry.id}, or choose another id",
                )
            return _merged(known, entry)

        return self._update(entry.id, change)

    def pin(
        self, model_id: str, sha256: str | Mapping[str, str], revision: str, size: int
    ) -> ModelEntry:
        """Record which bytes a download found: from now on, exactly those are meant.

        An entry of another catalog is copied into the pool's own, since that one is not ours
        to write. Raises UnknownName.
        """

        def change(models: dict[str, ModelEntry]) -> ModelEntry:
            entry = models.get(model_id) or Catalog.load(self._home).get(model_id)
            digests = sha256 if isinstance(sha256, str) else dict(sha256)
            return entry.updated({"sha256": digests, "revision": revision, "size": size})

        return self._update(model_id, change)

    def unregister(self, model_id: str) -> ModelEntry:
        """Take a model out of the pool's own catalog; its files stay. Returns what it was.

        Raises UnknownName, or UsageError for a model that another catalog brings.
        """
        with self._locked():
            models = self._read()
            known = Catalog.load(self._home).get(model_id)
            if known.id not in models:
                raise UsageError(
                    f'"{known.id}" comes with llorch and cannot be unregistered',
                    f"llorch-pool models remove {known.id} frees its disk space",
                )
            gone = models.pop(known.id)
            self._write(models)
            return gone

    def _refuse_taken_names(self, entry: ModelEntry) -> None:
        catalog = Catalog.load(self._home)
        for alias in entry.aliases:
            other = catalog.find(alias)
            if other is not None and other.id != entry.id:
                raise UsageError(
                    f'alias "{alias}" already means "{other.id}"', "choose another alias"
                )

    def _update(
        self, model_id: str, change: Callable[[dict[str, ModelEntry]], ModelEntry]
    ) -> ModelEntry:
        with self._locked():
            models = self._read()
            try:
                models[model_id] = change(models)
            except ValidationError as error:
                raise UsageError(f"{model_id}: {explain(error)[1]}") from None
            self._write(models)
            return models[model_id]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        with clear_os_errors(self._file):
            private_dir(self._file.parent)
            lock = FileLock(self._file.with_name(".catalog.lock"), timeout=_LOCK_WAIT_S)
            try:
                lock.acquire()
            except Timeout:
                raise LlorchError(
                    f"{self._file} is being changed by another process", "try again"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> dict[str, ModelEntry]:
        if not self._file.exists():
            return {}
        tables = read_tables(self._file)
        return {name: make_entry(name, table, self._file, POOL) for name, table in tables.items()}

    def _write(self, models: Mapping[str, ModelEntry]) -> None:
        import tomli_w

        record = {"models": {name: entry.to_toml() for name, entry in models.items()}}
        write_atomic(self._file, _HEADER + tomli_w.dumps(record))


def _merged(known: ModelEntry, given: ModelEntry) -> ModelEntry:
    values: dict[str, Any] = given.model_dump(exclude_unset=True, exclude={"id"})
    moved = values.get("revision", known.revision) != known.revision
    if moved and not {"sha256", "size"} <= values.keys():
        # Another revision is another file: what was learned of the old one must not judge it.
        values = {"sha256": None, "size": None} | values
    return known.updated(values)


def make_registration(values: Mapping[str, Any]) -> ModelEntry:
    """An entry from a command line, where None and empty lists mean "not given".

    Raises UsageError with one line about the value that is wrong.
    """
    given = {key: value for key, value in values.items() if value not in (None, [], ())}
    try:
        return ModelEntry.model_validate(given)
    except ValidationError as error:
        raise UsageError(explain(error)[1]) from None
