"""Where a connection goes and with which keys, once ~/.ssh/config has had its say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pool_core.errors import UsageError

DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class Address:
    """What a person writes: an alias or host, perhaps with a user and a port."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """`host`, `user@host`, `host:port`, `[::1]:port`. Raises UsageError."""
        user, _, rest = text.rpartition("@")
        host, tail = rest, ""
        if rest.startswith("["):
            host, _, tail = rest[1:].partition("]")
        elif rest.count(":") == 1:
            host, tail = rest[: rest.index(":")], rest[rest.index(":") :]
        if not host or (tail and not _is_port(tail)):
            raise UsageError(f'"{text}" is not an SSH target', "write user@host or user@host:port")
        return cls(host, user or None, int(tail[1:]) if tail else None)


def _is_port(tail: str) -> bool:
    return tail[0] == ":" and tail[1:].isdecimal() and 0 < int(tail[1:]) < 65536


@dataclass(frozen=True, slots=True)
class Target:
    """One machine to log in to. `label` is how it was asked for, and how errors name it."""

    label: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    identity_agent: str | None = None
    known_hosts: tuple[Path, ...] = ()
    host_key_alias: str | None = None
    proxy_jump: str | None = None
    proxy_command: str | None = None

    @property
    def known_as(self) -> str:
        """Its name in known_hosts files."""
        if self.host_key_alias:
            return self.host_key_alias.lower()
        return host_and_port(self.hostname, self.port)

    @property
    def place(self) -> str:
        """For messages."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{host}:{self.port}"


def host_and_port(host: str, port: int) -> str:
    """As known_hosts writes it: `host`, or `[host]:port` away from port 22."""
    return host.lower() if port == DEFAULT_PORT else f"[{host.lower()}]:{port}"
