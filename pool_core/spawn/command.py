"""The command lines and the environment of worker processes, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pool_core.spawn.record import WorkerSpec

TOKEN_VARIABLE = "LLORCH_WORKER_TOKEN"
# A worker serves strangers' prompts: it gets no secret that it has no use for.
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", TOKEN_VARIABLE)


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How to run a worker: `program` is the runtime's Python with `-m worker`."""

    program: Sequence[str]
    spec: WorkerSpec
    worker: str
    state_file: Path
    token: str | None = None

    def worker_argv(self, report_fd: int, endpoints: Sequence[str]) -> list[str]:
        spec = self.spec
        options: dict[str, object] = {
            "--model": spec.model_path,
            "--model-id": spec.model,
            "--backend": spec.backend,
            "--host": spec.host,
            "--port": spec.port,
            "--ctx": spec.ctx,
            "--slots": spec.slots,
            "--kv-type": spec.kv_type,
            "--report-fd": report_fd,
            "--state-file": self.state_file,
            "--worker-id": self.worker,
        }
        if spec.kv_layout:
            options["--kv-layout"] = spec.kv_layout
        if spec.threads:
            options["--threads"] = spec.threads
        if spec.gpu is not None:
            options["--gpu"] = spec.gpu
        flags = [] if spec.drafts else ["--no-draft"]
        options |= _cache_options(spec) | _door_options(spec)
        repeated = [*_flat_repeated("--rpc", endpoints), *_flat_repeated("--cors", spec.cors)]
        return [*self.program, *_flat(options), *flags, *repeated]

    def rpc_server_argv(self, report_fd: int, lease_fd: int) -> list[str]:
        """Loopback only: llama.cpp's RPC is neither authenticated nor encrypted."""
        options: dict[str, object] = {
            "--host": "127.0.0.1",
            "--port": 0,
            "--model": self.spec.model_path,  # how many threads pay off depends on its size
            "--report-fd": report_fd,
            "--lease-fd": lease_fd,
        }
        if self.spec.threads:
            options["--threads"] = self.spec.threads
        return [*self.program, "rpc-server", *_flat(options)]

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """`env` as a worker may see it; its token travels here, never in argv."""
        clean = {name: value for name, value in env.items() if name not in _SECRETS}
        clean["PYTHONUNBUFFERED"] = "1"  # the log is read while the worker lives
        # An abort in llama.cpp would run gdb, for seconds, and bury the reason in the log.
        clean["GGML_NO_BACKTRACE"] = "1"
        if self.token:
            clean[TOKEN_VARIABLE] = self.token
        return clean


def _cache_options(spec: WorkerSpec) -> dict[str, object]:
    """What is kept outside the context, and where; what is not said the worker chooses."""
    options: dict[str, object] = {}
    if spec.agents is not None:
        options["--agents"] = spec.agents
        if spec.model_sha256:
            options["--model-sha256"] = spec.model_sha256
    if spec.ram_cache:
        options["--ram-cache"] = spec.ram_cache
    if spec.disk_cache:
        options["--disk-cache"] = spec.disk_cache
    return options


def _door_options(spec: WorkerSpec) -> dict[str, object]:
    """Who may call, and how much."""
    options: dict[str, object] = {
        "--keys": spec.keys or "",
        "--queue-order": spec.queue_order,
        "--requests-per-minute": spec.requests_per_minute,
        "--tokens-per-minute": spec.tokens_per_minute,
        "--key-requests-per-minute": spec.key_requests_per_minute,
        "--key-tokens-per-minute": spec.key_tokens_per_minute,
        "--key-concurrency": spec.key_concurrency,
    }
    options = {name: value for name, value in options.items() if value}
    if spec.queue is not None:
        options["--queue"] = spec.queue
    return options


def _flat(options: Mapping[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (name, str(value))]


def _flat_repeated(name: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (name, value)]
