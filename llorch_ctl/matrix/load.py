"""Reading a matrix file, and saying in one line what is wrong with it."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llorch_ctl.matrix.spec import Case, Limits, Matrix, Message, Parity, Speed, Worker
from pool_core.errors import ConfigError
from pool_core.files import clear_os_errors

_TABLES: dict[str, type[BaseModel]] = {
    "": Matrix,
    "parity": Parity,
    "limits": Limits,
    "speed": Speed,
    "worker": Worker,
    "cases": Case,
    "messages": Message,
}

_WANTED = {
    "string_type": "text in quotes",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": 'a list such as ["a", "b"]',
    "too_short": "a list with something in it",
    "dict_type": "a table",
    "model_type": "a table",
}


def load_matrix(path: Path) -> Matrix:
    """Raises ConfigError naming the file, the table and the key."""
    if not path.is_file():
        raise ConfigError(f"no matrix file {path}", "name an existing .toml file", file=str(path))
    with clear_os_errors(path):
        data = path.read_bytes()
    return parse_matrix(data, str(path))


def parse_matrix(data: bytes, file: str) -> Matrix:
    """`file` names the source in errors."""
    try:
        values = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}", "correct the file", file=file) from None
    try:
        return Matrix.model_validate(values)
    except ValidationError as error:
        raise _explain(error, values, file) from None


def _explain(error: ValidationError, values: dict[str, Any], file: str) -> ConfigError:
    """The first fault; an unknown key comes before all others, for it often causes them."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    table, kind, rest = _locate(fault["loc"], values)
    key = str(rest[0]) if rest else ""
    where = f"{file}: {table}: " if table else f"{file}: "
    details = {"file": file, "table": table, "key": key}
    match fault["type"]:
        case "extra_forbidden":
            return ConfigError(f'{where}unknown key "{key}"', _known_keys(kind, key), **details)
        case "missing":
            return ConfigError(f'{where}missing key "{key}"', f"add {key} = …", **details)
    if fault["type"] == "value_error":  # said by our own validators
        problem = str(fault["ctx"]["error"])
    else:
        problem = f"must be {_wanted(fault)}, not {fault['input']!r}"
    subject = f'"{key}" ' if key else ""
    return ConfigError(f"{where}{subject}{problem}", "correct the file", **details)


def _wanted(fault: ErrorDetails) -> str:
    """What the key takes, in words of TOML; pydantic's own speak of Python."""
    limits = fault.get("ctx", {})
    match fault["type"]:
        case "literal_error":
            return str(limits["expected"])
        case "greater_than" | "greater_than_equal" as kind:
            bound = "above" if kind == "greater_than" else "at least"
            return f"{bound} {limits.get('gt', limits.get('ge'))}"
        case "too_long":
            return f"at most {limits['max_length']} long"
        case kind:
            return _WANTED.get(kind, str(fault["msg"]).lower())


def _locate(
    loc: tuple[int | str, ...], values: dict[str, Any]
) -> tuple[str, str, tuple[int | str, ...]]:
    """The table as the file spells it, its kind, and the path that is left inside it."""
    name, kind, rest, here = "", "", loc, values
    while rest and rest[0] in _TABLES and isinstance(here, dict):
        inner, kind = here.get(str(rest[0])), str(rest[0])
        if len(rest) > 1 and isinstance(rest[1], int) and isinstance(inner, list):
            here, title = inner[rest[1]], f"[[{kind}]] {rest[1] + 1}"
            if isinstance(here, dict) and isinstance(here.get("name"), str):
                title += f' "{here["name"]}"'
            name, rest = f"{name} {title}".strip(), rest[2:]
        elif isinstance(inner, dict):
            name, here, rest = f"[{kind}]", inner, rest[1:]
        else:
            return name, "", rest
    return name, kind, rest


def _known_keys(kind: str, key: str) -> str:
    known = [f.alias or name for name, f in _TABLES[kind].model_fields.items()]
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
