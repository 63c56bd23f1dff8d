"""Starting a process that outlives us, and ending one that somebody else started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pool_core.files import clear_os_errors
from pool_core.spawn.identity import ProcessId

_POLL_S = 0.05


def start_detached(
    argv: Sequence[str], *, env: Mapping[str, str], log: Path, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, with stdin closed and its output appended to `log`.

    It inherits only `pass_fds`, so neither a terminal nor an SSH channel waits for its end.
    """
    with clear_os_errors(log), log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
            cwd="/",
            start_new_session=True,
        )
    # Whoever started it must collect it one day, or a long-lived parent is left with a zombie.
    threading.Thread(target=process.wait, daemon=True, name=f"reap-{process.pid}").start()
    return process


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Signal `process` and nobody else; False if it is gone.

    Where the kernel has pidfds the pid cannot pass to another process between look and signal.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):  # not this system
        return process.is_alive() and _kill(process.pid, number)
    try:
        if not process.is_alive():
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def wait_gone(process: ProcessId, timeout_s: float) -> bool:
    """Wait until `process` has ended, at most `timeout_s`; whether it has."""
    deadline = time.monotonic() + timeout_s
    while process.is_alive():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        _wait_end(process.pid, left)
    return True


def end(process: ProcessId, *, grace_s: float, kill_s: float = 5.0) -> bool:
    """SIGTERM, then SIGKILL after `grace_s`; whether the process is gone.

    Interrupted by a second Ctrl-C it kills at once, so impatience leaves no orphan.
    """
    try:
        if not send_signal(process, signal.SIGTERM) or wait_gone(process, grace_s):
            return True
    finally:
        send_signal(process, signal.SIGKILL)
    return wait_gone(process, kill_s)


def _wait_end(pid: int, timeout_s: float) -> None:
    """Return when `pid` ends, or sooner."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        time.sleep(min(timeout_s, _POLL_S))
        return
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        poller.poll(timeout_s * 1000)
    finally:
        os.close(handle)


def _kill(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
