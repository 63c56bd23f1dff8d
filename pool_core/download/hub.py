"""The one door to huggingface_hub: look a file up, open it at an offset, list its neighbours.

Its errors leave here as ours: `Transient` for what may pass, a DownloadError for what will not.
Importing this module imports the library, which reads its environment at that moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath

from pool_core.download.errors import (
    DownloadError,
    FileNotInRepo,
    Gated,
    Offline,
    RepoNotFound,
    RevisionNotFound,
    TokenRefused,
)
from pool_core.download.retry import Transient
from pool_core.download.settings import DownloadSettings

# Xet goes to other servers by another protocol and cannot be resumed by us; telemetry would call
# the public hub even when another endpoint was asked for.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from huggingface_hub import (  # noqa: E402
    HfApi,
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
)
from huggingface_hub.errors import (  # noqa: E402
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # noqa: E402
    build_hf_headers,
    hf_raise_for_status,
    httpx,
    parse_ratelimit_headers,
)

_PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
_SHA256_LENGTH = 64


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of one commit. `etag` is the sha256 of a large file, a git hash of a small one."""

    repo: str
    filename: str
    commit: str
    etag: str
    size: int

    @property
    def sha256(self) -> str | None:
        return self.etag if len(self.etag) == _SHA256_LENGTH else None


class Body:
    """The bytes of an answer, from offset `start` of the file."""

    def __init__(self, response: httpx.Response, start: int) -> None:
        self._response = response
        self.start = start

    def __iter__(self) -> Iterator[bytes]:
        """As they come off the socket, so that little is lost when it breaks. Raises Transient."""
        try:
            yield from self._response.iter_raw()
        except httpx.TransportError as error:
            raise Transient(_reason(error)) from error


class HubClient:
    """One hub and one token (None: the one of `hf auth login`, if any). Blocking."""

    def __init__(self, endpoint: str, token: str | None, settings: DownloadSettings) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self._timeout = httpx.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s)

    def page(self, repo: str) -> str:
        return f"{self.endpoint}/{repo}"

    def look_up(self, repo: str, filename: str, revision: str) -> RemoteFile:
        """What the hub has under that name now. Raises Transient or a DownloadError."""
        url = hf_hub_url(repo, filename, revision=revision, endpoint=self.endpoint)
        with self._clear_errors(repo, filename, revision):
            found = get_hf_file_metadata(
                url, headers=self._headers(), timeout=self._timeout.read, endpoint=self.endpoint
            )
        if not found.commit_hash or not found.etag or found.size is None:
            raise DownloadError(
                f"{self.endpoint} does not answer like a hub", "check HF_ENDPOINT", url=url
            )
        return RemoteFile(repo, filename, found.commit_hash, found.etag, found.size)

    @contextmanager
    def open(self, remote: RemoteFile, start: int) -> Iterator[Body]:
        """The file from `start` on, or from 0 where the server knows no ranges.

        Every call asks the hub again, so a signed address is never too old.
        """
        url = hf_hub_url(
            remote.repo, remote.filename, revision=remote.commit, endpoint=self.endpoint
        )
        headers = self._headers() | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with (
            self._clear_errors(remote.repo, remote.filename, remote.commit),
            get_session().stream("GET", url, headers=headers, timeout=self._timeout) as response,
        ):
            self._check_status(response)
            yield Body(response, _offset(response, start))

    def near_files(self, repo: str, filename: str, revision: str) -> list[str]:
        """GGUF files of the repository whose names are closest; empty if it will not say."""
        try:
            tree = HfApi(endpoint=self.endpoint, token=self.token).list_repo_tree(
                repo, recursive=True, revision=revision
            )
            names = [item.path for item in tree if item.path.endswith(".gguf")]
        except (httpx.HTTPError, OSError):
            return []
        near = get_close_matches(filename, names, n=3, cutoff=0.4)
        return near or names[:3]

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = build_hf_headers(token=self.token, library_name="llorch")
        return headers

    def _check_status(self, response: httpx.Response) -> None:
        if response.status_code == 416:
            raise Transient("the server has no bytes beyond that")
        if response.is_success:
            return
        is_elsewhere = response.url.netloc != httpx.URL(self.endpoint).netloc
        if is_elsewhere and response.status_code in (401, 403, 404):
            raise Transient(f"the download server answered {response.status_code}")
        response.read()
        hf_raise_for_status(response)

    @contextmanager
    def _clear_errors(self, repo: str, filename: str, revision: str) -> Iterator[None]:
        """Turn the library's errors into ours. A gated repository is also "not found" there."""
        try:
            yield
        except GatedRepoError:
            raise Gated(repo, self.page(repo)) from None
        except RevisionNotFoundError:
            raise RevisionNotFound(repo, revision, self.page(repo)) from None
        except RemoteEntryNotFoundError:
            near = self.near_files(repo, filename, revision)
            raise FileNotInRepo(repo, PurePosixPath(filename).name, near) from None
        except RepositoryNotFoundError:
            raise RepoNotFound(repo) from None
        except OfflineModeIsEnabled:
            raise Offline(repo) from None
        except HfHubHTTPError as error:
            raise self._of_status(error) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise DownloadError(
                f'"{self.endpoint}" is not an address: {error}', "check HF_ENDPOINT"
            ) from None
        except httpx.TransportError as error:
            raise Transient(_reason(error)) from error

    def _of_status(self, error: HfHubHTTPError) -> Exception:
        status = error.response.status_code
        message = (error.server_message or "").strip() or error.response.reason_phrase
        if status in _PASSING:
            return Transient(f"the hub answered {status}", _asked_wait(error.response))
        if status in (401, 403):
            return TokenRefused(self.endpoint, message)
        return DownloadError(f"{self.endpoint} answered {status}: {message}", "try again later")


def default_endpoint() -> str:
    """HF_ENDPOINT as it is now, not as it was when the library was imported."""
    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


def _offset(response: httpx.Response, asked: int) -> int:
    """Where the answer begins. Raises Transient when it is not where it was asked to."""
    if response.status_code != 206:
        return 0
    found = response.headers.get("Content-Range", "")
    if not found.startswith(f"bytes {asked}-"):
        raise Transient(f'asked for bytes from {asked}, got "{found}"')
    return asked


def _asked_wait(response: httpx.Response) -> float | None:
    """Seconds that the hub asks to wait, in either of its two ways; None if it does not."""
    if (wait := response.headers.get("Retry-After", "")).isdigit():
        return float(wait)
    limit = parse_ratelimit_headers(response.headers)
    return float(limit.reset_in_seconds) if limit else None


def _reason(error: Exception) -> str:
    """A transport error in words; the class name where the library says nothing."""
    match error:
        case httpx.ConnectTimeout():
            return "no connection in time"
        case httpx.TimeoutException():
            return "nothing came for too long"
        case httpx.RemoteProtocolError():
            return "the connection was closed early"
    return str(error) or type(error).__name__
