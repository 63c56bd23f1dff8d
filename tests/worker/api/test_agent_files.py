"""An agent's cache as a file: taken away, brought back, and refused when it is not what it says."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import FINGERPRINT, ApiServer, serve_api
from tests.rigs.http import Answer, call, eventually, read_rest
from worker.api.transfers import MAX_TRANSFERS
from worker.engine.cache.archive import Archive
from worker.engine.cache.disk import DiskStore
from worker.engine.cache.file_format import encode_head
from worker.engine.cache.fingerprint import Fingerprint
from worker.engine.cache.snapshot import Snapshot

ADA = "/v1/agents/ada"
BEN = "/v1/agents/ben"
TEXT = "once there was a stone in a river " * 10


@pytest.fixture
def own() -> Iterator[ApiServer]:
    with serve_api(FakeRunner(), archive=Archive(ram_bytes=1 << 20)) as server:
        yield server


def make(server: ApiServer) -> bytes:
    """An agent that had a turn, as a file."""
    assert call(server.url, "/v1/agents", {"name": "ada", "prompt": TEXT}).status == 201
    body = {"prompt": "?", "max_tokens": 4, "stream": False}
    assert call(server.url, f"{ADA}/generate", body).status == 200
    answer = call(server.url, f"{ADA}/cache")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="agent.kv"'
    assert int(answer.headers["content-length"]) == len(answer.raw)
    return answer.raw


def bring(server: ApiServer, data: bytes, path: str = BEN) -> Answer:
    return call(server.url, f"{path}/cache", data, method="PUT")


def refused(answer: Answer) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status, error["code"], error.get("reason")


def file_of(
    tokens: Any, state: bytes = b"[]", of: Fingerprint = FINGERPRINT, **fields: Any
) -> bytes:
    snapshot = Snapshot("agent/x", np.array(tokens, np.int32), state, "x", **fields)
    return encode_head(snapshot, of) + state


@pytest.mark.parametrize("tier", ["hot", "warm"])
def test_a_cache_goes_on_elsewhere(own: ApiServer, tier: str) -> None:
    data = make(own)
    if tier == "warm":
        call(own.url, f"{ADA}/spill", method="POST")
        assert call(own.url, f"{ADA}/cache").raw == data
    text = call(own.url, ADA).json()["tokens"]
    with serve_api(FakeRunner(), archive=Archive(ram_bytes=1 << 20)) as other:
        made = bring(other, data)
        assert made.status == 201
        assert (made.json()["tier"], made.json()["tokens"]) == ("warm", text)
        body = {"prompt": " then", "max_tokens": 1, "stream": False, "metrics": True}
        metrics = call(other.url, f"{BEN}/generate", body).json()["metrics"]
        assert metrics["prompt_tokens"] == text + 5
        assert metrics["restored_tokens"] == metrics["cached_tokens"] == text - 1
        prompt = bytes(other.runner.batches[-1].items[0].seq.request.prompt[1:]).decode()
        assert prompt == f"{TEXT}?{TEXT[:4]} then"
        assert bring(other, data).status == 200
        assert call(other.url, BEN).json()["tokens"] == text


def test_a_cache_is_taken_from_the_disk_and_kept_there(tmp_path: Path) -> None:
    def disk(name: str) -> Archive:
        return Archive(ram_bytes=1 << 20, disk=DiskStore(tmp_path / name, FINGERPRINT, 1 << 30))

    with serve_api(FakeRunner(), archive=disk("a")) as server:
        data = make(server)
    with serve_api(FakeRunner(), archive=disk("a")) as server:
        assert call(server.url, ADA).json()["tier"] == "cold"
        assert call(server.url, f"{ADA}/cache").raw == data
    with serve_api(FakeRunner(), archive=disk("b")) as server:
        assert bring(server, data).status == 201
        eventually(lambda: call(server.url, BEN).json()["bytes"]["disk"] > 0)


def test_what_has_no_cache_has_no_file(own: ApiServer) -> None:
    call(own.url, "/v1/agents", {"name": "ada"})
    assert refused(call(own.url, f"{ADA}/cache")) == (409, "NOTHING_KEPT", None)


def bad_files() -> dict[str, tuple[bytes, str]]:
    good = file_of([1, 2, 3], b"state" * 50)
    other = Fingerprint("0" * 64, "fake 1", "f16")
    return {
        "nothing": (b"", "truncated"),
        "noise": (b"\x00" * 500, "header"),
        "json": (b'{"name": "ada"}' + b" " * 100, "header"),
        "half": (good[: len(good) // 2], "truncated"),
        "one byte less": (good[:-1], "truncated"),
        "one byte more": (good + b"!", "header"),
        "another state": (good[:-1] + b"!", "checksum"),
        "another version": (good[:8] + b"\x09" + good[9:], "version"),
        "a huge header": (good[:12] + b"\xff\xff\xff\xff" + good[16:], "header"),
        "another model": (file_of([1, 2, 3], of=other), "fingerprint"),
        "no tokens": (file_of([]), "too_large"),
        "too many tokens": (file_of([1] * 2100), "too_large"),
        "unknown token": (file_of([1, 999]), "tokens"),
        "negative token": (file_of([-1, 2]), "tokens"),
        "unknown tail": (file_of([1, 2], tail=(999,)), "tokens"),
        "a long tail": (file_of([1, 2], tail=(1,) * 65), "header"),
    }


@pytest.mark.parametrize("name", list(bad_files()))
def test_a_file_that_is_no_good_is_refused_with_the_reason(own: ApiServer, name: str) -> None:
    data, reason = bad_files()[name]
    answer = bring(own, data)
    assert refused(answer) == (400, "BAD_CACHE_FILE", reason), answer.text
    assert call(own.url, BEN).status == 404


def test_a_bad_file_leaves_what_was_there(own: ApiServer) -> None:
    data = make(own)
    assert bring(own, data[:-1], ADA).status == 400
    assert call(own.url, f"{ADA}/cache").raw == data


def test_a_state_that_the_model_does_not_take_costs_a_prefill_and_no_more(own: ApiServer) -> None:
    prompt = [257, *TEXT.encode()]
    assert bring(own, file_of(prompt, b"no state")).status == 201
    body = {"prompt": "!", "max_tokens": 2, "stream": False, "metrics": True}
    whole = call(own.url, f"{BEN}/generate", body).json()
    assert (whole["text"], whole["metrics"]["cached_tokens"]) == (TEXT[:2], 0)
    assert call(own.url, "/health").json()["cache"]["failures"] == {"layout": 1}


def test_too_large_a_file_is_refused_before_it_is_read(own: ApiServer) -> None:
    head = "PUT /v1/agents/ben/cache HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n"
    address = urlsplit(own.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.settimeout(30)
        connection.sendall(head.encode())
        assert b"413" in connection.recv(100)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.settimeout(30)
        start = b"PUT /v1/agents/ben/cache HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(start + b"Transfer-Encoding: chunked\r\n\r\n")
        answer = send_chunks(connection, 1 << 16, 64)
    assert b"413" in answer and b"BODY_TOO_LARGE" in answer


def send_chunks(connection: socket.socket, size: int, count: int) -> bytes:
    """Until the other side has had enough; what it said."""
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    try:
        for _ in range(count):
            connection.sendall(chunk)
    except OSError:
        pass
    try:
        return read_rest(connection)
    except OSError:
        return b""


def test_few_files_are_on_their_way_at_once(own: ApiServer) -> None:
    address = urlsplit(own.url)
    opened = []
    for n in range(MAX_TRANSFERS):
        connection = socket.create_connection((address.hostname, address.port))
        start = f"PUT /v1/agents/a{n}/cache HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
        connection.sendall(start.encode() + b"x")
        opened.append(connection)
    eventually(lambda: own.service.transfers.count == MAX_TRANSFERS)
    answer = bring(own, b"x", "/v1/agents/z")
    assert refused(answer)[:2] == (429, "BUSY") and answer.headers["retry-after"]
    for connection in opened:
        connection.close()
    eventually(lambda: bring(own, b"x", "/v1/agents/z").status == 400)


def test_a_large_file_passes_in_pieces() -> None:
    """Of 32 MB coming in, no more than the state itself is in memory."""
    state = bytes(32 << 20)
    data = file_of([1, 2, 3], state)
    with serve_api(FakeRunner(), archive=Archive(ram_bytes=64 << 20)) as server:
        tracemalloc.start()
        assert bring(server, data).status == 201
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 1.3 * len(data)
        out = call(server.url, f"{BEN}/cache").raw
        assert len(out) > len(state) and out.endswith(state)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_changed_file_is_taken(shared: ApiServer, data: st.DataObject) -> None:
    good = file_of(list(range(40)), b"0123456789" * 20)
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    at = data.draw(st.integers(0, len(good) - 1))
    if kind == "flip":
        bad = bytearray(good)
        bad[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        bad = bytearray(good[:at] + good[at + data.draw(st.integers(1, 50)) :])
    else:
        bad = bytearray(good[:at] + data.draw(st.binary(min_size=1, max_size=50)) + good[at:])
    answer = bring(shared, bytes(bad))
    assert refused(answer)[:2] == (400, "BAD_CACHE_FILE")


@pytest.fixture(scope="module")
def shared() -> Iterator[ApiServer]:
    with serve_api(FakeRunner(), archive=Archive(ram_bytes=1 << 20)) as server:
        yield server


def test_who_leaves_while_a_file_is_on_its_way_holds_up_nobody() -> None:
    state = bytes(16 << 20)
    with serve_api(FakeRunner(), archive=Archive(ram_bytes=64 << 20)) as server:
        assert bring(server, file_of([1, 2, 3], state)).status == 201
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(b"GET /v1/agents/ben/cache HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in connection.recv(100)
            assert server.service.transfers.count == 1
        eventually(lambda: server.service.transfers.count == 0)
