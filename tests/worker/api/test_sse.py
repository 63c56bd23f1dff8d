from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from worker.api.json_text import json_logprob, to_json
from worker.api.sse import PING, EventStream, encode, while_connected


@pytest.mark.parametrize("text", ["a\nb\r\n", "\x85", "\u2028\u2029", "\x1c\x0b", "🎉 é", "\x00"])
def test_an_event_is_one_line_to_every_client(text: str) -> None:
    encoded = to_json({"t": text}).decode()
    assert len(encoded.splitlines()) == 1
    assert json.loads(encoded) == {"t": text}
    assert encode(text).count(b"\n\n") == 1


def test_impossible_logprobs_stay_json() -> None:
    assert json_logprob(float("-inf")) == -9999.0
    assert json_logprob(float("nan")) == -9999.0
    assert json_logprob(-0.25) == -0.25


class Client:
    """The server's side of a connection: notes what is sent, and leaves when told to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_complete = False
        self.changed = asyncio.Event()
        self.gone = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        assert not self.is_complete, "sent after the end"
        if message["type"] == "http.response.body":
            self.sent += [message["body"]] if message["body"] else []
            self.is_complete = not message["more_body"]
            self.changed.set()

    async def until_sent(self, chunk: bytes, times: int = 1) -> None:
        while self.sent.count(chunk) < times:
            self.changed.clear()
            await self.changed.wait()

    def serve(self, stream: EventStream) -> asyncio.Task[None]:
        return asyncio.ensure_future(stream({"type": "http"}, self.receive, self.send))


def test_pings_fill_the_silence_and_only_that() -> None:
    async def run() -> list[bytes]:
        gate, client = asyncio.Event(), Client()

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield b"a"
            await gate.wait()
            yield b"b"

        serving = client.serve(EventStream(chunks(), ping_every_s=0.01))
        await client.until_sent(PING, 2)
        gate.set()
        await serving
        assert client.is_complete
        return client.sent

    sent = asyncio.run(run())
    assert (sent[0], sent[-1]) == (b"a", b"b")
    assert set(sent[1:-1]) == {PING}


def test_a_stream_that_talks_is_never_pinged() -> None:
    async def run() -> list[bytes]:
        client = Client()

        async def chunks() -> AsyncGenerator[bytes, None]:
            for _ in range(40):
                await asyncio.sleep(0.005)
                yield b"a"

        await client.serve(EventStream(chunks(), ping_every_s=30))
        return client.sent

    assert set(asyncio.run(run())) == {b"a"}


def test_leaving_in_mid_silence_closes_what_is_streamed() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def run() -> None:
        client = Client()
        serving = client.serve(EventStream(endless(), ping_every_s=0.001))
        await client.until_sent(PING)
        client.gone.set()
        await serving
        assert not client.is_complete

    asyncio.run(run())
    assert closed.is_set()


def test_a_client_that_does_not_read_holds_up_its_own_chunks_only() -> None:
    async def run() -> int:
        made, client = 0, Client()

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal made
            while True:
                made += 1
                yield b"a"

        client.reads.clear()
        serving = client.serve(EventStream(chunks(), ping_every_s=0.001))
        await asyncio.sleep(0.05)
        client.gone.set()
        await serving
        return made

    assert asyncio.run(run()) <= 1


def test_work_is_cancelled_when_the_client_leaves() -> None:
    async def run() -> bool:
        cancelled = False
        gone = asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def work() -> None:
            nonlocal cancelled
            gone.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled = True
                raise

        with pytest.raises(ClientDisconnect):
            await while_connected(receive, work())
        return cancelled

    assert asyncio.run(run())
