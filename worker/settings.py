"""What one worker was asked to be: its command line, and a token from the environment."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pool_core import __version__, machine
from pool_core.errors import UnknownName, UsageError
from pool_core.spawn.record import KV_LAYOUTS
from pool_core.units import parse_size

TOKEN_VARIABLE = "LLORCH_WORKER_TOKEN"
BACKENDS = ("cpu", "cuda", "metal", "rpc")
KV_TYPES = ("f16", "q8_0", "q4_0")
MAX_SLOTS = 256  # llama.cpp's own bound on sequences in one context
MAX_CTX = 1 << 24
DISK_CACHE_BYTES = 10 << 30
STEP_TIMEOUT_S = 300.0  # a step of a few hundred tokens on the slowest machine that is any use
_MAX_RAM_CACHE_BYTES = 2 << 30
_RAM_CACHE_SHARE = 8  # one part in so many of the machine's memory
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One model on one backend behind one port. `ctx` and `threads` None let the loader choose.

    `ctx` counts KV cells shared by all that runs; `slots` is how many may run at once. `report_fd`
    is a pipe to whoever spawned us.

    `agents` is the folder where caches outlive this process, None for nowhere. `ram_cache` and
    `disk_cache` bound, in bytes, what is kept outside the context; `ram_cache` None is a share of
    the machine's memory. `model_sha256` None has the file read to know it. A step of the model
    that takes longer than `step_timeout_s` is interrupted.
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

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise UnknownName("backend", self.backend, BACKENDS, "llorch-pool backend list")
        if (self.backend == "rpc") != bool(self.rpc):
            raise UsageError("--backend rpc and --rpc HOST:PORT go together", "give both or none")
        for endpoint in self.rpc:
            host, _, port = endpoint.rpartition(":")
            if not (host and port.isdecimal() and 0 < int(port) < 65536):
                raise UsageError(f'--rpc "{endpoint}" is not HOST:PORT')
        if not is_loopback(self.host) and self.token is None:
            raise UsageError(
                f"refusing to listen on {self.host} without a token",
                f"set {TOKEN_VARIABLE}, or use --host 127.0.0.1 and an SSH tunnel",
            )


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


class _Range:
    """An argparse type: an integer within bounds, both included."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None
        if not self.low <= value <= self.high:
            raise argparse.ArgumentTypeError(f"{value} is not between {self.low} and {self.high}")
        return value


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(f'"{text}" is not 64 hexadecimal digits')
    return text.lower()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds') from None
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} s is no time to wait")
    return value


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="llorch-worker",
        description="Serve one GGUF model on one backend over HTTP.",
        epilog=f"A token for the HTTP APIs comes from the environment: {TOKEN_VARIABLE}. "
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
    add("--gpu", type=_Range(0, 255), metavar="N", help="index of the device; default: all")
    add("--host", default="127.0.0.1")
    add("--port", type=_Range(0, 65535), default=0, metavar="N", help="0 lets the system choose")
    add("--ctx", type=_Range(1, MAX_CTX), metavar="N", help="KV cells shared by all slots")
    add("--slots", type=_Range(1, MAX_SLOTS), default=16, metavar="N", help="most at once")
    add("--threads", type=_Range(1, 1024), metavar="N", help="default: the physical cores")
    add("--kv-type", choices=KV_TYPES, default="f16")
    add("--kv-layout", choices=KV_LAYOUTS, default="auto", help="auto: split while that suffices")
    add("--agents", type=Path, metavar="DIR", help="keep caches of agents there; default: not")
    add("--ram-cache", type=_size, metavar="SIZE", help="default: 2G, at most 1/8 of the memory")
    add("--disk-cache", type=_size, default=DISK_CACHE_BYTES, metavar="SIZE", help="default: 10G")
    add("--model-sha256", type=_sha256, metavar="HEX", help="of the model; default: it is read")
    add("--no-draft", action="store_true", help="never guess tokens ahead")
    add("--step-timeout", type=_seconds, default=STEP_TIMEOUT_S, metavar="SECONDS")
    add("--report-fd", type=_Range(0, 1 << 20), metavar="FD", help="where reports are written")
    add("--state-file", type=Path, metavar="PATH", help="a file that holds the latest report")
    add("--worker-id", default="", metavar="ID")
    return parser
