"""`pools.toml`: which pools there are and how to reach them. Read here; edited in pools_file.py."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from pool_core.errors import ConfigError, UnknownName, UsageError
from pool_core.files import clear_os_errors
from pool_core.home import Home

LOCAL = "local"
POOL_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")

# Names, addresses, user@host:port, [::1]:22; never an option, never white space or quotes.
_TARGET = re.compile(r"[A-Za-z0-9_\[][\w.@:%+\[\]-]*")
_COMMAND = re.compile(r"[\w./~+@%,=-]+")


@dataclass(frozen=True, slots=True)
class Pool:
    """A machine. `ssh` is a target that `ssh` would take, or "local" for this machine.

    `command` is the path of its llorch-pool, the other strings override what ~/.ssh/config says.
    `is_listed` False is a target given with --host: its name is the target itself.
    """

    name: str
    ssh: str = LOCAL
    identity_file: str | None = None
    proxy_jump: str | None = None
    known_hosts: str | None = None
    ssh_config: str | None = None
    command: str | None = None
    connect_timeout: float = 10.0
    labels: tuple[str, ...] = ()
    is_listed: bool = True

    @property
    def is_local(self) -> bool:
        return self.ssh == LOCAL

    @property
    def selector(self) -> str:
        """How to name it on a command line of llorch."""
        return self.name if self.is_listed else f"--host {self.name}"


THIS_MACHINE = Pool(LOCAL)

_SHARED = ("identity_file", "proxy_jump", "known_hosts", "ssh_config", "connect_timeout")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The pools and groups of one `pools.toml`; empty when there is no such file."""

    file: Path
    pools: dict[str, Pool] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, home: Home) -> Self:
        """Raises ConfigError naming file, table and key."""
        file = home.pools_file
        if not file.exists():
            return cls(file)
        with clear_os_errors(file):
            text = file.read_text(encoding="utf-8", errors="replace")
        return cls.parse(text, file)

    @classmethod
    def parse(cls, text: str, file: Path) -> Self:
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file}: {error}", "correct the file") from None
        return cls(file, **_Reader(file).tables(document))

    def get(self, name: str) -> Pool:
        """Raises UnknownName."""
        if name == LOCAL:
            return THIS_MACHINE
        if name not in self.pools:
            raise UnknownName("pool", name, [*self.pools, LOCAL], "llorch pool list")
        return self.pools[name]

    def select(
        self, names: Sequence[str] = (), hosts: Sequence[str] = (), every: bool = False
    ) -> list[Pool]:
        """The pools a command is for, each once, in the order asked for.

        `names` are pools and groups, `hosts` ad-hoc SSH targets, `every` is all of the inventory.
        Nothing asked for, or everything of an empty inventory, is this machine.
        """
        chosen = {pool.name: pool for pool in self.pools.values()} if every else {}
        for name in names:
            members = self.groups[name] if name in self.groups else (name,)
            chosen |= {member: self.get(member) for member in members}
        for target in hosts:
            pool = self.ad_hoc(target)
            chosen[pool.name] = pool
        return list(chosen.values()) or [THIS_MACHINE]

    def rows(self) -> list[dict[str, Any]]:
        """Every pool as data, this machine last, with the groups it is in."""
        rows = []
        for pool in (*self.pools.values(), THIS_MACHINE):
            row = asdict(pool) | {"labels": list(pool.labels)}
            del row["is_listed"]
            groups = [name for name, members in self.groups.items() if pool.name in members]
            rows.append(row | {"groups": groups})
        return rows

    def draft(self, name: str, table: Mapping[str, Any]) -> Pool:
        """The pool that [pools.`name`] with these keys would be. Raises UsageError."""
        check_name(name)
        if name in self.pools or name in self.groups:
            raise UsageError(f'there is already a pool or group "{name}"', "choose another name")
        check_target(table["ssh"])
        if "command" in table:
            check_command(table["command"])
        return Pool(name, **self.defaults | dict(table))

    def ad_hoc(self, target: str) -> Pool:
        """A pool that is not in the file; it takes the file's defaults. Raises UsageError."""
        return Pool(check_target(target), target, is_listed=False, **self.defaults)


