"""A worker that answers from a script over real HTTP, with one defect at a time."""

from __future__ import annotations

import json
import threading
import time
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS = {
    "What is the capital of France?": ["\n", "Paris", "."],
    "What is 17 + 25?": ["\n", "42"],
}


@dataclass(slots=True)
class Behaviour:
    """What a worker says and how; the defaults are a worker in good health."""

    answers: dict[str, list[str]] = field(default_factory=lambda: dict(ANSWERS))
    shift: float = 0.0
    is_noisy: bool = False
    hates_company: bool = False
    is_never_reproducible: bool = False
    token_s: float = 0.0
    dies_at_request: int | None = None
    refuses: str | None = None
    layers: tuple[int, int] = (4, 4)
    hold: threading.Event | None = None


class FakeWorker:
    """Serves on a port of loopback from its making to `stop`. `asked` is set by any request."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.num_requests = 0
        self.num_running = 0
        self.bodies: list[dict[str, Any]] = []
        self.asked = threading.Event()
        self.changed = threading.Condition()
        worker = self

        class Handler(_Handler):
            fake = worker

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeWorker

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        on_device, total = self.fake.behaviour.layers
        health = {"status": "ready", "layers_on_device": on_device, "layers_total": total}
        self._send(200, json.dumps(health | {"device": "FAKE", "rss_bytes": 12_000_000}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fake, behaviour = self.fake, self.fake.behaviour
        with fake.changed:
            fake.bodies.append(body)
            fake.num_requests += 1
            number = fake.num_requests
            fake.num_running += 1
            fake.changed.notify_all()
        fake.asked.set()
        try:
            if behaviour.hold:
                behaviour.hold.wait(30)
            if behaviour.dies_at_request == number:
                self.close_connection = True
                return
            self._answer(body, number)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with fake.changed:
                fake.num_running -= 1

    def _answer(self, body: dict[str, Any], number: int) -> None:
        behaviour = self.fake.behaviour
        prompt = body.get("prompt") or body["messages"][-1]["content"]
        if behaviour.refuses and behaviour.refuses in prompt:
            error = {"error": {"code": "INVALID_REQUEST", "message": "prompt: too long"}}
            self._send(400, json.dumps(error).encode())
            return
        texts = list(behaviour.answers.get(prompt, [f" {n}" for n in range(8)]))
        is_free = not body.get("reproducible") or behaviour.is_never_reproducible
        if behaviour.hates_company and is_free and self._in_company():
            texts[-1] = " what?"
        noise = number / 1000 if behaviour.is_noisy else 0.0
        self.send_response(200)
        self.end_headers()
        write = self._write_chat if "messages" in body else self._write_execute
        write(body, texts, -0.01 - behaviour.shift - noise)

    def _in_company(self) -> bool:
        """A lone request waits a moment for others, so that those sent at once do meet."""
        with self.fake.changed:
            return self.fake.changed.wait_for(lambda: self.fake.num_running > 1, timeout=0.1)

    def _write_execute(self, body: dict[str, Any], texts: list[str], logprob: float) -> None:
        self._event({"type": "started", "job_id": body["job_id"]})
        for index, text in enumerate(texts):
            time.sleep(self.fake.behaviour.token_s)
            event: dict[str, Any] = {"type": "token", "t": text, "i": index}
            if body.get("logprobs") is not None:
                token = zlib.crc32(text.encode())
                top = [{"id": token, "logprob": logprob}, {"id": 7, "logprob": -5.0}]
                event |= {"id": token, "logprob": logprob, "top_logprobs": top}
            self._event(event)
        if body.get("metrics"):
            clock = {"prompt_tokens": 100, "prefill_s": 0.05}
            clock["decode_s"] = (len(texts) - 1) * (self.fake.behaviour.token_s or 0.001)
            self._event({"type": "metrics"} | clock)
        self._event({"type": "end", "tokens_out": len(texts), "stop_reason": "EOS"})

    def _write_chat(self, body: dict[str, Any], texts: list[str], logprob: float) -> None:
        for text in texts:
            top = [{"token": text, "logprob": logprob}]
            item = {"token": text, "logprob": logprob, "top_logprobs": top}
            delta = {"content": text}
            self._event(
                {
                    "id": f"chatcmpl-{time.monotonic_ns()}",
                    "choices": [{"index": 0, "delta": delta, "logprobs": {"content": [item]}}],
                }
            )
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(b": ping\n\ndata: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
