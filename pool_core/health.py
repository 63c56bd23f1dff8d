"""The pool in numbers, as `status` and `health` report them. Bytes, degrees Celsius."""

from __future__ import annotations

import http.client
import json
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from pool_core import __version__, machine
from pool_core.backends.hardware import nvidia_gpus
from pool_core.backends.listing import list_backends
from pool_core.catalog import Catalog, ModelStore
from pool_core.home import Home
from pool_core.spawn.record import WorkerRecord
from pool_core.spawn.spawner import Spawner

_PROBE_TIMEOUT_S = 2.0


def pool_status(home: Home) -> dict[str, Any]:
    """What this pool is and has: machine, version, models that are here, workers, backends."""
    store = ModelStore(home)
    records = Spawner(home).list()
    states = [record.status.value for record in records]
    return {
        "machine": platform.node(),
        "cpu": machine.cpu_name(),
        "version": __version__,
        "python": platform.python_version(),
        "system": machine.system(),
        "home": str(home.data),
        "models": [
            entry.id for entry in Catalog.load(home).entries() if store.state(entry).is_usable
        ],
        "workers": {state: states.count(state) for state in sorted(set(states))},
        "serving": [_serving(record) for record in records if record.is_alive],
        "backends": [backend.name for backend in list_backends(home) if backend.is_ready],
    }


def pool_health(home: Home) -> dict[str, Any]:
    """This machine now, and what each live worker answers about itself."""
    cpus, load = machine.load()
    memory = machine.memory()
    alive = [record for record in Spawner(home).list() if record.is_alive]
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(ask_worker, alive))
    return {
        "cpus": cpus,
        "load": load,
        "memory_total": memory.total,
        "memory_available": memory.available,
        "memory_used_share": round(memory.used_share, 4),
        "disk_free": machine.disk_free(home.data),
        "temperature": machine.temperature(),
        "gpus": [asdict(gpu) for gpu in nvidia_gpus()],
        "workers": [
            _serving(record) | {"rss_bytes": record.rss_bytes, "health": answer}
            for record, answer in zip(alive, answers, strict=True)
        ],
    }


def ask_worker(record: WorkerRecord) -> dict[str, Any] | None:
    """A worker's own /health; None if it does not answer."""
    if not record.report.port:
        return None
    connection = http.client.HTTPConnection(
        record.report.host, record.report.port, timeout=_PROBE_TIMEOUT_S
    )
    try:
        connection.request("GET", "/health")
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


def _serving(record: WorkerRecord) -> dict[str, Any]:
    values = record.to_dict()
    return {name: values[name] for name in ("id", "model", "backend", "status", "url")}
