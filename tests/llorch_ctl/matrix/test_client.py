"""Reading streams, healthy and broken, over real sockets."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llorch_ctl.matrix.client import AskFailed, WorkerClient, WorkerGone
from llorch_ctl.matrix.sse import ChatReader, ExecuteReader
from llorch_ctl.matrix.trace import Token
from tests.llorch_ctl.matrix.builders import make_matrix
from tests.llorch_ctl.matrix.fake_worker import Behaviour, FakeWorker

CASE = make_matrix().cases[0]
OK = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@contextmanager
def worker_sending(
    data: bytes, *, hold: threading.Event | None = None, limit: float = 5.0
) -> Iterator[WorkerClient]:
    """A client of a server that reads one request, sends `data`, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(data)
                if hold:
                    hold.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        yield WorkerClient("127.0.0.1", listener.getsockname()[1], "one", timeout=limit)
        if hold:
            hold.set()
        thread.join()


def read_request(connection: socket.socket) -> None:
    """All of it: hanging up on unread bytes would reset the connection."""
    with connection.makefile("rb") as stream:
        length = 0
        while (line := stream.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        stream.read(length)


@pytest.fixture
def worker() -> Iterator[FakeWorker]:
    worker = FakeWorker(Behaviour())
    yield worker
    worker.stop()


def test_an_answer_keeps_its_tokens_and_its_bytes(worker: FakeWorker) -> None:
    client = WorkerClient("127.0.0.1", worker.port, "one", "secret")
    first, second = client.ask(CASE), client.ask(CASE)
    assert first.text == "\nParis."
    assert [token.text for token in first.tokens] == ["\n", "Paris", "."]
    assert first.tokens[1].logprob == -0.01
    assert first.tokens[1].likeliest["7"] == -5.0
    assert first.body == second.body and b"ping" not in first.body
    assert first.first_token_s > 0


def test_what_is_asked_is_greedy_with_a_seed(worker: FakeWorker) -> None:
    WorkerClient("127.0.0.1", worker.port, "one").ask(CASE)
    body = worker.bodies[0]
    assert (body["temperature"], body["seed"], body["logprobs"]) == (0.0, 42, 2)
    assert body["reproducible"] and body["job_id"] == "matrix-capital"


def test_a_refusal_says_what_the_worker_said() -> None:
    body = json.dumps({"error": {"code": "INVALID_REQUEST", "message": "prompt: too long"}})
    answer = f"HTTP/1.1 400 Bad\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    with worker_sending(answer.encode()) as client, pytest.raises(AskFailed) as caught:
        client.ask(CASE)
    assert str(caught.value) == "400: prompt: too long"
    page = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>"
    with worker_sending(page) as client, pytest.raises(AskFailed, match="502 Bad Gateway"):
        client.ask(CASE)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ('data: {"type":"error","code":"INTERNAL","message":"decode failed"}', "decode failed"),
        ("data: {broken", "not JSON"),
        ('data: {"type":"token"}', "unexpected event"),
        ("data: [1]", "unexpected event"),
    ],
)
def test_an_error_in_the_stream_is_a_failed_question(events: str, said: str) -> None:
    with worker_sending(OK + events.encode() + b"\n\n") as client:
        with pytest.raises(AskFailed, match=said):
            client.ask(CASE)


def test_a_stream_without_an_end_is_a_worker_that_is_gone() -> None:
    event = b'data: {"type":"token","t":"a","i":0}\n\n'
    with worker_sending(OK + event) as client, pytest.raises(WorkerGone, match="broke off"):
        client.ask(CASE)
    with worker_sending(b"") as client, pytest.raises(WorkerGone):
        client.ask(CASE)


def test_nobody_listening_is_a_worker_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(WorkerGone):
        WorkerClient("127.0.0.1", port, "one").health()


def test_a_silent_worker_is_given_up() -> None:
    with worker_sending(OK, hold=threading.Event(), limit=0.1) as client:
        with pytest.raises(AskFailed, match="nothing heard for 0.1 s"):
            client.ask(CASE)


def test_abort_ends_a_question_that_waits() -> None:
    with worker_sending(OK, hold=threading.Event()) as client:
        outcome: list[Exception] = []
        thread = threading.Thread(target=lambda: outcome.append(failure_of(client)))
        thread.start()
        while not client.num_open:
            pass
        client.abort()
        thread.join(5)
        assert isinstance(outcome[0], WorkerGone)
        with pytest.raises(WorkerGone, match="cancelled"):
            client.health()


def failure_of(client: WorkerClient) -> Exception:
    try:
        client.ask(CASE)
    except Exception as error:
        return error
    raise AssertionError("it answered")


def test_a_chat_stream_is_compared_by_its_choices() -> None:
    def read(id: str) -> ChatReader:
        reader = ChatReader()
        item = {"token": "42", "logprob": -0.1, "top_logprobs": [{"token": "43", "logprob": -3}]}
        choice = {"index": 0, "delta": {"content": "42"}, "logprobs": {"content": [item]}}
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        for chunk in ({"id": id, "choices": [choice]}, {"id": id, "choices": [end]}, {"usage": {}}):
            reader.feed(b"data: " + json.dumps(chunk).encode())
        assert reader.is_complete and not reader.feed(b"data: [DONE]")
        return reader

    one, two = read("a").answer(0), read("b").answer(0)
    assert one.body == two.body
    assert one.tokens == (Token("42", None, -0.1, {"43": -3.0}),)
    assert (one.text, one.stop_reason) == ("42", "stop")


def test_half_a_surrogate_pair_becomes_something_that_can_be_written() -> None:
    reader = ExecuteReader()
    assert reader.feed(b'data: {"type":"token","t":"\\ud83d","i":0}')
    assert reader.answer(0).text == "?"
