"""Every command of `llorch-pool` as a command of `llorch pool`, made from its own signature.

A mirrored command has the same arguments and help, and asks on which pools. What was parsed is
spelled out again as an argv, which travels to each pool and is parsed there by the same code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, Protocol

import typer
from typer.models import CommandInfo

from llorch_ctl.inventory import Pool
from llorch_ctl.options import AllOption, HostsOption, PoolsOption
from pool_ctl.commands import QuickApp

SOURCE = "llorch-pool"
_WHERE = ("pools", "hosts", "all_pools")
_JSON = "json_lines"
# What llorch-pool says of itself, and what that is from afar.
_AFAR = (("this machine", "the pool"), ("This machine", "The pool"), ("this pool", "the pool"))

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A mirrored command line: the command, its argv, and the pools it is for."""

    path: Path
    argv: tuple[str, ...]
    pools: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    all_pools: bool = False


Runner = Callable[[typer.Context, Request], None]


class _Parameter(Protocol):
    """What we need of a parameter that typer has built."""

    name: str | None
    opts: list[str]
    secondary_opts: list[str]
    default: Any

    @property
    def param_type_name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Param:
    """How one parameter of a command is spelled on a command line."""

    name: str
    flag: str = ""  # "" is a positional
    no_flag: str = ""
    default: Any = None

    @classmethod
    def of(cls, parameter: _Parameter) -> Param:
        name = parameter.name or ""
        if parameter.param_type_name == "argument":
            return cls(name)
        no_flag = parameter.secondary_opts[0] if parameter.secondary_opts else ""
        return cls(name, max(parameter.opts, key=len), no_flag, parameter.default)

    def spell(self, value: Any) -> Iterator[str]:
        """Words for `value`; none when the other side will take it by itself."""
        if value is None or (self.flag and value == self.default):
            return
        if isinstance(value, bool):
            if word := self.flag if value else self.no_flag:
                yield word
            return
        for item in value if isinstance(value, list | tuple) else (value,):
            if self.flag:
                yield self.flag
            yield str(item.value if isinstance(item, Enum) else item)


def spell(params: Iterable[Param], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The argv that parses to `values`: options first, positionals after a `--`."""
    options: list[str] = []
    positionals: list[str] = []
    for param in params:
        (options if param.flag else positionals).extend(param.spell(values.get(param.name)))
    return (*options, "--", *positionals) if positionals else tuple(options)


def mirror(source: typer.Typer, into: typer.Typer, run: Runner) -> None:
    """Add every command and group of `source` to `into`; calling one calls `run`."""
    _mirror(source, typer.main.get_command(source), into, run, ())


def paths_of(source: typer.Typer) -> list[Path]:
    """The commands that are mirrored, as the words that call them."""
    found: list[Path] = [(name_of(info),) for info in source.registered_commands if not info.hidden]
    for group in source.registered_groups:
        assert group.typer_instance is not None and isinstance(group.name, str)
        found += [(group.name, *path) for path in paths_of(group.typer_instance)]
    return found


def _mirror(source: typer.Typer, tree: Any, into: typer.Typer, run: Runner, path: Path) -> None:
    for info in source.registered_commands:
        name = name_of(info)
        if info.hidden:  # doors for programs, such as stdio
            continue
        params = [Param.of(parameter) for parameter in tree.commands[name].params]
        help_text = info.help or inspect.getdoc(info.callback) or ""
        into.command(name, help=from_afar(help_text), epilog=from_afar(info.epilog or ""))(
            _command(info.callback, (*path, name), params, run)
        )
    for group in source.registered_groups:
        assert group.typer_instance is not None and isinstance(group.name, str)
        about = from_afar(str(group.typer_instance.info.help))
        twin = QuickApp(help=about)
        _mirror(group.typer_instance, tree.commands[group.name], twin, run, (*path, group.name))
        into.add_typer(twin, name=group.name)


def _command(
    callback: Callable[..., Any] | None, path: Path, params: list[Param], run: Runner
) -> Callable[..., None]:
    """A function that typer reads as `callback` plus the options that say where."""
    assert callback is not None
    own = inspect.signature(callback, eval_str=True).parameters
    spelled = [param for param in params if param.name in own and param.name != _JSON]
    taken = {param.flag for param in params}
    assert not taken & {"--pool", "--host", "--all"}, f"{' '.join(path)} says where by itself"

    def mirrored(ctx: typer.Context, **values: Any) -> None:
        request = Request(
            path,
            spell(spelled, values),
            tuple(values["pools"] or ()),
            tuple(values["hosts"] or ()),
            values["all_pools"],
        )
        run(ctx, request)

    context = inspect.Parameter("ctx", _KEYWORD, annotation=typer.Context)
    given = [item for item in own.values() if item.annotation is not typer.Context]
    asked = [item for item in given if item.name != _JSON]
    json_option = [item for item in given if item.name == _JSON]
    parameters = [context, *(item.replace(kind=_KEYWORD) for item in asked)]
    parameters += [*_where_parameters(), *(item.replace(kind=_KEYWORD) for item in json_option)]
    mirrored.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    mirrored.__annotations__ = {item.name: item.annotation for item in parameters}
    return mirrored


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _where_parameters() -> list[inspect.Parameter]:
    options = zip(_WHERE, (PoolsOption, HostsOption, AllOption), (None, None, False), strict=True)
    return [
        inspect.Parameter(name, _KEYWORD, default=default, annotation=annotation)
        for name, annotation, default in options
    ]


def name_of(info: CommandInfo) -> str:
    """What a command is called on the command line."""
    assert info.callback is not None
    return str(info.name or typer.main.get_command_name(info.callback.__name__))


def from_afar(text: str) -> str:
    """What llorch-pool says of itself, said of a pool."""
    text = text.replace(f"{SOURCE} ", "llorch pool ")
    for near, far in _AFAR:
        text = text.replace(near, far)
    return text


def aimed_at(text: str, pool: Pool) -> str:
    """Words from a pool, the commands in them made to be typed here.

    `llorch-pool models download qwen` becomes `llorch pool models download --pool mac qwen`.
    """
    if pool.is_local:
        return text
    where = f"--pool {pool.name}" if pool.is_listed else pool.selector
    return _any_command().sub(lambda found: f"llorch pool {found[1]} {where}", text)


@cache
def _any_command() -> re.Pattern[str]:
    from pool_ctl.app import app

    paths = "|".join(re.escape(" ".join(path)) for path in sorted(paths_of(app), reverse=True))
    return re.compile(rf"\b{SOURCE} ({paths})\b")
