"""Why a model could not be fetched, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable

from pool_core.errors import LlorchError

_LOG_IN = "hf auth login (or set HF_TOKEN)"


class DownloadError(LlorchError):
    """Base of everything that ends a download."""

    code = "E_DOWNLOAD"


class HubUnreachable(DownloadError):
    """The hub does not answer, or only with errors."""

    code = "E_HUB"

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(
            f"{endpoint} cannot be reached: {reason}",
            "check the network and HF_ENDPOINT, then run it again",
            endpoint=endpoint,
        )


class Offline(DownloadError):
    code = "E_OFFLINE"

    def __init__(self, repo: str) -> None:
        super().__init__(f"{repo}: HF_HUB_OFFLINE is set", "unset it to download")


class Interrupted(DownloadError):
    """The transfer broke off for longer than we wait; what arrived is kept."""

    code = "E_INTERRUPTED"

    def __init__(self, name: str, have: int, size: int, reason: str) -> None:
        super().__init__(
            f"{name}: {have} of {size} bytes, then {reason}",
            "run it again: it continues from there",
            bytes_here=have,
            size=size,
        )


class Gated(DownloadError):
    code = "E_GATED"

    def __init__(self, repo: str, page: str) -> None:
        super().__init__(
            f"{repo} is gated: its owner decides who may download it",
            f"accept its terms at {page}, then {_LOG_IN}",
            repo=repo,
        )


class TokenRefused(DownloadError):
    code = "E_TOKEN"

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint} refused the token: {reason}", _LOG_IN)


class RepoNotFound(DownloadError):
    code = "E_REPO"

    def __init__(self, repo: str) -> None:
        super().__init__(
            f"{repo} does not exist on the hub, or is private",
            f"check the name; for a private one: {_LOG_IN}",
            repo=repo,
        )


class RevisionNotFound(DownloadError):
    code = "E_REVISION"

    def __init__(self, repo: str, revision: str, page: str) -> None:
        super().__init__(
            f'{repo} has no revision "{revision}"',
            f"see {page}/commits/main",
            repo=repo,
            revision=revision,
        )


class FileNotInRepo(DownloadError):
    code = "E_FILE"

    def __init__(self, repo: str, filename: str, near: Iterable[str]) -> None:
        names = list(near)
        hint = f"did you mean {' or '.join(names)}?" if names else "it has no GGUF file at all"
        super().__init__(f'{repo} has no file "{filename}"', hint, repo=repo, nearest=names)


class ChangedUpstream(DownloadError):
    """The hub now has other bytes under that name than the catalog pins."""

    code = "E_CHANGED"

    def __init__(self, repo: str, filename: str, pinned: str, found: str) -> None:
        super().__init__(
            f"{repo}: {filename} is not what the catalog pins: "
            f"sha256 {pinned[:12]}…, the hub has {found[:12]}…",
            "pin the revision that had it, or register the new file under another id",
            expected=pinned,
            found=found,
        )
