"""How the commands about models look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from pool_core.units import human_bytes
from pool_ctl.views.cells import field, size, state, tokens
from pool_ctl.views.table import Column, Row, TableView, TextView, View, facts


def _state(row: Row) -> Text:
    word = str(row["state"])
    words = {"present": "downloaded" if row["repo"] else "local", "missing": "-"}
    word = words.get(word, word)
    if word == "partial" and row.get("size"):
        return state(word, f" {100 * row['bytes_here'] / row['size']:.0f} %")
    return state(word)


_COLUMNS = (
    Column("MODEL", field("id")),
    Column("QUANT", field("quantization"), drop=2),
    Column("SIZE", size("size"), right=True),
    Column("STATE", _state),
    Column("CONTEXT", lambda row: tokens(row["context_length"]), right=True, drop=1),
    Column("ROLES", lambda row: " ".join(row["roles"]), drop=3),
    Column("NAME", field("name"), drop=4),
)


def _show(data: Row) -> Iterable[Any]:
    header = data.get("header") or {}
    yield facts(
        [
            ("model", data["id"]),
            ("name", data["name"]),
            ("state", _state(data)),
            ("source", data["repo"] or data["source"]),
            ("revision", data["revision"]),
            ("files", " ".join(data["files"])),
            ("path", data["path"]),
            ("sha256", data["sha256"]),
            ("size", human_bytes(data["size"]) if data["size"] else ""),
            ("license", data["license"]),
            ("roles", " ".join(data["roles"])),
            ("aliases", " ".join(data["aliases"])),
            ("context", "" if header else data["context_length"]),
            *_header_facts(header),
        ]
    )
    if memory := data.get("memory"):
        parts = " + ".join(f"{name} {human_bytes(memory[name])}" for name in _PARTS)
        yield Text(
            f"\na worker with a context of {memory['ctx']} tokens ({memory['kv_type']}) needs "
            f"{human_bytes(memory['needed'])}: {parts}; "
            f"{human_bytes(memory['available'])} is available"
        )


_PARTS = ("weights", "kv", "compute")
# Said already, from the catalog.
_REPEATED = {"name", "license", "weights_bytes"}


def _header_facts(header: Row) -> Iterable[tuple[str, Any]]:
    """What the file says, without what does not apply to it (0) and what was said."""
    for name, value in header.items():
        if name in _REPEATED or not value or (name, value) == ("split_count", 1):
            continue
        shown = "yes" if value is True else f"{value:,}" if name == "parameters" else value
        yield name.replace("_", " "), shown


def _registered(data: Row) -> Iterable[Any]:
    yield f"{data['id']} is in this pool's catalog"
    if data["repo"]:
        yield Text(f"next: llorch-pool models download {data['id']}", style="dim")


def _downloaded(data: Row) -> Iterable[Any]:
    digest = data["sha256"] if isinstance(data["sha256"], str) else "every file"
    fetched = human_bytes(data["bytes_fetched"])
    yield f"{data['id']} is here: {human_bytes(data['size'])}, {fetched} fetched now"
    yield facts([("path", data["path"]), ("sha256", digest)])


def _verified(data: Row) -> Iterable[Any]:
    verdict = "matches its sha256" if data["pinned"] else "is whole; the catalog has no sha256"
    yield f"{data['id']} {verdict}"
    digests = data["sha256"]
    pairs = digests.items() if isinstance(digests, dict) else [("sha256", digests)]
    yield facts(pairs)


def _removed(data: Row) -> Iterable[Any]:
    freed = human_bytes(data["bytes_freed"])
    count = len(data["removed"])
    yield f"removed {count} file{'s' * (count != 1)} of {data['id']}, {freed} freed"


VIEWS: dict[str, View] = {
    "models list": TableView(
        "models", _COLUMNS, empty="no model is here; see: llorch-pool models catalog"
    ),
    "models catalog": TableView("models", _COLUMNS),
    "models show": TextView(_show),
    "models register": TextView(_registered),
    "models unregister": TextView(lambda data: [f"{data['id']} is forgotten; its files stay"]),
    "models download": TextView(_downloaded),
    "models verify": TextView(_verified),
    "models remove": TextView(_removed),
}
