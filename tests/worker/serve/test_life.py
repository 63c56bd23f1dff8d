"""A worker from its socket to its exit code, as a real process."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pool_core.spawn.report import WorkerExit, WorkerReport, WorkerStatus
from tests.rigs.http import call, open_stream, read_rest, read_until
from tests.rigs.worker import MODELS, ROOT, WorkerProcess

ASK = {"job_id": "j", "prompt": "Write a haiku", "max_tokens": 8}
SCHEMA = json.loads((ROOT / ".specs/schemas/worker-report.schema.json").read_text())
SLOW = ("-m", "tests.rigs.slow_worker")


def validate(reports: list[WorkerReport]) -> None:
    for report in reports:
        jsonschema.validate(json.loads(report.to_json()), SCHEMA)


def test_reports_and_state_file_follow_its_life(tmp_path: Path) -> None:
    state = tmp_path / "w.state.json"
    with WorkerProcess("--state-file", str(state)) as worker:
        ready = worker.wait_for(WorkerStatus.READY)
        assert WorkerReport.from_json(state.read_text()) == ready
        assert ready.layers_on_device == ready.layers_total > 0
        assert ready.bytes_on_device > 0 and ready.context_length > 0 and ready.load_seconds > 0
        assert ready.device and ready.build
        worker.process.terminate()
        assert worker.wait_exit() == 0
    statuses = [report.status for report in worker.reports]
    assert statuses[0] is WorkerStatus.STARTING
    assert statuses[-3:] == [WorkerStatus.READY, WorkerStatus.DRAINING, WorkerStatus.STOPPED]
    assert WorkerReport.from_json(state.read_text()) == worker.reports[-1]
    assert state.stat().st_mode & 0o777 == 0o600
    validate(worker.reports)


@pytest.fixture
def slow(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    """A worker that talks without end, still loading until `tmp_path / "gate"` is there.

    The parameter is how many seconds it drains.
    """
    drain_s = getattr(request, "param", "10")
    env = {"SLOW_WORKER_GATE": str(tmp_path / "gate"), "SLOW_WORKER_DRAIN_S": drain_s}
    with WorkerProcess(program=SLOW, env=env) as worker:
        while worker.wait_for(WorkerStatus.STARTING).progress == 0:
            pass
        yield worker


def test_health_answers_while_the_model_loads(slow: WorkerProcess, tmp_path: Path) -> None:
    health = call(slow.url, "/health").json()
    assert (health["status"], health["progress"]) == ("starting", 0.4)
    refused = call(slow.url, "/execute", ASK)
    assert refused.status == 503 and "retry-after" in refused.headers
    (tmp_path / "gate").touch()
    slow.wait_ready()
    assert call(slow.url, "/health").json()["status"] == "ready"
    assert call(slow.url, "/execute", ASK).status == 200


def test_sigterm_while_the_model_loads_ends_it_at_once(slow: WorkerProcess) -> None:
    slow.process.terminate()
    assert slow.wait_exit() == 0
    assert slow.reports[-1].status is WorkerStatus.STOPPED


def test_sigterm_lets_running_requests_finish_and_refuses_new_ones(
    slow: WorkerProcess, tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    slow.wait_ready()
    with open_stream(slow.url, "/execute", ASK | {"max_tokens": 200}) as stream:
        read_until(stream, b'"token"')
        slow.process.terminate()
        slow.wait_for(WorkerStatus.DRAINING)
        assert call(slow.url, "/health").json()["status"] == "draining"
        refused = call(slow.url, "/execute", ASK)
        assert b'"tokens_out":200,"stop_reason":"LENGTH"' in read_rest(stream)
    assert (refused.status, refused.json()["error"]["code"]) == (503, "DRAINING")
    assert slow.wait_exit() == 0


@pytest.mark.parametrize("slow", ["0.1"], indirect=True)
def test_what_does_not_end_in_time_is_cancelled(slow: WorkerProcess, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    slow.wait_ready()
    with open_stream(slow.url, "/execute", ASK | {"max_tokens": 2000}) as stream:
        read_until(stream, b'"token"')
        slow.process.terminate()
        assert b'"CANCELLED"' in read_rest(stream)
    assert slow.wait_exit() == 0


def test_a_second_signal_ends_it_at_once(slow: WorkerProcess, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    slow.wait_ready()
    with open_stream(slow.url, "/execute", ASK | {"max_tokens": 2000}) as stream:
        read_until(stream, b'"token"')
        slow.process.send_signal(signal.SIGINT)
        slow.wait_for(WorkerStatus.DRAINING)
        slow.process.terminate()
        assert slow.wait_exit() == 128 + signal.SIGTERM
    assert slow.reports[-1].status is WorkerStatus.STOPPED


def failure_of(*options: str, **kwargs: Any) -> tuple[int, str]:
    """Exit code and reason of a worker that cannot start."""
    with WorkerProcess(*options, **kwargs) as worker:
        code = worker.wait_exit()
        last = worker.reports[-1]
        assert (last.status, last.exit_code) == (WorkerStatus.FAILED, code)
        assert "Traceback" not in worker.log
        assert worker.log_lines[-1]["msg"] == last.reason
        validate(worker.reports)
        return code, last.reason


def test_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, reason = failure_of("--port", port)
    assert code == WorkerExit.PORT_TAKEN
    assert port in reason and "--port 0" in reason


def test_truncated_file_is_named(tmp_path: Path) -> None:
    whole = (MODELS / "ref-llama.gguf").read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[: len(whole) // 2])
    code, reason = failure_of(model=tmp_path / "half.gguf")
    assert code == WorkerExit.BAD_MODEL
    assert "half.gguf" in reason and "cut short" in reason


def test_layers_run_on_an_rpc_server_where_one_is_named() -> None:
    with WorkerProcess(program=("-m", "worker", "rpc-server")) as server:
        port = server.wait_for(WorkerStatus.READY).port
        with WorkerProcess("--backend", "rpc", "--rpc", f"127.0.0.1:{port}") as worker:
            ready = worker.wait_for(WorkerStatus.READY)
            assert ready.layers_on_device == ready.layers_total > 0
            assert "RPC" in ready.device
            assert call(worker.url, "/execute", ASK).events[-1]["type"] == "end"


def test_wrong_command_line_is_exit_2_and_one_line() -> None:
    with WorkerProcess("--frobnicate") as worker:
        assert worker.wait_exit() == WorkerExit.USAGE
        assert worker.log.count("\n") == 1


def test_token_from_the_environment_is_needed_and_never_shown() -> None:
    with WorkerProcess(env={"LLORCH_WORKER_TOKEN": "tok-1234"}) as worker:
        worker.wait_ready()
        assert call(worker.url, "/health").status == 200
        assert call(worker.url, "/execute", ASK).status == 401
        headers = {"authorization": "Bearer tok-1234"}
        assert call(worker.url, "/execute", ASK, headers=headers).status == 200
        assert "tok-1234" not in worker.log
        assert "tok-1234" not in "".join(report.to_json() for report in worker.reports)


def test_report_pipe_without_a_reader_does_not_matter() -> None:
    with WorkerProcess() as worker:
        port = worker.wait_ready().url
        worker.close_pipe()
        assert call(port, "/execute", ASK).status == 200
        worker.process.terminate()
        assert worker.process.wait(30) == 0


def test_restart_on_the_same_port_gives_the_same_bytes() -> None:
    bodies = []
    port = "0"
    for _ in range(2):
        with WorkerProcess("--port", port) as worker:
            report = worker.wait_for(WorkerStatus.READY)
            port = str(report.port)
            bodies.append(call(report.url, "/execute", ASK).raw)
            worker.process.terminate()
            assert worker.wait_exit() == 0
    assert bodies[0] == bodies[1]
