"""A file that is not a GGUF that llama.cpp could load."""

from __future__ import annotations

from pathlib import Path

from pool_core.errors import LlorchError


class HeaderError(LlorchError):
    """Names the file, what should have been there, and what was."""

    code = "E_GGUF"

    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(
            f"{path}: expected {expected}, found {found}",
            "use a whole GGUF file, version 2 or 3",
            path=str(path),
            expected=expected,
            found=found,
        )
        self.path = path
        self.expected = expected
        self.found = found
