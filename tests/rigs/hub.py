"""A hub look-alike on loopback that the real huggingface_hub client downloads from.

    with Hub([Repo("acme/tiny-GGUF", {"tiny.gguf": path})]) as hub:
        hub.add(Fault(FaultKind.DROP, after=1_000_000))
        ...                     # HF_ENDPOINT=hub.url
        hub.exchanges           # what was asked and answered

Two ports: the hub (metadata, small files) and its "CDN" (model files behind signed URLs), because
another port is another origin, which must never see the Authorization header. Every answer closes
its connection, so nothing is left open when the block ends.

As a program: `python -m tests.rigs.hub --repo acme/tiny-GGUF=DIR --bps 20000000` prints one JSON
line with its endpoint, and serves until it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from tests.rigs.hub_repo import CHUNK, Exchange, Fault, FaultKind, Repo

__all__ = ["Exchange", "Fault", "FaultKind", "Hub", "Repo"]


class Hub:
    """Context manager. `bps` limits every model file; `tokens` are those it accepts."""

    def __init__(
        self, repos: Iterable[Repo] = (), *, bps: int = 0, tokens: Iterable[str] = ("hf_good",)
    ) -> None:
        self.repos = {repo.id: repo for repo in repos}
        self.tokens = set(tokens)
        self.bps = bps
        self.exchanges: list[Exchange] = []
        self.stopping = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._servers = [_Server(self, where) for where in ("hub", "cdn")]
        self._threads = [
            threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
            for server in self._servers
        ]
        self.url, self.cdn_url = (server.url for server in self._servers)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._faults.clear()

    def take(self, where: str, method: str, path: str, *kinds: FaultKind) -> Fault | None:
        """The first fault of these kinds that strikes this request, now spent once."""
        with self._lock:
            for fault in self._faults:
                fits = fault.where == where and fault.method == method and fault.kind in kinds
                if fits and fault.times and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def record(self, exchange: Exchange) -> None:
        with self._lock:
            self.exchanges.append(exchange)

    def bytes_sent(self) -> int:
        """Bytes of model files that went out."""
        return sum(seen.sent for seen in self.exchanges if seen.where == "cdn")

    def ranges(self) -> list[str | None]:
        """The Range header of each request for bytes, in order."""
        return [seen.range for seen in self.exchanges if seen.where == "cdn"]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, hub: Hub, where: str) -> None:
        self.hub, self.where = hub, where
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """`Hub.exchanges` is the log."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, where = self.server.hub, self.server.where
        fault = hub.take(where, self.command, self.path, FaultKind.STATUS, FaultKind.REFUSE)
        path = urlsplit(self.path).path
        if fault and fault.kind is FaultKind.REFUSE:
            self._record(0)
        elif fault:
            self._send(fault.code, fault.headers, b"injected")
        elif where == "cdn":
            self._serve_blob(path)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._serve_tree(found[1], unquote(found[2]))
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(found[1], unquote(found[2]), unquote(found[3]))
        else:
            self._refuse(404, "", f"no such page: {path}")

    def _find_repo(self, repo_id: str, revision: str) -> Repo | None:
        """The repository, or None after the answer that the real hub gives."""
        header = self.headers.get("Authorization")
        is_known = header is not None and header.removeprefix("Bearer ") in self.server.hub.tokens
        repo = self.server.hub.repos.get(repo_id)
        if header and not is_known:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not is_known):
            self._refuse(404 if is_known else 401, "RepoNotFound", "Repository not found")
        elif revision not in ("main", repo.commit):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif repo.gated and not is_known and "/resolve/" in self.path:
            self._refuse(401, "GatedRepo", f"Access to model {repo_id} is restricted.")
        else:
            return repo
        return None

    def _serve_tree(self, repo_id: str, revision: str) -> None:
        if repo := self._find_repo(repo_id, revision):
            tree = [
                {"type": "file", "path": name, "size": repo.size(name), "oid": repo.sha256(name)}
                for name in sorted(repo.files)
            ]
            self._send(200, {"Content-Type": "application/json"}, json.dumps(tree).encode())

    def _resolve(self, repo_id: str, revision: str, name: str) -> None:
        repo = self._find_repo(repo_id, revision)
        if repo is None:
            return
        if name not in repo.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        etag = f'"{repo.sha256(name)}"'
        headers = {
            "X-Repo-Commit": repo.commit,
            "X-Linked-Etag": etag,
            "X-Linked-Size": str(repo.size(name)),
            "ETag": etag,
            "Location": f"{self.server.hub.cdn_url}/{quote(repo_id)}/{quote(name)}?signature=x",
        }
        self._send(302, headers)

    def _serve_blob(self, path: str) -> None:
        owner, repo_name, name = unquote(path).lstrip("/").split("/", 2)
        repo = self.server.hub.repos[f"{owner}/{repo_name}"]
        size = repo.size(name)
        if cut := self._take(FaultKind.TRUNCATE):
            size = min(size, cut.after)
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and not self._take(FaultKind.IGNORE_RANGE):
            start, status = int(wanted[1]), 206
        if start >= size > 0:
            self._send(416, {"Content-Range": f"bytes */{size}"})
            return
        headers = {"ETag": f'"{repo.sha256(name)}"', "Content-Length": str(size - start)}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._begin(status, headers)
        sent = self._send_body(repo, name, start, size) if self.command == "GET" else 0
        self._record(status, sent)

    def _send_body(self, repo: Repo, name: str, start: int, end: int) -> int:
        """Send the bytes as the faults have it; how many went out."""
        cut = self._take(FaultKind.DROP, FaultKind.RESET, FaultKind.STALL)
        corrupt = self._take(FaultKind.CORRUPT)
        slow = self._take(FaultKind.SLOW)
        bps = slow.bps if slow else self.server.hub.bps
        stop = min(end, start + cut.after) if cut else end
        sent, began = 0, time.monotonic()
        step = max(4096, min(CHUNK, bps // 20)) if bps else CHUNK
        try:
            for chunk in repo.chunks(name, start, stop, step):
                if corrupt and start + sent <= corrupt.after < start + sent + len(chunk):
                    chunk = _flipped(chunk, corrupt.after - start - sent)
                self.wfile.write(chunk)
                sent += len(chunk)
                ahead = sent / bps - (time.monotonic() - began) if bps else 0
                if ahead > 0 and self.server.hub.stopping.wait(ahead):
                    break
            if cut:
                self._cut(cut.kind)
        except OSError:
            pass  # the client went away
        return sent

    def _cut(self, kind: FaultKind) -> None:
        if kind is FaultKind.STALL:
            while not self.server.hub.stopping.is_set():
                if select.select([self.connection], [], [], 0.02)[0]:
                    return  # readable: the client hung up
        elif kind is FaultKind.RESET:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())

    def _take(self, *kinds: FaultKind) -> Fault | None:
        return self.server.hub.take(self.server.where, self.command, self.path, *kinds)

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, headers, message.encode())

    def _send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self._begin(status, {"Content-Length": str(len(body)), **headers})
        if self.command != "HEAD":
            self.wfile.write(body)
        self._record(status)

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _record(self, status: int, sent: int = 0) -> None:
        header = self.headers.get
        self.server.hub.record(
            Exchange(
                self.server.where,
                self.command,
                self.path,
                status,
                sent,
                header("Range"),
                header("Authorization"),
            )
        )


def _flipped(chunk: bytes, at: int) -> bytes:
    return chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.rigs.hub", description=__doc__)
    parser.add_argument("--repo", action="append", required=True, metavar="OWNER/NAME=DIR")
    parser.add_argument("--bps", type=int, default=0, help="bytes a second for each model file")
    options = parser.parse_args()
    pairs = [text.partition("=")[::2] for text in options.repo]
    repos = [Repo.of_folder(repo_id, Path(folder)) for repo_id, folder in pairs]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Hub(repos, bps=options.bps) as hub:
        print(json.dumps({"endpoint": hub.url, "repos": list(hub.repos)}), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
