"""llama-server, built from the same llama.cpp as ours."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.client import Answer, Request, post
from benchmarks.errors import BenchmarkError
from benchmarks.servers.process import ServerProcess
from benchmarks.servers.server import Ask, Outcome, events


class LlamaServer(ServerProcess):
    """Its process."""

    name = "llama-server"
    ready_path = "/health"

    def __init__(self, program: Path, model: Path, *options: str) -> None:
        super().__init__([str(program), "-m", str(model)], options)

    def request(self, ask: Ask) -> Request:
        body: dict[str, Any] = {
            "prompt": ask.prompt,
            "n_predict": ask.tokens,
            "temperature": ask.temperature,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": ask.reuse,
        }
        if ask.temperature:  # its other samplers are on unless told otherwise
            body |= {"seed": ask.seed, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        if ask.logit_bias:
            body["logit_bias"] = [list(pair) for pair in ask.logit_bias.items()]
        payload = post("/completion", json.dumps(body).encode())
        return Request(payload, first=b"data: {", last=b'"stop":true')

    def outcome(self, answer: Answer) -> Outcome:
        *_, final = events(answer)
        return Outcome(
            final["tokens_predicted"], final["tokens_evaluated"], final["timings"]["cache_n"]
        )

    def slot_action(self, action: str, filename: str) -> float:
        """Save or restore slot 0; the seconds it took, seen from outside."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        body = json.dumps({"filename": filename})
        began = time.perf_counter()
        try:
            connection.request(
                "POST", f"/slots/0?action={action}", body, {"content-type": "application/json"}
            )
            response = connection.getresponse()
            said = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise BenchmarkError(f"llama-server could not {action} its slot: {said!r}")
        return time.perf_counter() - began


def version_of(program: Path) -> str:
    """The version number that it was built with; its commit is that of whatever lay around."""
    done = subprocess.run([str(program), "--version"], capture_output=True, text=True)
    found = re.search(r"version: (\S+)", done.stdout + done.stderr)
    if not found:
        raise BenchmarkError(f"{program} does not say which version it is")
    return found[1]
