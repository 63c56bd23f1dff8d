"""Downloading a model: find out what it is, make sure it fits, fetch, check, put in place, pin."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from pool_core.catalog import POOL, SHIPPED, CatalogStore, ModelEntry, ModelStore
from pool_core.catalog.entry import is_commit
from pool_core.catalog.file_lock import hold
from pool_core.catalog.model_store import row_name
from pool_core.download.errors import ChangedUpstream
from pool_core.download.job import Job
from pool_core.download.settings import DownloadSettings, Transport
from pool_core.errors import DiskFull, UnknownName
from pool_core.events import Event, State, Warning
from pool_core.gguf import HeaderError, read_header
from pool_core.home import Home
from pool_core.machine import disk_free

if TYPE_CHECKING:  # it takes 0.2 s to import, and a model that is here needs none of it
    from pool_core.download.hub import HubClient, RemoteFile

_DEFAULTS = DownloadSettings()


def download(
    entry: ModelEntry,
    home: Home,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    force: bool = False,
    settings: DownloadSettings = _DEFAULTS,
) -> Generator[Event, None, dict[str, Any]]:
    """Bring a model to this machine, continuing what an earlier attempt left.

    Returns {id, path, sha256, size, revision, bytes_fetched, resumed_from}. A model that is here
    is not fetched again, except with `force`, which leaves the old file until the new one is
    checked. `endpoint` defaults to HF_ENDPOINT, `token` to the one of `hf auth login`.
    Raises a DownloadError, ChecksumMismatch, Locked, DiskFull or PermissionRefused. Closing the
    generator, or an interrupt, keeps what has arrived.
    """
    store = ModelStore(home)
    if entry.is_local:
        store.require(entry)
    is_here = entry.is_pinned and store.state(entry).is_usable
    if entry.is_local or (is_here and not force):
        yield State(entry.id, "present")
        return _outcome(entry, store)
    with ExitStack() as locks:
        for number, name in enumerate(entry.filenames, 1):
            locks.enter_context(hold(store.lock_file(entry, name), row_name(entry, number)))
        work = _Download(entry, home, store, _client(endpoint, token, settings), settings)
        return (yield from work.run(force=force))


def _client(endpoint: str | None, token: str | None, settings: DownloadSettings) -> HubClient:
    if settings.transport is Transport.XET:
        os.environ["HF_HUB_DISABLE_XET"] = "0"  # read when the library is imported, just below
    from pool_core.download.hub import HubClient, default_endpoint

    return HubClient(endpoint or default_endpoint(), token, settings)


class _Download:
    """One model's download, once its files are locked."""

    def __init__(
        self,
        entry: ModelEntry,
        home: Home,
        store: ModelStore,
        client: HubClient,
        settings: DownloadSettings,
    ) -> None:
        self._entry = entry
        self._home = home
        self._store = store
        self._client = client
        self._settings = settings
        self._bytes_fetched = 0
        self._resumed_from = 0

    def run(self, *, force: bool) -> Generator[Event, None, dict[str, Any]]:
        jobs = yield from self._plan()
        missing = []
        for job in jobs:
            if force or not (yield from job.is_in_place()):
                missing.append(job)
        self._require_space(missing)
        digests = {job.remote.filename: job.expected for job in jobs}
        for job in missing:
            digests[job.remote.filename] = yield from self._fetch(job)
        yield from self._check_header(jobs[0])
        entry = yield from self._pin(jobs, digests)
        if not is_commit(entry.revision):
            for job in jobs:
                job.link()
        yield State(entry.id, "downloaded")
        return _outcome(entry, self._store, self._bytes_fetched, self._resumed_from)

    def _plan(self) -> Generator[Event, None, list[Job]]:
        """Ask the hub about every file. Raises ChangedUpstream before a byte is fetched."""
        entry, revision = self._entry, self._entry.revision
        names = self._store.paths(entry)
        jobs = []
        for number, (filename, name) in enumerate(zip(entry.filenames, names, strict=True), 1):
            task = row_name(entry, number)
            remote = yield from self._look_up(task, filename, revision)
            revision = remote.commit  # all shards of one commit, even while somebody pushes
            pinned = entry.digest(filename)
            if pinned and remote.sha256 and pinned != remote.sha256:
                raise ChangedUpstream(remote.repo, filename, pinned, remote.sha256)
            target = self._store.folder(entry, revision) / filename
            jobs.append(Job(task, remote, name, target, pinned or remote.sha256))
        return jobs

    def _look_up(
        self, task: str, filename: str, revision: str
    ) -> Generator[Event, None, RemoteFile]:
        from pool_core.download.fetch import patiently

        repo = self._entry.repo
        assert repo is not None
        ask = partial(self._client.look_up, repo, filename, revision)
        return (yield from patiently(ask, self._client, task, self._settings))

    def _require_space(self, jobs: list[Job]) -> None:
        from pool_core.download.part import Part

        if not jobs:
            return
        here = sum(Part(job.name, job.remote).bytes_here() for job in jobs)
        needed = sum(job.remote.size for job in jobs) - here + self._settings.spare_space
        available = disk_free(jobs[0].target.parent)
        if needed > available:
            raise DiskFull(
                f"{self._entry.id} needs {needed} bytes in {self._home.models}, "
                f"which has {available} free",
                "free some space: llorch-pool models list shows what is there",
                needed=needed,
                available=available,
            )

    def _fetch(self, job: Job) -> Generator[Event, None, str]:
        from pool_core.download.fetch import Fetch
        from pool_core.download.xet import XetFetch

        is_xet = self._settings.transport is Transport.XET
        make = XetFetch if is_xet else Fetch
        fetch = make(self._client, job, self._settings)
        try:
            return (yield from fetch.run())
        finally:
            self._bytes_fetched += fetch.bytes_fetched
            self._resumed_from += fetch.resumed_from

    def _check_header(self, job: Job) -> Generator[Event, None, None]:
        """A file may be just what was asked for and no model: say so before the first spawn."""
        try:
            read_header(job.target, facts_only=True)
        except HeaderError as error:
            yield Warning(f"{job.task}: {error.message}", error.code)

    def _pin(
        self, jobs: list[Job], digests: dict[str, str | None]
    ) -> Generator[Event, None, ModelEntry]:
        """Record what an unpinned entry turned out to be, where the catalog is ours to write."""
        entry = self._entry
        known = {name: digest for name, digest in digests.items() if digest}
        if entry.is_pinned or len(known) < len(jobs) or entry.source not in (POOL, SHIPPED):
            return entry
        sha256 = known if len(jobs) > 1 else known[jobs[0].remote.filename]
        size = sum(job.remote.size for job in jobs)
        try:
            return CatalogStore(self._home).pin(entry.id, sha256, jobs[0].remote.commit, size)
        except UnknownName:
            yield Warning(f"{entry.id} was unregistered meanwhile; its file is kept")
            return entry


def _outcome(
    entry: ModelEntry, store: ModelStore, bytes_fetched: int = 0, resumed_from: int = 0
) -> dict[str, Any]:
    return {
        "id": entry.id,
        "path": str(store.path(entry)),
        "sha256": entry.sha256,
        "size": store.state(entry).bytes_here,
        "revision": None if entry.is_local else entry.revision,
        "bytes_fetched": bytes_fetched,
        "resumed_from": resumed_from,
    }
