"""Tokens a second through HTTP: our worker beside llama-server, turn by turn in one run.

python -m benchmarks.serving --llama-server PATH [--model FILE.gguf] [--threads N] [--tokens N]

Every client sends its next prompt when the last is answered; both servers are asked for greedy
text that does not end early, streamed. The ratio of the medians is the result.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.rigs.worker import MODELS, WorkerProcess

CLIENTS = (1, 4, 8, 16)
REQUESTS_EACH = 4
TURNS = 5
SLOTS, CONTEXT = 16, 16384

Ask = Callable[[str, int], int]


def count_events(port: int, path: str, body: dict[str, Any], marker: bytes) -> int:
    """Send one request and count the streamed events that carry `marker`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        return sum(marker in line for line in response)
    finally:
        connection.close()


def ask_ours(port: int) -> Ask:
    def ask(prompt: str, tokens: int) -> int:
        body = {"job_id": "bench", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        return count_events(port, "/execute", body | {"reproducible": False}, b'"type":"token"')

    return ask


def ask_theirs(port: int) -> Ask:
    def ask(prompt: str, tokens: int) -> int:
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True}
        count_events(port, "/completion", body | {"stream": True, "cache_prompt": False}, b"data:")
        return tokens  # its events may carry several tokens or none

    return ask


def tokens_per_second(ask: Ask, clients: int, tokens: int) -> float:
    """All clients at once, each with its own prompts."""
    words = "river stone cloud lamp window garden winter letter".split()
    prompts = [
        f"Count from {client + turn} to 90. Say {' '.join(words[: 1 + (client + turn) % 8])}"
        for client in range(clients)
        for turn in range(REQUESTS_EACH)
    ]
    with ThreadPoolExecutor(clients) as pool:
        began = time.perf_counter()
        total = sum(pool.map(lambda prompt: ask(prompt, tokens), prompts))
        return total / (time.perf_counter() - began)


def start_llama_server(
    program: Path, model: Path, threads: int
) -> tuple[subprocess.Popen[bytes], int]:
    """llama-server with as many slots and as much context as our worker; waits until it is up."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    argv = [str(program), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    argv += ["-np", str(SLOTS), "-c", str(CONTEXT), "-t", str(threads), "-tb", str(threads)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return server, port
        except OSError:
            assert server.poll() is None, "llama-server did not start"
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=MODELS / "ref-llama.gguf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    options = ("--slots", str(SLOTS), "--ctx", str(CONTEXT), "--threads", str(args.threads))
    with WorkerProcess(*options, model=args.model) as worker:
        worker.wait_ready()
        server, port = start_llama_server(args.llama_server, args.model, args.threads)
        try:
            compare(ask_ours(urlsplit(worker.url).port or 0), ask_theirs(port), args.tokens)
        finally:
            server.terminate()
            server.wait()


def compare(ours: Ask, theirs: Ask, tokens: int) -> None:
    print(f"{'clients':>8} {'ours tok/s':>12} {'llama-server':>13} {'ratio':>7}")
    for clients in CLIENTS:
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(TURNS):
            rates["ours"].append(tokens_per_second(ours, clients, tokens))
            rates["theirs"].append(tokens_per_second(theirs, clients, tokens))
        here, there = (statistics.median(rates[name]) for name in ("ours", "theirs"))
        print(f"{clients:8} {here:12.0f} {there:13.0f} {here / there:7.2f}", flush=True)


if __name__ == "__main__":
    main()