def check_name(name: str) -> str:
    """A pool's name as it may be added. Raises UsageError."""
    if not POOL_NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot name a pool',
            "use lower-case letters, digits and dashes, and begin with a letter or digit",
        )
    if name == LOCAL:
        raise UsageError('the pool "local" is this machine and always there', "choose another name")
    return name


def check_target(target: str) -> str:
    """An SSH target that is one, and not an option in disguise. Raises UsageError."""
    if not _TARGET.fullmatch(target):
        raise UsageError(
            f'"{target}" is not an SSH target', "use a Host of ~/.ssh/config, or user@host:port"
        )
    return target


def check_command(path: str) -> str:
    """A path that every login shell takes as it stands. Raises UsageError."""
    if not _COMMAND.fullmatch(path):
        raise UsageError(
            f'"{path}" cannot be the command of a pool',
            "give the path of llorch-pool, without spaces, quotes or options",
        )
    return path


class _Reader:
    """From TOML values to the parts of an Inventory; a complaint names file, table and key."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def tables(self, document: dict[str, Any]) -> dict[str, Any]:
        """Fields of Inventory."""
        self._known_keys("", document, ("defaults", "pools", "groups"))
        defaults = self._options("defaults", document.get("defaults", {}), _SHARED)
        pools = {
            name: self._pool(name, table, defaults)
            for name, table in self._table("pools", document.get("pools", {})).items()
        }
        groups = {
            name: self._group(name, members, pools)
            for name, members in self._table("groups", document.get("groups", {})).items()
        }
        return {"pools": pools, "groups": groups, "defaults": defaults}

    def _pool(self, name: str, table: Any, defaults: dict[str, Any]) -> Pool:
        where = f"pools.{name}"
        try:
            check_name(name)
            options = self._options(where, table, ("ssh", "command", "labels", *_SHARED))
            if "ssh" not in options:
                raise self._wrong(where, 'needs a key "ssh": a target, or "local"')
            check_target(options["ssh"])
            if "command" in options:
                check_command(options["command"])
        except ConfigError:
            raise
        except UsageError as error:
            raise self._wrong(where, str(error)) from None
        return Pool(name, **defaults | options)

    def _group(self, name: str, members: Any, pools: dict[str, Pool]) -> tuple[str, ...]:
        if not _is_strings(members):
            raise self._wrong("groups", f'"{name}" must be a list of pool names')
        if name in pools or name == LOCAL:
            raise self._wrong("groups", f'"{name}" is also the name of a pool')
        for member in members:
            if member not in pools and member != LOCAL:
                raise self._wrong("groups", f'"{name}" has the unknown pool "{member}"')
        return tuple(members)

    def _options(self, where: str, table: Any, keys: tuple[str, ...]) -> dict[str, Any]:
        values = self._table(where, table)
        self._known_keys(where, values, keys)
        return {key: self._value(where, key, value) for key, value in values.items()}

    def _value(self, where: str, key: str, value: Any) -> Any:
        if key == "labels":
            if not _is_strings(value):
                raise self._wrong(where, '"labels" must be a list of strings')
            return tuple(value)
        if key == "connect_timeout":
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise self._wrong(where, '"connect_timeout" must be a number of seconds above 0')
            return float(value)
        if not isinstance(value, str) or not value:
            raise self._wrong(where, f'"{key}" must be a string that is not empty')
        return value

    def _table(self, where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(where, "must be a table")
        return value

    def _known_keys(self, where: str, values: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in values:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
                table = f"[{where}]" if where else "top level"
                raise ConfigError(f'{self._file}: {table}: unknown key "{key}"', hint)

    def _wrong(self, where: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._file}: [{where}] {problem}", "correct the file")


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
