"""One file of a model on its way."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pool_core.catalog.digest import hash_file
from pool_core.events import Event
from pool_core.files import clear_os_errors

if TYPE_CHECKING:  # importing it imports huggingface_hub
    from pool_core.download.hub import RemoteFile


@dataclass(frozen=True, slots=True)
class Job:
    """What the hub has, and where it goes.

    `name` is where the entry looks for the file and keeps its part; `target` is where it really
    goes, by commit. `expected` is the sha256 of the catalog or the hub, if either knows it.
    """

    task: str
    remote: RemoteFile
    name: Path
    target: Path
    expected: str | None

    def is_in_place(self) -> Generator[Event, None, bool]:
        """Whether the very bytes are there already: another entry's, or an interrupted run's."""
        if not self.target.is_file() or self.target.stat().st_size != self.remote.size:
            return False
        found = yield from hash_file(self.target, f"{self.task}: checking what is there")
        return found == self.expected

    def link(self) -> None:
        """Let an entry that says "main" find the file of the commit that was meant."""
        with clear_os_errors(self.name):
            self.name.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.name.with_name(f".{self.name.name}.link")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(os.path.relpath(self.target, self.name.parent))
            os.replace(temporary, self.name)
