"""The rpc backend: a server in a process of its own, a worker's runner here."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pool_core.errors import UsageError
from pool_core.spawn.report import WorkerExit, WorkerStatus
from tests.rigs.rpc import rpc_server
from tests.worker.llama.conftest import model_path
from tests.worker.llama.driving import compute, is_same, rest, tokens
from tests.worker.llama.generation import QUESTIONS, ask, request, run
from worker.llama.errors import LoadError
from worker.llama.options import LoadOptions
from worker.llama.rpc import main
from worker.llama.runner import LlamaRunner

TIMEOUT_S = 30.0
MODEL = model_path("ref-llama")


def test_layers_run_on_the_server_and_say_the_same_as_the_cpu(llama: LlamaRunner) -> None:
    with rpc_server("--model", str(MODEL)) as server:
        options = LoadOptions(MODEL, "rpc", (server.endpoint,), ctx=4096, slots=8)
        remote = LlamaRunner.load(options)
        try:
            info = remote.info
            assert info.layers_on_device == info.layers_total == 5
            assert info.bytes_on_device > 2_000_000
            assert server.endpoint in info.device
            there = run(remote, [request(remote, q, q) for q in QUESTIONS])
            here = run(llama, [request(llama, q, q) for q in QUESTIONS])
            assert {q: a.ids for q, a in there.items()} == {q: a.ids for q, a in here.items()}
            haiku = {"reproducible": True, "logprobs": 0}
            first = ask(remote, "Write a haiku", **haiku)
            assert first.tokens
            assert ask(remote, "Write a haiku", **haiku).exact == first.exact
        finally:
            remote.close()


@pytest.mark.parametrize("name", ["ref-llama", "ref-gpt-oss"])
def test_a_restored_sequence_goes_on_to_the_last_bit(name: str) -> None:
    with rpc_server("--model", str(MODEL)) as server:
        options = LoadOptions(model_path(name), "rpc", (server.endpoint,), ctx=2048, slots=4)
        runner = LlamaRunner.load(options)
        try:
            ids = tokens(runner, 600)
            runner.isolate(0, 640)
            computed = rest(runner, 0, ids, 0)
            runner.isolate(1, 512)
            compute(runner, 1, ids[:512])
            saved = runner.save(1)
            runner.release(1)
            runner.isolate(2, 900)
            runner.restore(2, saved, 512)
            assert is_same(rest(runner, 2, ids, 512), computed)
        finally:
            runner.close()


OVERLAP = """
import sys
from pathlib import Path
from tests.worker.llama.generation import request, run
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner
runner = LlamaRunner.load(LoadOptions(Path(sys.argv[1]), "rpc", (sys.argv[2],), ctx=4096))
lengths = [(i, 9 * i) for i in range(1, 13)]
answers = run(runner, [
    request(runner, str(i), f"Count from {i} to 60", reproducible=True, ignore_eos=True,
            max_tokens=n)
    for i, n in lengths
])
print([len(answers[str(i)].ids) == n for i, n in lengths].count(True))
"""


def test_contexts_may_come_and_go_while_others_compute() -> None:
    """In a process of its own: where this breaks, ggml aborts."""
    with rpc_server("--model", str(MODEL)) as server:
        done = subprocess.run(
            [sys.executable, "-c", OVERLAP, str(MODEL), server.endpoint],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (done.returncode, done.stdout.strip()) == (0, "12"), done.stderr[-500:]


def test_the_server_ends_with_its_lease() -> None:
    with rpc_server() as server:
        assert server.report.status is WorkerStatus.READY
        assert server.process.poll() is None
    assert server.process.returncode == WorkerExit.OK


def test_the_server_ends_at_a_signal() -> None:
    with rpc_server() as server:
        server.process.terminate()
        assert server.process.wait(TIMEOUT_S) == WorkerExit.OK


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with rpc_server("--port", str(taken.getsockname()[1])) as server:
            report = server.report
            assert report.status is WorkerStatus.FAILED
            assert report.exit_code == WorkerExit.PORT_TAKEN
            assert "\n" not in report.reason and "port" in report.reason
        assert server.process.returncode == WorkerExit.PORT_TAKEN


def test_the_server_refuses_to_be_open_to_the_network() -> None:
    with pytest.raises(UsageError, match="SSH tunnel"):
        main(["--host", "0.0.0.0"])


def test_a_server_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(LoadError) as caught:
        LlamaRunner.load(LoadOptions(MODEL, "rpc", (endpoint,)))
    assert caught.value.exit is WorkerExit.BACKEND_MISSING
    assert endpoint in str(caught.value)
