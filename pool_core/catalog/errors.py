"""What can be wrong with a model that the catalog knows."""

from __future__ import annotations

from pathlib import Path

from pool_core.errors import LlorchError


class ModelNotDownloaded(LlorchError):
    """The model is in the catalog and its file is not here."""

    code = "E_NOT_DOWNLOADED"


class ChecksumMismatch(LlorchError):
    """A file's bytes are not those that were promised."""

    code = "E_CHECKSUM"

    def __init__(self, path: Path, expected: str, found: str, remedy: str) -> None:
        super().__init__(
            f"{path.name} has the wrong sha256: expected {expected[:12]}…, found {found[:12]}…",
            remedy,
            path=str(path),
            expected=expected,
            found=found,
        )
