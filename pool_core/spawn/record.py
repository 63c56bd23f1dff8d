"""What is known of a worker: what was asked, what runs, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from pool_core.spawn.identity import ProcessId
from pool_core.spawn.report import WorkerReport, WorkerStatus

KV_LAYOUTS = ("auto", "unified", "split")


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """A worker to start. `ctx`, `slots`, `threads` 0 and `kv_type`, `ram_cache`, `disk_cache` ""
    mean the pool's defaults; `port` 0 and `kv_layout` "" let the worker choose; `rpc` are servers
    that already run elsewhere. `agents` is where it keeps its agents' caches, None for nowhere.
    Without `model_sha256` it reads the whole file to know what those belong to. With `keys`
    callers need one of that file. `queue` None and `queue_order` "" let the worker choose; rates
    and `key_concurrency` of 0 are none."""

    model: str
    model_path: Path
    backend: str
    ctx: int = 0
    slots: int = 0
    threads: int = 0
    port: int = 0
    host: str = "127.0.0.1"
    gpu: int | None = None
    kv_type: str = ""
    kv_layout: str = ""
    rpc: tuple[str, ...] = ()
    with_token: bool = False
    agents: Path | None = None
    model_sha256: str = ""
    ram_cache: str = ""
    disk_cache: str = ""
    drafts: bool = True
    keys: Path | None = None
    queue: int | None = None
    queue_order: str = ""
    cors: tuple[str, ...] = ()
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    key_requests_per_minute: int = 0
    key_tokens_per_minute: int = 0
    key_concurrency: int = 0


@dataclass(frozen=True, slots=True)
class Companion:
    """A process that a worker needs beside it."""

    kind: str
    process: ProcessId
    port: int


@dataclass(frozen=True, slots=True)
class WorkerFile:
    """`workers/<id>.json`: written once by the spawner, after which nobody changes it."""

    id: str
    spec: WorkerSpec
    process: ProcessId
    companions: tuple[Companion, ...]
    created_at: str
    log: Path
    token: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError for anything that is not such a record."""
        try:
            record = json.loads(text)
            return cls(
                id=record["id"],
                spec=_spec(record["spec"]),
                process=ProcessId(**record["process"]),
                companions=tuple(_companion(one) for one in record["companions"]),
                created_at=record["created_at"],
                log=Path(record["log"]),
                token=record.get("token"),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a worker record: {error!r}") from None


def _spec(record: dict[str, Any]) -> WorkerSpec:
    known = {f.name for f in fields(WorkerSpec)}
    values = {name: value for name, value in record.items() if name in known}
    values["model_path"] = Path(values["model_path"])
    for name in ("rpc", "cors"):
        values[name] = tuple(values.get(name, ()))
    for name in ("agents", "keys"):
        if values.get(name):
            values[name] = Path(values[name])
    return WorkerSpec(**values)


def _companion(record: dict[str, Any]) -> Companion:
    return Companion(record["kind"], ProcessId(**record["process"]), record["port"])


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as it is now: its file and its own last report, checked against the process."""

    file: WorkerFile
    report: WorkerReport
    status: WorkerStatus
    reason: str = ""
    rss_bytes: int = 0

    @property
    def id(self) -> str:
        return self.file.id

    @property
    def url(self) -> str:
        return self.report.url

    @property
    def is_alive(self) -> bool:
        return self.status not in (WorkerStatus.STOPPED, WorkerStatus.FAILED)

    def to_dict(self) -> dict[str, Any]:
        """What --json promises of a worker."""
        file, report = self.file, self.report
        return {
            "id": file.id,
            "model": file.spec.model,
            "backend": file.spec.backend,
            "status": self.status.value,
            "pid": file.process.pid,
            "host": report.host,
            "port": report.port,
            "url": report.url,
            "token": file.token,
            "created_at": file.created_at,
            "device": report.device,
            "layers_on_device": report.layers_on_device,
            "layers_total": report.layers_total,
            "bytes_on_device": report.bytes_on_device,
            "load_seconds": report.load_seconds,
            "context_length": report.context_length,
            "build": report.build,
            "reason": self.reason,
            "exit_code": report.exit_code,
            "progress": report.progress,
            "rss_bytes": self.rss_bytes,
            "model_path": str(file.spec.model_path),
            "companions": [
                {"kind": one.kind, "pid": one.process.pid, "port": one.port}
                for one in file.companions
            ],
            "log": str(file.log),
        }
