"""The process in which a worker's chat templates run lives as long as the worker."""

from __future__ import annotations

import httpx
import psutil
import pytest

from tests.rigs.worker import WorkerProcess


def template_process(worker: WorkerProcess) -> psutil.Process:
    children = psutil.Process(worker.process.pid).children()
    (found,) = [child for child in children if "render_child" in " ".join(child.cmdline())]
    return found


def ask(worker: WorkerProcess) -> httpx.Response:
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "ref-llama.gguf", "messages": messages, "max_tokens": 1}
    return httpx.post(f"{worker.url}/v1/chat/completions", json=body, timeout=60)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_it_goes_with_the_worker(is_killed: bool) -> None:
    with WorkerProcess() as worker:
        worker.wait_ready()
        process = template_process(worker)
        if is_killed:
            worker.process.kill()
        else:
            worker.process.terminate()
        worker.wait_exit()
        process.wait(20)  # raises when it stays


def test_it_is_replaced_when_it_is_gone() -> None:
    with WorkerProcess() as worker:
        worker.wait_ready()
        first = template_process(worker)
        first.kill()
        assert ask(worker).status_code == 200
        assert template_process(worker) != first
