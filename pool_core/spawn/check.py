"""Having a running worker test itself, over its own HTTP API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from pool_core.errors import LlorchError, UsageError
from pool_core.events import Event, Progress, State
from pool_core.spawn.record import WorkerRecord
from pool_core.spawn.report import WorkerStatus

# A worker that tests itself says something at least every 15 s.
_SILENCE_S = 60.0
_MAX_LINE = 64 * 1024


class CheckBroken(LlorchError):
    """The worker did not finish its self-test; nothing is known of what it would have found."""

    code = "E_CHECK"


def check_worker(
    record: WorkerRecord, tolerance: float | None = None
) -> Generator[Event, None, dict[str, Any]]:
    """Run the self-test of a ready worker; what it found, with `ok`.

    `tolerance` is how far ordinary requests may be apart, in nats; None leaves it to the worker.
    Closing the generator ends the test. Raises UsageError and CheckBroken.
    """
    if record.status is not WorkerStatus.READY:
        raise UsageError(
            f"{record.id} is {record.status.value}, only a ready worker can be checked",
            "see: llorch-pool worker list",
        )
    checks: list[dict[str, Any]] = []
    for report in _reports(record, {} if tolerance is None else {"tolerance": tolerance}):
        match report.get("type"):
            case "progress":
                done, total = float(report.get("done", 0)), float(report.get("total", 0))
                yield Progress(record.id, done, total, "requests")
            case "check":
                checks.append({name: value for name, value in report.items() if name != "type"})
                what = f"{record.id} {report.get('name')}, {report.get('kind')}"
                yield State(what, str(report.get("verdict")), str(report.get("detail", "")))
            case "end":
                ok, seconds = bool(report.get("ok")), float(report.get("seconds", 0.0))
                return {"id": record.id, "ok": ok, "seconds": seconds, "checks": checks}
            case "error":
                raise CheckBroken(f"{record.id}: {report.get('message')}", "try again")
    raise _gone(record, "the answer broke off")


def _reports(record: WorkerRecord, body: dict[str, float]) -> Iterator[dict[str, Any]]:
    headers = {"content-type": "application/json"}
    if record.file.token:
        headers["authorization"] = f"Bearer {record.file.token}"
    report = record.report
    connection = http.client.HTTPConnection(report.host, report.port, timeout=_SILENCE_S)
    with closing(connection):
        try:
            connection.request("POST", "/self-test", json.dumps(body).encode(), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise CheckBroken(f"{record.id}: {_reason(response)}")
            while line := response.readline(_MAX_LINE):
                if line.startswith(b"data:"):
                    yield _decode(record, line)
        except (OSError, http.client.HTTPException) as error:
            raise _gone(record, str(error) or type(error).__name__) from error


def _decode(record: WorkerRecord, line: bytes) -> dict[str, Any]:
    try:
        report = json.loads(line.removeprefix(b"data:"))
    except ValueError:
        report = None
    if not isinstance(report, dict):
        raise CheckBroken(f"{record.id} sent something that is no report")
    return report


def _reason(response: http.client.HTTPResponse) -> str:
    """The error body of a worker, in one line."""
    if response.status == 404:
        return "this worker cannot test itself; it is of an older version"
    try:
        return str(json.loads(response.read(_MAX_LINE))["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status} {response.reason}"


def _gone(record: WorkerRecord, why: str) -> CheckBroken:
    return CheckBroken(
        f"{record.id} did not finish its self-test: {why}",
        f"see: llorch-pool worker logs {record.id}",
    )
