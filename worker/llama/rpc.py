"""`llorch-worker rpc-server`: lend this machine's devices to a worker, over llama.cpp's RPC.

The protocol has no authentication and no encryption, so the server listens on loopback only;
machines are joined by SSH tunnels.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

from pool_core.errors import UsageError
from pool_core.spawn.report import Reporter, WorkerExit, WorkerReport, WorkerStatus
from worker.llama.devices import Device, server_devices
from worker.llama.errors import LoadError
from worker.llama.library import build, ggml_function
from worker.llama.options import default_threads

_START_TIMEOUT_S = 20.0
_POLL_S = 0.01
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """`lease_fd` is a pipe that nobody writes to: its end is the end of the server."""

    host: str
    port: int
    threads: int
    report_fd: int | None
    lease_fd: int | None


def main(argv: Sequence[str]) -> int:
    """Serve until the lease ends or a signal comes. Raises UsageError before anything starts."""
    settings = _parse(argv)
    reporter = Reporter(settings.report_fd)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        devices = server_devices()
        port = _start(settings, devices)
    except LoadError as error:
        print(f"llorch-worker rpc-server: error: {error}", file=sys.stderr)
        reporter.send(_report(WorkerStatus.FAILED, reason=str(error), exit_code=int(error.exit)))
        return error.exit
    device = ", ".join(str(device) for device in devices)
    reporter.send(_report(WorkerStatus.READY, host=settings.host, port=port, device=device))
    _wait_for_the_end(settings.lease_fd)
    return _leave()


def _report(status: WorkerStatus, **facts: Any) -> WorkerReport:
    progress = 1.0 if status is WorkerStatus.READY else 0.0
    return WorkerReport(status, os.getpid(), progress=progress, build=build(), **facts)


def _start(settings: RpcSettings, devices: list[Device]) -> int:
    """The port on which this process now listens. Raises LoadError."""
    for _ in range(_ATTEMPTS):
        port = settings.port or _free_port(settings.host)
        serving = threading.Thread(
            target=_serve,
            args=(f"{settings.host}:{port}", settings.threads, devices),
            name="rpc-server",
            daemon=True,
        )
        serving.start()
        if _listens(port, serving):
            return port
        if settings.port:
            break
    raise LoadError(
        f"cannot listen on {settings.host} port {port}",
        WorkerExit.PORT_TAKEN,
        "choose another --port, or 0 for any",
    )


def _serve(endpoint: str, threads: int, devices: list[Device]) -> None:
    """Blocks for as long as the server runs; returns at once when it cannot listen."""
    start_server = ggml_function(
        "ggml_backend_rpc_start_server",
        None,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_size_t,
        ctypes.c_void_p,
    )
    assert start_server is not None, "server_devices has checked"
    handles = (ctypes.c_void_p * len(devices))(*[device.handle for device in devices])
    start_server(endpoint.encode(), None, threads, len(devices), handles)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _listens(port: int, serving: threading.Thread) -> bool:
    """Wait until it is this process that listens there, which connecting could not tell."""
    me = psutil.Process()
    deadline = time.monotonic() + _START_TIMEOUT_S
    while serving.is_alive() and time.monotonic() < deadline:
        for connection in me.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                return True
        time.sleep(_POLL_S)
    return False


def _leave(*_: object) -> NoReturn:
    """The serving thread never returns: end the process without waiting for it."""
    os._exit(WorkerExit.OK)


def _wait_for_the_end(lease_fd: int | None) -> None:
    if lease_fd is None:
        while True:
            signal.pause()
    while os.read(lease_fd, 1):
        pass


def _parse(argv: Sequence[str]) -> RpcSettings:
    parser = argparse.ArgumentParser(
        prog="llorch-worker rpc-server",
        description="Lend this machine's devices to a worker, on loopback.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--threads", type=int, help="default: for the model, else for the machine")
    parser.add_argument("--model", type=Path, help="the GGUF that will be computed here")
    parser.add_argument("--report-fd", type=int, help="a pipe that is told when it listens")
    parser.add_argument("--lease-fd", type=int, help="a pipe whose end ends the server")
    values = parser.parse_args(argv)
    if not ipaddress.ip_address(values.host).is_loopback:
        raise UsageError(
            f"an RPC server on {values.host} would be open to everyone there",
            "use 127.0.0.1 and an SSH tunnel",
        )
    threads = values.threads or default_threads(values.model)
    return RpcSettings(values.host, values.port, threads, values.report_fd, values.lease_fd)
