"""Where a pool keeps its things on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one pool. With LLORCH_HOME everything lives under it, configuration too."""

    data: Path
    config: Path

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Home:
        if root := env.get("LLORCH_HOME"):
            path = Path(root).expanduser().absolute()
            return cls(data=path, config=path)
        return cls(
            data=Path(platformdirs.user_data_dir("llorch", appauthor=False)),
            config=Path(platformdirs.user_config_dir("llorch", appauthor=False)),
        )

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def runtimes(self) -> Path:
        return self.data / "runtimes"

    @property
    def workers(self) -> Path:
        return self.data / "workers"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def agents(self) -> Path:
        """What workers keep of their agents' caches; each model has a folder of its own in it."""
        return self.data / "agents"

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def catalog_file(self) -> Path:
        """The pool's own catalog: written by register, download and unregister."""
        return self.config / "catalog.toml"

    @property
    def pools_file(self) -> Path:
        return self.config / "pools.toml"

    @property
    def worker_keys(self) -> Path:
        """Names and hashes of the keys that callers of workers have, if they need any."""
        return self.config / "worker-keys"

    @property
    def known_hosts(self) -> Path:
        return self.config / "known_hosts"


def private_dir(path: Path) -> Path:
    """Make a folder only its owner may enter (0700), and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
