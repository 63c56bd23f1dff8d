"""What the commands about models answer with: catalog, store and file header put together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pool_core import machine
from pool_core.catalog import Catalog, ModelEntry, ModelStore
from pool_core.errors import LlorchError
from pool_core.gguf import GgufHeader, estimate_memory, read_header
from pool_core.home import Home
from pool_core.settings import Settings

_QUANTISATION = re.compile(
    r"(?<![A-Za-z0-9])((?:IQ|Q|TQ)\d\w*|MXFP4|BF16|F16|F32)(?![A-Za-z0-9])", re.I
)


def model_rows(home: Home, catalog: Catalog) -> list[dict[str, Any]]:
    """One row a model, in the order of the catalog."""
    store = ModelStore(home)
    return [_row(entry, store) for entry in catalog.entries()]


def model_details(
    home: Home, settings: Settings, entry: ModelEntry, context: int
) -> dict[str, Any]:
    """A model's row and, when its file is here, the facts of its header and the memory that a
    worker of it needs. Raises HeaderError for a file that is no GGUF."""
    store = ModelStore(home)
    row = _row(entry, store) | {"path": str(store.path(entry)), "sha256": entry.sha256}
    if not store.state(entry).is_usable:
        return row
    header = read_header(store.path(entry))
    ctx = context or min(header.context_length or settings.worker.ctx, settings.worker.ctx)
    estimate = estimate_memory(header, ctx, settings.worker.slots, settings.worker.kv_type)
    return row | {
        "header": header.to_dict(),
        "memory": {
            "ctx": ctx,
            "kv_type": settings.worker.kv_type,
            "weights": estimate.weights,
            "kv": estimate.kv,
            "compute": estimate.compute,
            "needed": estimate.total,
            "available": machine.memory().available,
        },
    }


def _row(entry: ModelEntry, store: ModelStore) -> dict[str, Any]:
    state = store.state(entry)
    header = _facts(store.path(entry)) if state.is_usable else None
    return {
        "id": entry.id,
        "name": entry.name,
        "state": state.status.value,
        "bytes_here": state.bytes_here,
        "size": entry.size or (state.bytes_here if state.is_usable else None),
        "quantization": header.quantization if header else quantisation_of(entry.filenames[0]),
        "architecture": entry.architecture or (header.architecture if header else None),
        "context_length": entry.context_length or (header.context_length if header else None),
        "license": entry.license,
        "roles": list(entry.roles),
        "aliases": list(entry.aliases),
        "repo": entry.repo,
        "files": list(entry.filenames),
        "revision": entry.revision if entry.repo else None,
        "source": entry.source,
    }


def _facts(path: Path) -> GgufHeader | None:
    """What the file says, quickly; None where it is no GGUF, which `spawn` and `doctor` tell."""
    try:
        return read_header(path, facts_only=True)
    except LlorchError:
        return None


def quantisation_of(filename: str) -> str:
    """'Q4_K_M' from a file's name, as everybody names them; "" where it does not say."""
    found = _QUANTISATION.findall(filename)
    return found[-1].upper() if found else ""
