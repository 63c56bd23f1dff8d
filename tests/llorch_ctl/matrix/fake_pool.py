"""A pool behind the Transport interface whose workers are scripted."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from llorch_ctl.errors import Lost, Unreachable
from llorch_ctl.tunnel import Endpoint
from pool_core.errors import Cancelled, RemoteError
from pool_core.events import Event, Progress, State
from tests.llorch_ctl.matrix.fake_worker import Behaviour, FakeWorker


class FakePool:
    """What a pool keeps between connections: its models, its workers, and what was asked of it.

    `behaviours` maps `model/backend` to a Behaviour, or to an error that the spawn raises.
    """

    def __init__(
        self,
        name: str = "local",
        behaviours: Mapping[str, Behaviour | Exception] | None = None,
        *,
        missing: Sequence[str] = (),
        absent: Sequence[str] = (),
        is_reachable: bool = True,
        lost_after: int | None = None,
    ) -> None:
        self.name = name
        self.behaviours = dict(behaviours or {})
        self.missing = set(missing)
        self.absent = absent
        self.is_reachable = is_reachable
        self.lost_after = lost_after
        self.workers: dict[str, FakeWorker] = {}
        self.calls: list[list[str]] = []
        self.stopped: list[str] = []
        self.spawn_hold: threading.Event | None = None
        self.spawning = threading.Event()
        self.lock = threading.Lock()

    def open(self) -> FakeTransport:
        return FakeTransport(self)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.stop()

    # -- commands --------------------------------------------------------

    def models(self) -> dict[str, Any]:
        names = ("one", "two", "three")
        state = {name: "missing" if name in self.missing else "present" for name in names}
        return {"models": [{"id": name, "state": state[name]} for name in names]}

    def backends(self) -> dict[str, Any]:
        rows = []
        for name in ("cpu", "rpc", "cuda", "metal"):
            is_here = name not in self.absent
            reason = "" if is_here else f"no {name} device"
            rows.append(
                {"name": name, "available": is_here, "installed": is_here}
                | {"reason": reason, "remedy": ""}
            )
        return {"backends": rows}

    def spawn(
        self, argv: Sequence[str], cancel: threading.Event
    ) -> Generator[Event, None, dict[str, Any]]:
        backend, model = argv[2], argv[4]
        worker = f"{model}-{backend}-{len(self.calls):04x}"
        yield State(worker, "starting")
        yield Progress(f"loading {model}", 40, 100, "%")
        self.spawning.set()
        while self.spawn_hold and not self.spawn_hold.wait(0.01):
            if cancel.is_set():
                raise Cancelled()
        behaviour = self.behaviours.get(f"{model}/{backend}", Behaviour())
        if isinstance(behaviour, Exception):
            raise behaviour
        assert model not in self.missing
        self.workers[worker] = FakeWorker(behaviour)
        return {
            "id": worker,
            "port": self.workers[worker].port,
            "token": "secret-token",
            "load_seconds": 0.25,
            "build": "0.3.36",
            "device": "FAKE",
            "log": f"/logs/{worker}.log",
        }

    def stop(self, worker: str) -> dict[str, Any]:
        if worker not in self.workers:
            raise RemoteError("E_UNKNOWN", f'unknown worker "{worker}"')
        self.workers.pop(worker).stop()
        self.stopped.append(worker)
        return {}


class FakeTransport:
    """One connection to a FakePool."""

    def __init__(self, pool: FakePool) -> None:
        self.name = pool.name
        self._pool = pool

    def call(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, dict[str, Any]]:
        pool = self._pool
        with pool.lock:
            pool.calls.append(list(argv))
            number = len(pool.calls)
        if not pool.is_reachable:
            raise Unreachable(pool.name, "no route to host", "look at its network")
        if number == pool.lost_after:
            raise Lost(pool.name, "nothing heard for 30 s")
        match argv[:2]:
            case ["models", "list"]:
                return pool.models()
            case ["models", "download"]:
                yield Progress(argv[2], 5, 10)
                pool.missing.discard(argv[2])
                return {}
            case ["backend", "list"]:
                return pool.backends()
            case ["status"]:
                return {"machine": f"{pool.name}-box", "system": "Linux", "version": "0.1.0"}
            case ["worker", "spawn"]:
                return (yield from pool.spawn(argv, cancel or threading.Event()))
            case ["worker", "show"]:
                return {"id": argv[2], "reason": "killed by signal 9"}
            case ["worker", "stop"]:
                return pool.stop(argv[2])
        raise AssertionError(argv)

    @contextmanager
    def open_port(self, port: int) -> Iterator[Endpoint]:
        yield Endpoint(port)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
