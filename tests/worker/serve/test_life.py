"""A worker from its socket to its exit code, as a real process."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import jsonschema

from pool_core.spawn.report import WorkerExit, WorkerReport, WorkerStatus
from tests.rigs.http import call, open_stream, read_rest, read_until
from tests.rigs.worker import MODELS, ROOT, WorkerProcess

ASK = {"job_id": "j", "prompt": "Write a haiku", "max_tokens": 8}
SCHEMA = json.loads((ROOT / ".specs/schemas/worker-report.schema.json").read_text())
SLOW = ("-m", "tests.rigs.slow_worker")
# Reproducible requests in turn would take as long; what counts is that it runs while others come.
LONG = ASK | {"max_tokens": 2000, "prompt": "Tell me a story", "temperature": 2.0, "seed": 1}


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


def test_health_answers_while_the_model_loads(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with WorkerProcess(program=SLOW, env={"SLOW_WORKER_GATE": str(gate)}) as worker:
        while (report := worker.wait_for(WorkerStatus.STARTING)).progress == 0:
            pass
        health = call(report.url, "/health").json()
        assert (health["status"], health["progress"]) == ("starting", 0.4)
        refused = call(report.url, "/execute", ASK)
        assert refused.status == 503 and "retry-after" in refused.headers
        gate.touch()
        worker.wait_ready()
        assert call(worker.url, "/health").json()["status"] == "ready"
        assert call(worker.url, "/execute", ASK).status == 200


def test_sigterm_while_the_model_loads_ends_it_at_once(tmp_path: Path) -> None:
    with WorkerProcess(program=SLOW, env={"SLOW_WORKER_GATE": str(tmp_path / "no")}) as worker:
        while worker.wait_for(WorkerStatus.STARTING).progress == 0:
            pass
        worker.process.terminate()
        assert worker.wait_exit() == 0
    assert worker.reports[-1].status is WorkerStatus.STOPPED


def test_sigterm_lets_running_requests_finish_and_refuses_new_ones() -> None:
    with WorkerProcess() as worker:
        worker.wait_ready()
        with open_stream(worker.url, "/execute", LONG) as stream:
            seen = read_until(stream, b'"token"')
            worker.process.terminate()
            worker.wait_for(WorkerStatus.DRAINING)
            assert call(worker.url, "/health").json()["status"] == "draining"
            refused = call(worker.url, "/execute", ASK)
            seen += read_rest(stream)
        assert (refused.status, refused.json()["error"]["code"]) == (503, "DRAINING")
        assert b'"type":"end"' in seen and b"CANCELLED" not in seen
        assert worker.wait_exit() == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with WorkerProcess() as worker:
        worker.wait_ready()
        with open_stream(worker.url, "/execute", LONG) as stream:
            read_until(stream, b'"token"')
            worker.process.send_signal(signal.SIGINT)
            worker.wait_for(WorkerStatus.DRAINING)
            worker.process.terminate()
            assert worker.wait_exit() == 128 + signal.SIGTERM
    assert worker.reports[-1].status is WorkerStatus.STOPPED


def failure_of(*options: str, **kwargs: Any) -> tuple[int, str]:
    """Exit code and reason of a worker that cannot start."""
    with WorkerProcess(*options, **kwargs) as worker:
        code = worker.wait_exit()
        last = worker.reports[-1]
        assert last.status is WorkerStatus.FAILED
        assert last.exit_code == code
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


def test_host_that_is_not_ours_is_named() -> None:
    code, reason = failure_of("--host", "203.0.113.7", env={"LLORCH_WORKER_TOKEN": "t"})
    assert code == WorkerExit.USAGE
    assert "203.0.113.7" in reason


def test_model_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, reason = failure_of(model=tmp_path / "gone.gguf")
    assert code == WorkerExit.BAD_MODEL
    assert str(tmp_path / "gone.gguf") in reason


def test_file_that_is_not_gguf_is_named(tmp_path: Path) -> None:
    (tmp_path / "not.gguf").write_bytes(b"PK\x03\x04" + b"x" * 1000)
    code, reason = failure_of(model=tmp_path / "not.gguf")
    assert code == WorkerExit.BAD_MODEL
    assert "not.gguf" in reason and "GGUF" in reason


def test_truncated_file_is_named(tmp_path: Path) -> None:
    whole = (MODELS / "ref-llama.gguf").read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[: len(whole) // 2])
    code, reason = failure_of(model=tmp_path / "half.gguf")
    assert code == WorkerExit.BAD_MODEL
    assert "half.gguf" in reason


def test_backend_that_is_missing_names_the_remedy() -> None:
    code, reason = failure_of("--backend", "cuda")
    assert code == WorkerExit.BACKEND_MISSING
    assert "cuda" in reason and "llorch-pool backend install cuda" in reason


def test_rpc_server_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
    code, reason = failure_of("--backend", "rpc", "--rpc", endpoint)
    assert code == WorkerExit.BACKEND_MISSING
    assert endpoint in reason


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
