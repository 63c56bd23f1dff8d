"""What an operator may set in config.toml; everything has a default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from pool_core.errors import ConfigError
from pool_core.files import clear_os_errors


@dataclass(frozen=True, slots=True)
class WorkerDefaults:
    """What `worker spawn` uses where the command line says nothing.

    `ctx` is the largest context to give without being asked: KV cells shared by all requests.
    `threads` 0 leaves the choice to the worker (one a physical core), and so do `ram_cache` and
    `disk_cache` "": how much of its agents' caches it keeps outside the context, such as "2G".
    """

    ctx: int = 16384
    slots: int = 16
    threads: int = 0
    kv_type: str = "f16"
    ram_cache: str = ""
    disk_cache: str = ""


@dataclass(frozen=True, slots=True)
class SpawnLimits:
    """How long to wait, in seconds: for a worker to be ready, for a sign of progress, and for a
    worker that was told to stop to finish its requests and write down its agents' caches."""

    timeout_s: float = 600.0
    stall_s: float = 120.0
    stop_grace_s: float = 40.0


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where models come from; "" leaves HF_ENDPOINT and the public hub in charge."""

    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How many logs of workers that are gone are kept."""

    keep: int = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole of config.toml, one field per table."""

    worker: WorkerDefaults = WorkerDefaults()
    spawn: SpawnLimits = SpawnLimits()
    hub: HubSettings = HubSettings()
    logs: LogSettings = LogSettings()

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read `file` if it is there. Raises ConfigError naming the file, table and key."""
        if not file.exists():
            return cls()
        with clear_os_errors(file):
            text = file.read_bytes()
        try:
            record = tomllib.loads(text.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: {error}", "correct it, or remove the file") from None
        return cls.from_dict(record, file)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], file: Path) -> Self:
        tables: dict[str, Any] = {table.name: table.default for table in fields(cls)}
        for name, values in record.items():
            if name not in tables:
                raise ConfigError(
                    f"{file}: unknown table [{name}]", f"tables are: {', '.join(tables)}"
                )
            if not isinstance(values, dict):
                raise ConfigError(f"{file}: {name} must be a table", f"write [{name}] above it")
            tables[name] = _table(type(tables[name]), values, f"{file}: [{name}]")
        return cls(**tables)


def _table(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    known = {f.name: f.default for f in fields(kind)}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key}", f"keys are: {', '.join(known)}")
        known[key] = _value(value, known[key], f"{where} {key}")
    return kind(**known)


def _value(value: Any, default: Any, where: str) -> Any:
    """`value` in the type of its default; numbers are never negative."""
    wanted = (int, float) if isinstance(default, float) else (type(default),)
    if type(value) not in wanted:
        name = {int: "an integer", float: "a number", str: "a string"}[type(default)]
        raise ConfigError(f"{where} must be {name}, not {value!r}")
    if not isinstance(value, str) and value < 0:
        raise ConfigError(f"{where} must not be negative, got {value}")
    return type(default)(value)
