"""What one worker was asked to be: its command line, and a token from the environment."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pool_core import __version__, machine
from pool_core.api_keys import read_keys
from pool_core.errors import UnknownName, UsageError
from pool_core.spawn.record import KV_LAYOUTS
from worker.limits import Limits, add_limit_options
from worker.options import Range, origin, seconds, sha256, size

TOKEN_VARIABLE = "LLORCH_WORKER_TOKEN"
BACKENDS = ("cpu", "cuda", "metal", "rpc")
KV_TYPES = ("f16", "q8_0", "q4_0")
MAX_SLOTS = 256  # llama.cpp's own bound on sequences in one context
MAX_CTX = 1 << 24
DISK_CACHE_BYTES = 10 << 30
STEP_TIMEOUT_S = 300.0  # a step of a few hundred tokens on the slowest machine that is any use
_MAX_RAM_CACHE_BYTES = 2 << 30
_RAM_CACHE_SHARE = 8  # one part in so many of the machine's memory


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One model on one backend behind one port. `ctx` and `threads` None let the loader choose.

    `ctx` counts KV cells shared by all that runs; `slots` is how many may run at once. `report_fd`
    is a pipe to whoever spawned us.

    `agents` is the folder where caches outlive this process, None for nowhere. `ram_cache` and
    `disk_cache` bound, in bytes, what is kept outside the context; `ram_cache` None is a share of
    the machine's memory. `model_sha256` None has the file read to know it. A step of the model
    that takes longer than `step_timeout_s` is interrupted.

    `token` and the `keys` in a file are what callers must have; without both everybody who can
    reach the socket may call. Web pages from `cors` may use the APIs, "*" for all.
    """

    model_path: Path
    model_id: str
    backend: str
    rpc: tuple[str, ...] = ()
    gpu: int | None = None
    host: str = "127.0.0.1"
    port: int = 0
    ctx: int | None = None
    slots: int = 16
    threads: int | None = None
    kv_type: str = "f16"
    kv_layout: str = "auto"
    agents: Path | None = None
    ram_cache: int | None = None
    disk_cache: int = DISK_CACHE_BYTES
    model_sha256: str | None = None
    drafts: bool = True
    step_timeout_s: float = STEP_TIMEOUT_S
    report_fd: int | None = None
    state_file: Path | None = None
    worker_id: str = ""
    token: str | None = None
    keys: Path | None = None
    cors: tuple[str, ...] = ()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise UnknownName("backend", self.backend, BACKENDS, "llorch-pool backend list")
        if (self.backend == "rpc") != bool(self.rpc):
            raise UsageError("--backend rpc and --rpc HOST:PORT go together", "give both or none")
        for endpoint in self.rpc:
            host, _, port = endpoint.rpartition(":")
            if not (host and port.isdecimal() and 0 < int(port) < 65536):
                raise UsageError(f'--rpc "{endpoint}" is not HOST:PORT')
        if not is_loopback(self.host) and not self._has_key():
            raise UsageError(
                f"refusing to listen on {self.host} without a key",
                f"set {TOKEN_VARIABLE}, give --keys FILE, "
                "or use --host 127.0.0.1 and an SSH tunnel",
            )

    def _has_key(self) -> bool:
        """Raises UsageError when the file with the keys cannot be used."""
        in_file = self.keys is not None and len(read_keys(self.keys)) > 0
        return in_file or self.token is not None


def default_ram_cache() -> int:
    """Bytes: enough to be useful, and little enough to leave the machine to its owner."""
    return min(_MAX_RAM_CACHE_BYTES, machine.memory().total // _RAM_CACHE_SHARE)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; a name other than localhost is not trusted."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_settings(argv: Sequence[str], env: Mapping[str, str] = os.environ) -> WorkerSettings:
    """Raises UsageError, in one line, for anything that cannot be served."""
    values = _make_parser().parse_args(argv)
    path: Path = values.model
    return WorkerSettings(
        model_path=path,
        model_id=values.model_id or path.stem,
        backend=values.backend,
        rpc=tuple(values.rpc),
        gpu=values.gpu,
        host=values.host,
        port=values.port,
        ctx=values.ctx,
        slots=values.slots,
        threads=values.threads,
        kv_type=values.kv_type,
        kv_layout=values.kv_layout,
        agents=values.agents,
        ram_cache=values.ram_cache,
        disk_cache=values.disk_cache,
        model_sha256=values.model_sha256,
        drafts=not values.no_draft,
        step_timeout_s=values.step_timeout,
        report_fd=_open_fd(values.report_fd),
        state_file=values.state_file,
        worker_id=values.worker_id,
        token=env.get(TOKEN_VARIABLE) or None,
        keys=values.keys,
        cors=tuple(values.cors),
        limits=Limits.of(values),
    )


def _open_fd(fd: int | None) -> int | None:
    """The report pipe, kept from child processes; a reader that stalls must not stall us."""
    if fd is None:
        return None
    try:
        os.set_inheritable(fd, False)
        os.set_blocking(fd, False)
    except OSError as error:
        raise UsageError(f"--report-fd {fd}: {error.strerror}") from error
    return fd


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see: {self.prog} --help")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="llorch-worker",
        description="Serve one GGUF model on one backend over HTTP.",
        epilog=f"A token for the HTTP APIs comes from the environment: {TOKEN_VARIABLE}. "
        "--make-key NAME alone prints a new key and the line about it for --keys. "
        "--self-test in the place of --model tests that model, prints what came of it (--json: as "
        "JSON lines) and leaves.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"llorch-worker {__version__}")
    add("--model", type=Path, required=True, metavar="PATH.gguf")
    add("--model-id", metavar="ID", help="name in the APIs; default: the file's stem")
    add("--backend", default="cpu", metavar="|".join(BACKENDS))
    add("--rpc", action="append", default=[], metavar="HOST:PORT", help="repeatable")
    add("--gpu", type=Range(0, 255), metavar="N", help="index of the device; default: all")
    add("--host", default="127.0.0.1")
    add("--port", type=Range(0, 65535), default=0, metavar="N", help="0 lets the system choose")
    add("--ctx", type=Range(1, MAX_CTX), metavar="N", help="KV cells shared by all slots")
    add("--slots", type=Range(1, MAX_SLOTS), default=16, metavar="N", help="most at once")
    add("--threads", type=Range(1, 1024), metavar="N", help="default: the physical cores")
    add("--kv-type", choices=KV_TYPES, default="f16")
    add("--kv-layout", choices=KV_LAYOUTS, default="auto", help="auto: split while that suffices")
    add("--agents", type=Path, metavar="DIR", help="keep caches of agents there; default: not")
    add("--ram-cache", type=size, metavar="SIZE", help="default: 2G, at most 1/8 of the memory")
    add("--disk-cache", type=size, default=DISK_CACHE_BYTES, metavar="SIZE", help="default: 10G")
    add("--model-sha256", type=sha256, metavar="HEX", help="of the model; default: it is read")
    add("--no-draft", action="store_true", help="never guess tokens ahead")
    add("--step-timeout", type=seconds, default=STEP_TIMEOUT_S, metavar="SECONDS")
    add("--report-fd", type=Range(0, 1 << 20), metavar="FD", help="where reports are written")
    add("--state-file", type=Path, metavar="PATH", help="a file that holds the latest report")
    add("--worker-id", default="", metavar="ID")
    add("--keys", type=Path, metavar="FILE", help="the keys that callers must have; see --make-key")
    add("--cors", type=origin, action="append", default=[], metavar="ORIGIN", help="repeatable")
    add_limit_options(parser)
    return parser
