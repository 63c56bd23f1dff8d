"""A real model behind the real HTTP face: the classic check, characters, cancelling, chatting."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.rigs.http import call, eventually, open_stream, read_rest, read_until
from tests.rigs.worker import WorkerProcess

HAIKU = {
    "job_id": "test",
    "prompt": "Write a haiku",
    "temperature": 0.0,
    "seed": 42,
    "max_tokens": 50,
}
ENDLESS = {"job_id": "long", "prompt": "Tell me a story", "max_tokens": 6000, "ignore_eos": True}


def execute(worker: WorkerProcess, **fields: Any) -> bytes:
    answer = call(worker.url, "/execute", HAIKU | fields)
    assert answer.status == 200, answer.text
    return answer.raw


def running(worker: WorkerProcess) -> int:
    count: int = call(worker.url, "/health").json()["running"]
    return count


def test_three_equal_requests_have_equal_bodies_alone_and_in_a_crowd(
    worker: WorkerProcess,
) -> None:
    bodies = [execute(worker) for _ in range(3)]

    def talk(number: int) -> bytes:
        prompt = f"Say river stone {number}"
        return execute(
            worker, job_id=f"n{number}", prompt=prompt, temperature=0.9, seed=number, max_tokens=120
        )

    with ThreadPoolExecutor(9) as pool:
        others = [pool.submit(talk, number) for number in range(8)]
        bodies.append(execute(worker))
        crowd = [other.result() for other in others]
    assert len(set(bodies)) == 1
    assert [talk(number) for number in range(8)] == crowd


def test_it_knows_its_capitals_and_says_so_in_the_metrics(worker: WorkerProcess) -> None:
    answer = call(
        worker.url,
        "/execute",
        HAIKU | {"prompt": "What is the capital of France?", "metrics": True, "logprobs": 2},
    )
    *tokens, metrics, end = answer.events[1:]
    assert "Paris" in "".join(token["t"] for token in tokens)
    assert metrics["completion_tokens"] == end["tokens_out"] == len(tokens)
    assert metrics["ttft_s"] > 0 and metrics["prompt_tokens"] > 3
    for token in tokens:
        first, second = token["top_logprobs"]
        assert (first["id"], first["logprob"]) == (token["id"], token["logprob"])
        assert second["logprob"] < first["logprob"] <= 0


@pytest.mark.parametrize("model", ["ref-llama", "ref-qwen2"])
def test_multibyte_characters_arrive_whole(worker: WorkerProcess, model: str) -> None:
    def check(server: WorkerProcess) -> None:
        text = ""
        for prompt in ("Say 🎉", "Say été 😀", "Repeat: naïve 🚀 über"):
            events = call(server.url, "/execute", HAIKU | {"prompt": prompt}).events
            tokens = [event["t"] for event in events if event["type"] == "token"]
            assert "" in tokens, "byte tokens wait for their character"
            text += "".join(tokens)
        assert "\ufffd" not in text
        assert any(ord(character) > 0xFFFF for character in text)

    if model == "ref-llama":
        check(worker)
    else:
        with WorkerProcess(model=model) as other:
            check(other.wait_ready())


def test_cancel_and_disconnect_free_the_slots(worker: WorkerProcess) -> None:
    eventually(lambda: running(worker) == 0)
    with open_stream(worker.url, "/execute", ENDLESS) as cancelled:
        left = open_stream(worker.url, "/execute", ENDLESS | {"job_id": "left"})
        read_until(cancelled, b'"token"')
        read_until(left, b'"token"')
        left.close()
        assert call(worker.url, "/cancel", {"job_id": "long"}).json() == {"cancelled": 1}
        end = read_rest(cancelled)
    assert b'"CANCELLED"' in end
    eventually(lambda: running(worker) == 0)
    assert [line for line in worker.log_lines if line["level"] in ("warning", "error")] == []


def test_chat_streams_what_it_says_whole(worker: WorkerProcess) -> None:
    ask = {
        "model": "ref-llama",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "seed": 1,
        "max_tokens": 40,
    }
    whole = call(worker.url, "/v1/chat/completions", ask).json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = call(worker.url, "/v1/chat/completions", ask | options).events
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert "Paris" in text
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert (usage["usage"], usage["choices"], done) == (whole["usage"], [], "[DONE]")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/execute", b"not json"),
        ("/execute", b'{"job_id":"x","prompt":"a","temperature":3.0}'),
        ("/execute", json.dumps(HAIKU | {"prompt": "river stone " * 20_000}).encode()),
        ("/execute", json.dumps(HAIKU | {"prompt": "a" * 300_000}).encode()),
        ("/v1/chat/completions", b"{}"),
    ],
    ids=["json", "range", "words", "letters", "chat"],
)
def test_bad_input_is_refused_and_leaves_no_trace(
    worker: WorkerProcess, path: str, body: bytes
) -> None:
    before = execute(worker)
    assert call(worker.url, path, body).status == 400
    assert execute(worker) == before


def test_health_reads_the_loaded_model(worker: WorkerProcess) -> None:
    health = call(worker.url, "/health").json()
    assert (health["status"], health["model"], health["worker_id"]) == (
        "ready",
        "ref-llama",
        "shared",
    )
    assert (health["architecture"], health["tokenizer"]) == ("llama", "spm")
    assert health["layers_on_device"] == health["layers_total"] > 0
    assert health["vocab_size"] > 1000 and health["cells_total"] >= health["context_length"]


def test_log_lines_are_json_with_the_request_id(worker: WorkerProcess) -> None:
    call(worker.url, "/execute", HAIKU, headers={"x-request-id": "find-me"})
    eventually(lambda: "find-me" in worker.log)
    line = next(line for line in worker.log_lines if line.get("request_id") == "find-me")
    assert (line["path"], line["status"], line["level"]) == ("/execute", 200, "info")
