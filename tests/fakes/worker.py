"""A stand-in for `llorch-worker`: the same command line and reports, no model.

Runnable. `--fake-…` options, placed before the worker's own, make it misbehave on demand.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pool_core.spawn.report import Reporter, WorkerExit, WorkerReport, WorkerStatus


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fake-ignore-sigterm", action="store_true")
    parser.add_argument("--fake-refuse", metavar="REASON", help="report failed, exit 10")
    parser.add_argument("--fake-die", type=int, metavar="CODE", help="exit without a report")
    parser.add_argument("--fake-crash", action="store_true", help="SIGKILL itself while loading")
    parser.add_argument("--fake-hang", action="store_true", help="load for ever at 50 %")
    parser.add_argument("--fake-differ", action="store_true", help="fail the self-test")
    parser.add_argument("--fake-no-end", action="store_true", help="leave in mid-self-test")
    parser.add_argument("--fake-mute", action="store_true", help="never report anything")
    for name in ("model", "model-id", "backend", "rpc", "gpu", "worker-id", "kv-type", "kv-layout"):
        parser.add_argument(f"--{name}")
    for name in ("agents", "model-sha256", "ram-cache", "disk-cache"):
        parser.add_argument(f"--{name}")
    rates = ("requests-per-minute", "tokens-per-minute")
    for name in ("keys", "queue", "queue-order", "cors", "key-concurrency", *rates):
        parser.add_argument(f"--{name}")
    for name in rates:
        parser.add_argument(f"--key-{name}")
    parser.add_argument("--no-draft", action="store_true")
    for name in ("port", "ctx", "slots", "threads", "report-fd", "lease-fd"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--state-file", type=Path)
    parser.add_argument("mode", nargs="?", default="worker")
    return parser.parse_args(argv)


def serve_rpc(args: argparse.Namespace) -> int:
    """Stand where an RPC server would, until the lease ends."""
    with socket.create_server((args.host, 0)) as listener:
        report = WorkerReport(WorkerStatus.READY, os.getpid(), port=listener.getsockname()[1])
        Reporter(args.report_fd).send(report)
        select.select([args.lease_fd], [], [])
    return 0


class Answer(BaseHTTPRequestHandler):
    options: argparse.Namespace

    def do_GET(self) -> None:
        body = json.dumps({"status": "ready", "running": 1, "waiting": 0}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """The self-test: two checks, the second of them as the options say."""
        self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/self-test":
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        for report in self_test(differ=self.options.fake_differ):
            if report["type"] == "end" and self.options.fake_no_end:
                return
            self.wfile.write(b"data: " + json.dumps(report).encode() + b"\n\n: ping\n\n")

    def log_message(self, format: str, *args: object) -> None:
        print(format % args, flush=True)


def self_test(*, differ: bool) -> list[dict[str, Any]]:
    check = {
        "type": "check",
        "name": "alone",
        "kind": "ordinary",
        "verdict": "passed",
        "requests": 4,
        "tokens": 64,
        "max_delta": 0.0,
        "prompt_tokens": 1100,
        "cached_tokens": 0,
        "restored_tokens": 0,
        "detail": "",
    }
    broken = {"verdict": "failed", "max_delta": 2.5, "detail": "prompt 2 of 24 tokens: token 3"}
    together = check | {"name": "together"} | (broken if differ else {})
    progress = [{"type": "progress", "done": done, "total": 2} for done in (1, 2)]
    return [
        progress[0],
        check,
        progress[1],
        together,
        {"type": "end", "ok": not differ, "seconds": 1.5},
    ]


def serve(args: argparse.Namespace) -> int:
    reporter = Reporter(args.report_fd or None, args.state_file)
    starting = WorkerReport(WorkerStatus.STARTING, os.getpid(), host=args.host)
    if args.fake_ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if args.fake_mute:
        signal.pause()
    print(f"fake worker {args.worker_id} loads {args.model}", flush=True)
    if args.fake_die is not None:
        print("fatal: the fake died", flush=True)
        return int(args.fake_die)
    if args.fake_refuse:
        report = WorkerReport(WorkerStatus.FAILED, os.getpid(), reason=args.fake_refuse)
        reporter.send(report)
        return WorkerExit.BAD_MODEL
    for share in (0.0, 0.5):
        reporter.send(WorkerReport(starting.status, starting.pid, share, args.host))
    if args.fake_crash:
        os.kill(os.getpid(), signal.SIGKILL)
    if args.fake_hang:
        signal.pause()
    return _listen(args, reporter)


def _listen(args: argparse.Namespace, reporter: Reporter) -> int:
    try:
        Answer.options = args
        server = ThreadingHTTPServer((args.host, args.port), Answer)
    except OSError:
        reason = f"port {args.port} is taken; choose another with --port"
        reporter.send(WorkerReport(WorkerStatus.FAILED, os.getpid(), reason=reason))
        return WorkerExit.PORT_TAKEN
    stop = threading.Event()
    if not args.fake_ignore_sigterm:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ready = {
        "pid": os.getpid(),
        "progress": 1.0,
        "host": args.host,
        "port": server.server_port,
        "device": "fake",
        "layers_on_device": 4,
        "layers_total": 4,
        "context_length": args.ctx,
        "load_seconds": 0.1,
    }
    reporter.send(WorkerReport(WorkerStatus.READY, **ready))
    stop.wait()
    server.shutdown()
    server.server_close()
    reporter.send(WorkerReport(WorkerStatus.STOPPED, **ready))
    return WorkerExit.OK


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    sys.exit(serve_rpc(options) if options.mode == "rpc-server" else serve(options))
