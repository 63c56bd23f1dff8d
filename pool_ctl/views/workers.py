"""How the commands about workers look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from pool_core.units import human_bytes
from pool_core.wording import plain
from pool_ctl.views.cells import age, field, size, state
from pool_ctl.views.table import Column, FittedTable, Row, TableView, TextView, View, facts


def _status(row: Row) -> Text:
    loading = row["status"] == "starting" and 0 < row["progress"] < 1
    return state(row["status"], f" {100 * row['progress']:.0f} %" if loading else "")


def _layers(row: Row) -> str:
    return f"{row['layers_on_device']}/{row['layers_total']}" if row["layers_total"] else "-"


def _spawned(data: Row) -> Iterable[Any]:
    yield facts(
        [
            ("worker", data["id"]),
            ("url", data["url"]),
            ("device", f"{data['device']}, layers {_layers(data)}" if data["device"] else ""),
            ("token", data["token"]),
            ("ready", f"after {data['load_seconds']:.1f} s"),
        ]
    )


def _show(data: Row) -> Iterable[Any]:
    companions = [
        f"{one['kind']} pid {one['pid']} port {one['port']}" for one in data["companions"]
    ]
    exit_code = data["exit_code"]
    yield facts(
        [
            ("worker", data["id"]),
            ("status", _status(data)),
            ("reason", data["reason"]),
            ("exit code", None if exit_code is None else str(exit_code)),
            ("model", data["model"]),
            ("file", data["model_path"]),
            ("backend", data["backend"]),
            ("device", data["device"]),
            ("layers", f"{_layers(data)} on the device" if data["layers_total"] else ""),
            ("on device", human_bytes(data["bytes_on_device"]) if data["bytes_on_device"] else ""),
            ("context", f"{data['context_length']} tokens" if data["context_length"] else ""),
            ("url", data["url"]),
            ("token", data["token"]),
            ("pid", data["pid"]),
            ("companion", ", ".join(companions)),
            ("memory", human_bytes(data["rss_bytes"]) if data["rss_bytes"] else ""),
            ("loaded in", f"{data['load_seconds']:.1f} s" if data["load_seconds"] else ""),
            ("build", data["build"]),
            ("started", data["created_at"]),
            ("log", data["log"]),
        ]
    )


def _stopped_line(row: Row) -> str:
    how = "killed" if row["forced"] else "stopped" if row["was"] != "failed" else "cleared away"
    return f"{row['id']} {how} after {row['seconds']:.1f} s"


def _stopped_all(data: Row) -> Iterable[Any]:
    yield from map(_stopped_line, data["workers"])
    if not data["workers"]:
        yield Text("no worker was there", style="dim")


def _reused(row: Row) -> str:
    return f"{row['cached_tokens']}/{row['prompt_tokens']}" if row["prompt_tokens"] else "-"


def _delta(row: Row) -> str:
    is_compared = row["max_delta"] is not None and row["verdict"] != "skipped"
    return f"{row['max_delta']:.2g}" if is_compared else "-"


_CHECKS = (
    Column("CHECK", field("name")),
    Column("KIND", field("kind")),
    Column("RESULT", lambda row: state(row["verdict"])),
    Column("REQUESTS", field("requests"), right=True, drop=3),
    Column("TOKENS", field("tokens"), right=True, drop=2),
    Column("MAX DELTA", _delta, right=True),
    Column("REUSED", _reused, right=True, drop=1),
)


def _checked(data: Row) -> Iterable[Any]:
    yield FittedTable(_CHECKS, data["checks"])
    yield ""
    for row in data["checks"]:
        if row["detail"]:
            yield Text(plain(f"{row['name']}, {row['kind']}: {row['detail']}"))
    failed = sum(row["verdict"] == "failed" for row in data["checks"])
    if failed:
        yield Text(f"{failed} of {len(data['checks'])} checks failed", "red")
    else:
        yield Text(f"answers do not depend on company or cache ({data['seconds']:.1f} s)", "green")


VIEWS: dict[str, View] = {
    "worker list": TableView(
        "workers",
        (
            Column("WORKER", field("id")),
            Column("MODEL", field("model"), drop=5),
            Column("BACKEND", field("backend"), drop=4),
            Column("STATUS", _status),
            Column("URL", field("url")),
            Column("LAYERS", _layers, right=True, drop=2),
            Column("MEMORY", size("rss_bytes"), right=True, drop=1),
            Column("AGE", lambda row: age(row["created_at"]), right=True, drop=3),
        ),
        note=lambda row: f"{row['id']}: {row['reason']}" if row["reason"] else "",
        empty="no workers; start one: llorch-pool worker spawn cpu --model ref-llama",
    ),
    "worker spawn": TextView(_spawned),
    "worker show": TextView(_show),
    "worker stop": TextView(lambda data: [_stopped_line(data)]),
    "worker stop-all": TextView(_stopped_all),
    "worker check": TextView(_checked),
    "worker key add": TextView(
        lambda data: [facts([("name", data["name"]), ("key", data["key"])])]
    ),
    "worker key list": TableView(
        "keys",
        (Column("NAME", field("name")),),
        empty="no keys; make one: llorch-pool worker key add NAME",
    ),
    "worker key remove": TextView(lambda data: [f"{data['name']} is refused from now on"]),
    "worker logs": TextView(lambda data: map(Text, data["lines"])),
}
