"""The models a pool knows: the shipped files, then the pool's own, then those of the operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from pool_core.catalog.entry import POOL, SHIPPED, ModelEntry
from pool_core.catalog.reader import read_catalog, read_tables
from pool_core.errors import ConfigError, UnknownName
from pool_core.home import Home


class Catalog:
    """Names to entries. A later layer's entry replaces an earlier one of the same id.

    An id always beats an alias; between two aliases the later layer wins.
    """

    def __init__(self, layers: Iterable[Sequence[ModelEntry]]) -> None:
        self._entries: dict[str, ModelEntry] = {}
        self._aliases: dict[str, str] = {}
        for layer in layers:
            self._add(layer)

    @classmethod
    def load(cls, home: Home, extra: Sequence[Path] = ()) -> Catalog:
        """Read every layer. Raises ConfigError naming file, table and key."""
        layers: list[Sequence[ModelEntry]] = [*_shipped_layers()]
        if home.catalog_file.exists() and read_tables(home.catalog_file):
            layers.append(read_catalog(home.catalog_file, POOL))
        for file in extra:
            if not file.exists():
                raise ConfigError(f"{file}: no such catalog", "check the path")
            layers.append(read_catalog(file.absolute(), str(file)))
        return cls(layers)

    def _add(self, layer: Sequence[ModelEntry]) -> None:
        for entry in layer:
            self._entries[entry.id] = entry
            self._aliases.update(dict.fromkeys(entry.aliases, entry.id))

    def get(self, name: str) -> ModelEntry:
        """The model with this id or alias. Raises UnknownName with the nearest names."""
        entry = self.find(name)
        if entry is None:
            names = {*self._entries, *self._aliases}
            raise UnknownName("model", name, names, "llorch-pool models catalog")
        return entry

    def find(self, name: str) -> ModelEntry | None:
        """The model with this id or alias, in whatever case; None if there is none."""
        for spelling in (name, name.lower()):
            key = spelling if spelling in self._entries else self._aliases.get(spelling, "")
            entry = self._entries.get(key)
            # A replaced entry takes its aliases with it.
            if entry is not None and spelling in (entry.id, *entry.aliases):
                return entry
        return None

    def entries(self) -> list[ModelEntry]:
        """Every model, in the order of the files."""
        return list(self._entries.values())


def shipped_folder() -> Path:
    """The folder `catalogs`: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "catalogs"
    return installed if installed.is_dir() else package.parent / "catalogs"


@cache
def _shipped_layers() -> tuple[tuple[ModelEntry, ...], ...]:
    """Each `catalogs/*.toml`. What is not about models lives in folders below."""
    files = sorted(shipped_folder().glob("*.toml"))
    return tuple(tuple(read_catalog(file, SHIPPED)) for file in files)
