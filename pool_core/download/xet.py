"""The fallback transport: huggingface_hub transfers, by Xet where the repository has it.

It cannot continue after a kill, so it is for hubs that our own fetcher cannot read. Its file is
checked and put in place like any other.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.utils import httpx, tqdm

from pool_core.catalog.digest import hash_file
from pool_core.catalog.errors import ChecksumMismatch
from pool_core.download.errors import Interrupted
from pool_core.download.hub import HubClient
from pool_core.download.job import Job
from pool_core.download.settings import DownloadSettings
from pool_core.events import Event
from pool_core.files import clear_os_errors, sync_folder
from pool_core.meter import Meter

_POLL_S = 0.1


class XetFetch:
    """Like `fetch.Fetch`, with the transfer in a thread that only the library can pause."""

    def __init__(self, client: HubClient, job: Job, settings: DownloadSettings) -> None:
        self._client = client
        self._job = job
        self._stopped = threading.Event()
        self._failure: Exception | None = None
        self.bytes_fetched = 0
        self.resumed_from = 0

    def run(self) -> Generator[Event, None, str]:
        """Fetch all of it, check it, put it in place; returns its sha256.

        Raises Interrupted or ChecksumMismatch; nothing is left of it then.
        """
        job = self._job
        private = job.target.with_name(f".{job.target.name}.xet")
        fetched = private / job.remote.filename
        try:
            yield from self._transfer(private)
            found = yield from hash_file(fetched, f"{job.task}: checking")
            if job.expected is not None and found != job.expected:
                raise ChecksumMismatch(
                    job.target, job.expected, found, "it is removed: run it again"
                )
            with clear_os_errors(job.target):
                os.replace(fetched, job.target)
                sync_folder(job.target.parent)
            return found
        finally:
            shutil.rmtree(private, ignore_errors=True)

    def _transfer(self, private: Path) -> Generator[Event, None, None]:
        meter = Meter(self._job.task, self._job.remote.size)
        yield meter.now(0)
        thread = threading.Thread(target=self._download, args=(private,), daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                if event := meter.tick(self.bytes_fetched):
                    yield event
        finally:
            self._stopped.set()
            thread.join()
        if self._failure is not None:
            size, reason = self._job.remote.size, str(self._failure)
            raise Interrupted(self._job.task, 0, size, reason) from self._failure
        yield meter.now(self._job.remote.size)

    def _download(self, private: Path) -> None:
        try:
            remote = self._job.remote
            hf_hub_download(
                remote.repo,
                remote.filename,
                revision=remote.commit,
                local_dir=private,
                endpoint=self._client.endpoint,
                token=self._client.token,
                tqdm_class=_counter(self),
            )
        except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
            self._failure = error

    def count(self, step: float) -> None:
        """Called by the library from its thread; raising there ends the transfer cleanly."""
        if self._stopped.is_set():
            raise InterruptedError("cancelled")
        self.bytes_fetched += int(step)


def _counter(fetch: XetFetch) -> Any:
    """A progress bar class that shows nothing and reports to `fetch`."""

    class Counter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            fetch.count(n or 0)
            return None

    return Counter
