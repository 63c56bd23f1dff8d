"""How the commands about backends and the pool as a whole look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from pool_core.units import human_bytes
from pool_ctl.views.cells import field, state
from pool_ctl.views.table import Column, FittedTable, Row, TableView, TextView, View, facts


def _yes(name: str) -> Any:
    return lambda row: state("yes" if row[name] else "no")


def _checked(data: Row) -> Iterable[Any]:
    devices = [
        f"{device['name']} ({device['description']}, "
        f"{human_bytes(device['memory_free'])} of {human_bytes(device['memory_total'])} free)"
        for device in data["devices"]
    ]
    yield facts(
        [
            ("backend", data["backend"]),
            ("python", data["python"]),
            ("llama-cpp-python", data["version"]),
            *(("device", device) for device in devices),
            ("features", data["system_info"].strip(" |\n")),
        ]
    )


def _installed(data: Row) -> Iterable[Any]:
    how = "was built" if data["built"] else "was here already"
    yield f"{data['backend']} {how}: llama-cpp-python {data['build']} in {data['python']}"


def _status(data: Row) -> Iterable[Any]:
    workers = ", ".join(f"{count} {name}" for name, count in data["workers"].items())
    yield facts(
        [
            ("machine", f"{data['machine']}, {data['cpu']}"),
            ("llorch", f"{data['version']}, Python {data['python']}, {data['system']}"),
            ("home", data["home"]),
            ("models", " ".join(data["models"]) or "none"),
            ("backends", " ".join(data["backends"]) or "none"),
            ("workers", workers or "none"),
            *(("serving", f"{row['id']} {row['url']}") for row in data["serving"]),
        ]
    )


def _health(data: Row) -> Iterable[Any]:
    used = 100 * data["memory_used_share"]
    degrees = data["temperature"]
    gpus = [
        f"{gpu['name']}, {human_bytes(gpu['memory_free'])} of "
        f"{human_bytes(gpu['memory_total'])} free"
        + (f", {gpu['temperature']:.0f} °C" if gpu["temperature"] else "")
        for gpu in data["gpus"]
    ]
    yield facts(
        [
            ("cpu", f"load {data['load']:g} on {data['cpus']} CPUs"),
            (
                "memory",
                f"{human_bytes(data['memory_available'])} of "
                f"{human_bytes(data['memory_total'])} available ({used:.0f} % used)",
            ),
            ("disk", f"{human_bytes(data['disk_free'])} free"),
            ("temperature", f"{degrees:.0f} °C" if degrees else ""),
            *(("gpu", gpu) for gpu in gpus),
        ]
    )
    if data["workers"]:
        yield ""
        yield FittedTable(_WORKER_HEALTH, data["workers"])


def _answer(row: Row) -> Text:
    return state(row["health"].get("status", "?")) if row["health"] else Text("silent", "red")


def _asked(name: str, total: str = "") -> Any:
    def render(row: Row) -> str:
        health = row["health"] or {}
        if name not in health:
            return "-"
        return f"{health[name]}/{health[total]}" if total in health else str(health[name])

    return render


_WORKER_HEALTH = (
    Column("WORKER", field("id")),
    Column("ANSWERS", _answer),
    Column("RUNNING", _asked("running"), right=True),
    Column("WAITING", _asked("waiting"), right=True),
    Column("CELLS", _asked("cells_used", "cells_total"), right=True, drop=2),
    Column("MEMORY", lambda row: human_bytes(row["rss_bytes"]), right=True, drop=1),
)

_CHECKS = (
    Column("CHECK", field("name")),
    Column("", lambda row: state(row["verdict"])),
    Column("FOUND", field("found"), fold=True),
    Column("REMEDY", lambda row: row["remedy"], drop=1, fold=True),
)


def _doctor(data: Row) -> Iterable[Any]:
    yield FittedTable(_CHECKS, data["checks"])
    bad = [check for check in data["checks"] if check["verdict"] == "fail"]
    yield ""
    yield Text(f"{len(bad)} checks failed", "red") if bad else Text("ready to work", "green")


VIEWS: dict[str, View] = {
    "backend list": TableView(
        "backends",
        (
            Column("BACKEND", field("name")),
            Column("HARDWARE", field("hardware"), drop=2),
            Column("INSTALLED", _yes("installed")),
            Column("READY", _yes("ready")),
            Column("BUILD", field("build"), drop=3),
            Column("REASON", lambda row: row["reason"], fold=True),
            Column("REMEDY", lambda row: row["remedy"], drop=1, fold=True),
        ),
    ),
    "backend install": TextView(_installed),
    "backend check": TextView(_checked),
    "status": TextView(_status),
    "health": TextView(_health),
    "doctor": TextView(_doctor),
}
