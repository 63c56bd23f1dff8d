"""One model of a catalog: what it is, where it comes from, and which bytes it must have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    model_validator,
)

SHIPPED = "shipped"
POOL = "pool"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIRST_SHARD = re.compile(r"(?P<stem>.+)-00001-of-(?P<count>\d{5})\.gguf")
_MAX_SHARDS = 1000


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f'"{text}" must be lower-case letters, digits, ".", "_" or "-"')
    return text


def _repo(text: str) -> str:
    if not _REPO.fullmatch(text) or ".." in text or "--" in text:
        raise ValueError(f'"{text}" must look like "owner/name"')
    return text


def _revision(text: str) -> str:
    if not _REVISION.fullmatch(text) or ".." in text:
        raise ValueError(f'"{text}" must be a branch, a tag or a commit')
    return text


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError(f'"{text}" must be 64 lower-case hexadecimal digits')
    return text


def _inside(text: str) -> str:
    """A file's name inside its repository: it may name folders, and never leaves them."""
    path = PurePosixPath(text)
    if not text or path.is_absolute() or "\\" in text or "\0" in text:
        raise ValueError(f'"{text}" must be a path inside the repository')
    if str(path) != text or ".." in path.parts:
        raise ValueError(f'"{text}" must be a plain path without "." or ".."')
    return text


ModelName = Annotated[StrictStr, AfterValidator(_name)]
FileName = Annotated[StrictStr, AfterValidator(_inside)]
Sha256 = Annotated[StrictStr, AfterValidator(_sha256)]


class ModelEntry(BaseModel):
    """A model in the catalog; immutable.

    Its bytes are `repo` + `file` (or `files`, the shards of a split GGUF in order), or a `path`
    on this machine. `size` is of all files together. `sha256` is of the one file, or a table
    from file to digest. `source` and `folder` say which catalog the entry was read from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ModelName
    name: StrictStr = ""
    repo: Annotated[StrictStr, AfterValidator(_repo)] | None = None
    file: FileName | None = None
    files: Annotated[tuple[FileName, ...], Field(min_length=1)] | None = None
    path: StrictStr | None = None
    revision: Annotated[StrictStr, AfterValidator(_revision)] = "main"
    sha256: Sha256 | dict[FileName, Sha256] | None = None
    size: Annotated[StrictInt, Field(gt=0)] | None = None
    architecture: StrictStr | None = None
    context_length: Annotated[StrictInt, Field(gt=0)] | None = None
    license: StrictStr | None = None
    roles: tuple[ModelName, ...] = ()
    aliases: tuple[ModelName, ...] = ()

    source: Annotated[StrictStr, Field(exclude=True)] = POOL
    folder: Annotated[Path, Field(exclude=True)] = Path()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.path is not None:
            self._check_path(self.path)
        elif self.repo is None:
            raise ValueError('needs "repo" and "file" (or "files"), or a "path"')
        elif (self.file is None) == (self.files is None):
            raise ValueError('needs either "file" or "files" beside "repo"')
        self._check_files()
        if self.id in self.aliases or len(set(self.aliases)) < len(self.aliases):
            raise ValueError('"aliases" must differ from the id and from each other')
        return self

    def _check_path(self, path: str) -> None:
        if self.repo or self.file or self.files:
            raise ValueError('has a "path", so it cannot have "repo", "file" or "files" too')
        if not path or "\0" in path or ".." in PurePosixPath(path).parts:
            raise ValueError('"path" must be a plain path without ".."')
        if self.source == SHIPPED and PurePosixPath(path).is_absolute():
            raise ValueError('"path" must be relative to its catalog')

    def _check_files(self) -> None:
        names = self.filenames
        if len(set(names)) < len(names):
            raise ValueError('"files" names a file twice')
        if len({PurePosixPath(name).parent for name in names}) > 1:
            raise ValueError('"files" must be in one folder: shards are found beside the first')
        if isinstance(self.sha256, str) and len(names) > 1:
            raise ValueError('"sha256" must be a table from file to digest for a split model')
        if isinstance(self.sha256, dict) and (strangers := set(self.sha256) - set(names)):
            raise ValueError(f'"sha256" names {min(strangers)}, which is not one of its files')

    @property
    def filenames(self) -> tuple[str, ...]:
        """Every file, first shard first. Naming only the first shard means all of them."""
        if self.path is not None:
            return (self.path,)
        if self.files is not None:
            return self.files
        assert self.file is not None
        return shards(self.file)

    @property
    def is_local(self) -> bool:
        """Nothing to download: the file is on this machine, or came with llorch."""
        return self.path is not None

    @property
    def is_pinned(self) -> bool:
        """Exactly one set of bytes can be meant: every file's digest is known."""
        return all(self.digest(name) for name in self.filenames)

    def digest(self, filename: str) -> str | None:
        """The sha256 that `filename` must have; None if the catalog does not say."""
        if isinstance(self.sha256, dict):
            return self.sha256.get(filename)
        return self.sha256

    @property
    def whole_sha256(self) -> str:
        """The sha256 of a model that is one file, if nobody but llorch writes that file; "" else.

        A registered file may have been replaced since, so what the catalog says of it is old news.
        """
        is_ours = not self.is_local or self.source == SHIPPED
        return self.sha256 if is_ours and isinstance(self.sha256, str) else ""

    def same_place(self, other: ModelEntry) -> bool:
        """Whether both mean the same files (of whichever revision)."""
        return (self.repo, self.filenames) == (other.repo, other.filenames)

    def to_toml(self) -> dict[str, Any]:
        """The table `[models.<id>]`: what was set, in the order of the fields."""
        values = self.model_dump(mode="json", exclude={"id"}, exclude_unset=True)
        return {key: value for key, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON values: `--json` of the commands about models."""
        return self.model_dump(mode="json") | {"source": self.source}

    def updated(self, changes: Mapping[str, Any]) -> ModelEntry:
        """A checked copy with some fields replaced. Raises pydantic's ValidationError."""
        values = self.model_dump(exclude_unset=True) | {"folder": self.folder}
        return ModelEntry.model_validate(values | {"source": self.source} | dict(changes))


def shards(filename: str) -> tuple[str, ...]:
    """All files of the split that `filename` begins; just itself when it is whole."""
    match = _FIRST_SHARD.fullmatch(filename)
    count = int(match["count"]) if match else 1
    if match is None or not 1 < count <= _MAX_SHARDS:
        return (filename,)
    return tuple(f"{match['stem']}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1))


def is_commit(revision: str) -> bool:
    return _COMMIT.fullmatch(revision) is not None
