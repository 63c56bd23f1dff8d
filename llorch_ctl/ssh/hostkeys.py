"""Whether a host is who we know: strict, and decided before a byte of the login is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import paramiko

from llorch_ctl.errors import (
    HostKeyAuthority,
    HostKeyChanged,
    HostKeyNew,
    HostKeyRevoked,
    PoolError,
)
from llorch_ctl.inventory import Pool
from llorch_ctl.ssh.known_hosts import Entry, KnownHosts, Verdict, fingerprint
from llorch_ctl.ssh.target import Target

_RSA = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key that a host showed."""

    key_type: str
    blob: bytes

    @classmethod
    def of(cls, key: paramiko.PKey) -> HostKey:
        return cls(key.get_name(), key.asbytes())

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)


class HostKeyPolicy:
    """Knows the files to look in for one pool: those of ssh, and llorch's own."""

    def __init__(self, pool: Pool, own_file: Path) -> None:
        self._pool = pool.name
        self._selector = pool.selector
        self._own_file = own_file

    def algorithms(self, target: Target, offered: Iterable[str]) -> list[str]:
        """`offered` in the order to ask for: the types that we can check come first."""
        known = [
            name
            for key_type in self._files(target).types_of(target.known_as)
            for name in (_RSA if key_type == "ssh-rsa" else (key_type,))
        ]
        return sorted(offered, key=lambda name: name not in known)

    def judge(self, target: Target, key: HostKey) -> tuple[Verdict, Entry | None]:
        return self._files(target).judge(target.known_as, key.key_type, key.blob)

    def check(self, target: Target, key: HostKey) -> None:
        """Raises one of the HostKey errors unless the key is known."""
        verdict, entry = self.judge(target, key)
        if verdict is not Verdict.KNOWN:
            raise self.refusal(target, key, verdict, entry)

    def refusal(
        self, target: Target, key: HostKey, verdict: Verdict, entry: Entry | None
    ) -> PoolError:
        """The error for a verdict that is not KNOWN."""
        hop = "" if target.label == self._pool else f"jump host {target.label}: "
        trust = f"llorch pool trust {self._selector}"
        shown = {"fingerprint": key.fingerprint, "host": target.known_as}
        if verdict is Verdict.CHANGED and entry is not None:
            forget = f"ssh-keygen -R '{target.known_as}' -f {entry.file}"
            return HostKeyChanged(
                self._pool,
                f"{hop}HOST KEY CHANGED to {key.fingerprint} ({entry.where} has another)",
                f"somebody may be in between; if the change is intended: {forget} && {trust}",
                **shown,
            )
        if verdict is Verdict.REVOKED and entry is not None:
            return HostKeyRevoked(
                self._pool,
                f"{hop}its host key {key.fingerprint} is revoked ({entry.where})",
                "do not connect; ask whoever revoked it",
                **shown,
            )
        if verdict is Verdict.AUTHORITY and entry is not None:
            return HostKeyAuthority(
                self._pool,
                f"{hop}@cert-authority entries are not supported ({entry.where})",
                f"add a plain key line with: {trust}",
                **shown,
            )
        return HostKeyNew(
            self._pool,
            f"{hop}unknown host key {key.fingerprint} ({key.key_type})",
            f"compare it on the host, then: {trust}",
            **shown,
        )

    def _files(self, target: Target) -> KnownHosts:
        return KnownHosts((*target.known_hosts, self._own_file))
