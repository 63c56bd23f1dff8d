"""Editing `pools.toml` as text: what a person wrote there, comments too, stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llorch_ctl.inventory import Inventory, check_name
from pool_core.errors import ConfigError, UsageError
from pool_core.files import clear_os_errors, write_atomic
from pool_core.home import Home

_ANY_TABLE = re.compile(r"\s*\[")
_KEY_LINE = re.compile(r"\s*[^\s#]")


def add_pool(home: Home, name: str, options: dict[str, Any]) -> None:
    """Append the table [pools.NAME]. Raises UsageError for a name that is taken."""
    import tomli_w

    check_name(name)
    table = tomli_w.dumps({"pools": {name: options}})

    def append(text: str, inventory: Inventory) -> str:
        if name in inventory.pools or name in inventory.groups:
            raise UsageError(f'there is already a pool or group "{name}"', "choose another name")
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return text + gap + table

    _edit(home, append, lambda pools: pools | {name})


def remove_pool(home: Home, name: str) -> None:
    """Take out the table [pools.NAME] and nothing else. Raises UnknownName."""

    def cut(text: str, inventory: Inventory) -> str:
        inventory.get(check_name(name))
        for group, members in inventory.groups.items():
            if name in members:
                raise UsageError(
                    f'"{name}" is in the group "{group}"', f"take it out of {inventory.file} first"
                )
        return cut_table(text, name)

    _edit(home, cut, lambda pools: pools - {name})


def cut_table(text: str, name: str) -> str:
    """`text` without the lines from the header of [pools.`name`] to its last key.

    Comments and blank lines after its last key belong to what follows, and stay.
    """
    header = re.compile(rf"""\s*\[\s*pools\s*\.\s*(["']?){re.escape(name)}\1\s*\]\s*(#.*)?""")
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if header.fullmatch(line.rstrip())), None)
    if start is None:
        return text
    end = start + 1
    for number in range(start + 1, len(lines)):
        if _ANY_TABLE.match(lines[number]) and not _inside_value(lines[start:number]):
            break
        if _KEY_LINE.match(lines[number]):
            end = number + 1
    return "".join(lines[:start] + lines[end:])


def _inside_value(lines: list[str]) -> bool:
    """Whether a value that began in these lines of a table is not complete at their end."""
    import tomllib

    try:
        tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError:
        return True
    return False


def _edit(
    home: Home,
    change: Callable[[str, Inventory], str],
    expected: Callable[[set[str]], set[str]],
) -> None:
    """Change the text under a lock, and write it only if it then says exactly what it should."""
    file = home.pools_file
    with _locked(file):
        target = file.resolve()  # a link into somebody's dotfiles stays a link
        with clear_os_errors(target):
            text = target.read_text(encoding="utf-8") if target.exists() else ""
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        before = Inventory.parse(text, file)
        changed = change(text, before)
        names = expected(set(before.pools))
        if not _says(changed, file, before, names):
            raise ConfigError(
                f"{file} is written in a way that llorch cannot edit without harm",
                f"edit it yourself: the tables must be {', '.join(sorted(names)) or 'none'}",
            )
        write_atomic(target, changed, mode)


def _says(text: str, file: Path, before: Inventory, names: set[str]) -> bool:
    """Whether `text` has exactly the pools `names`, and is otherwise as `before`."""
    try:
        after = Inventory.parse(text, file)
    except ConfigError:
        return False
    kept = names & before.pools.keys()
    return (
        set(after.pools) == names
        and all(after.pools[name] == before.pools[name] for name in kept)
        and after.groups == before.groups
        and after.defaults == before.defaults
    )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    from filelock import FileLock

    with clear_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_name(file.name + ".lock"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
