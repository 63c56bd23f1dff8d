"""Reading one catalog file: TOML to entries, every mistake named by file, table and key."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pool_core.catalog.entry import ModelEntry
from pool_core.errors import ConfigError
from pool_core.files import clear_os_errors

_INTERNAL = {"id", "source", "folder"}
KEYS = [name for name in ModelEntry.model_fields if name not in _INTERNAL]

_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "greater_than": "more than 0",
    "tuple_type": 'a list such as ["a", "b"]',
    "dict_type": "a table from file to digest",
    "too_short": "a list with at least one file",
}


def read_catalog(file: Path, source: str) -> list[ModelEntry]:
    """The models of one file, in its order.

    Raises ConfigError for anything that is not a catalog, PermissionRefused or LlorchError when
    it cannot be read.
    """
    models = read_tables(file)
    if not models:
        raise ConfigError(
            f"{file}: no models in it", "a catalog has tables such as [models.my-model]"
        )
    entries = [make_entry(name, table, file, source) for name, table in models.items()]
    _refuse_clashes(entries, file)
    return entries


def read_tables(file: Path) -> dict[str, Any]:
    """The raw table `models` of a file. Raises ConfigError when there is anything beside it."""
    record = _parse(file)
    for key in record:
        if key != "models":
            raise ConfigError(
                f"{file}: unknown table [{key}]", "a catalog has [models.<id>] tables only"
            )
    models = record.get("models", {})
    if not isinstance(models, dict):
        raise ConfigError(f'{file}: "models" must be a table', "write [models.<id>]")
    return models


def make_entry(name: str, table: Any, file: Path, source: str) -> ModelEntry:
    """One checked entry. Raises ConfigError naming file, table and key."""
    where = f"{file}: [models.{name}]"
    details = {"file": str(file), "table": f"models.{name}"}
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table", "write [models.<id>] above it", **details)
    for key in table:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1, cutoff=0.5)
            hint = f'did you mean "{near[0]}"?' if near else f"keys are: {', '.join(KEYS)}"
            raise ConfigError(f'{where} unknown key "{key}"', hint, **details, key=key)
    try:
        return ModelEntry(id=name, source=source, folder=file.parent, **table)
    except ValidationError as error:
        key, problem = explain(error)
        raise ConfigError(f"{where} {problem}", None, **details, key=key) from None


def explain(error: ValidationError) -> tuple[str, str]:
    """The key at fault and one line about it, from the first thing pydantic found wrong.

    Only messages of our own validators and the names of types are used: pydantic's texts speak
    of Python.
    """
    first = error.errors(include_url=False)[0]
    location = first["loc"]
    key = str(location[0]) if location else ""
    if first["type"] == "value_error":
        problem = str(first["ctx"]["error"])
        return key, f'"{key}": {problem}' if key and key != "id" else problem
    wanted = _WANTED.get(first["type"], first["msg"].lower())
    if key == "sha256":
        wanted = "64 hexadecimal digits, or a table from file to them"
    return key, f'"{key}" must be {wanted}, not {first["input"]!r}'


def _parse(file: Path) -> dict[str, Any]:
    with clear_os_errors(file):
        data = file.read_bytes()
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}: line {line} is not UTF-8", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}", "correct that line") from None


def _refuse_clashes(entries: list[ModelEntry], file: Path) -> None:
    owners = {entry.id: entry.id for entry in entries}
    for entry in entries:
        for alias in entry.aliases:
            owner = owners.setdefault(alias, entry.id)
            if owner != entry.id:
                raise ConfigError(
                    f'{file}: [models.{entry.id}] alias "{alias}" already means "{owner}"',
                    "give each name to one model",
                    file=str(file),
                    table=f"models.{entry.id}",
                    key="aliases",
                )
