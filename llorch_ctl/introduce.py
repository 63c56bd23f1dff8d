"""Meeting a machine for the first time: its host keys are shown to a person, who decides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from llorch_ctl.connect import open_transport
from llorch_ctl.context import Session
from llorch_ctl.errors import HostKeyNew, NoAgent, VersionSkew
from llorch_ctl.inventory import Pool
from llorch_ctl.ssh.hostkeys import HostKey
from llorch_ctl.ssh.target import Target
from llorch_ctl.ssh.trust import trust_route
from pool_core.console import Console
from pool_core.events import Hello

_ON_THE_HOST = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


def introduce(
    session: Session, pool: Pool, fingerprint: str | None, yes: bool
) -> list[dict[str, Any]]:
    """Make the pool, and the jump hosts before it, known. Returns what is trusted, as data.

    `fingerprint` and `yes` decide in the place of a person. Raises HostKeyNew when nobody
    agrees, and the other errors of a connection.
    """
    decision = _Decision(session.console, pool, fingerprint, yes)
    hosts = []
    for trusted in trust_route(pool, session.home, decision):
        where = trusted.target.known_as
        if trusted.is_new:
            session.console.note(f"{where} is now in {session.home.known_hosts}", style="green")
        else:
            session.console.note(f"{where} was known already ({trusted.keys[0].fingerprint})")
        keys = [{"type": key.key_type, "fingerprint": key.fingerprint} for key in trusted.keys]
        hosts.append({"host": where, "new": trusted.is_new, "keys": keys})
    return hosts


class _Decision:
    """Says which keys of a host are trusted: as told on the command line, else by asking."""

    def __init__(self, console: Console, pool: Pool, fingerprint: str | None, yes: bool) -> None:
        self._console = console
        self._pool = pool
        self._fingerprint = fingerprint
        self._yes = yes

    def __call__(self, target: Target, keys: Sequence[HostKey]) -> Sequence[HostKey]:
        self._show(target, keys)
        if self._fingerprint is not None:
            return self._matching(target, keys)
        if self._yes:
            return keys
        if self._console.json_lines or not sys.stdin.isatty():
            raise self._refusal(target, keys, "is unknown, and there is nobody to ask")
        if not self._agrees(target):
            raise self._refusal(target, keys, "is not trusted")
        return keys

    def _show(self, target: Target, keys: Sequence[HostKey]) -> None:
        name = f"{self._pool.name} ({target.known_as})"
        if target.label != self._pool.name:
            name = f"{target.known_as}, on the way to {self._pool.name},"
        self._console.note(f"{name} is a host that nobody here knows. Its keys:", "bold")
        for key in keys:
            self._console.note(f"  {key.fingerprint}  {key.key_type}", "")
        self._console.note(f"Compare on the host itself:  {_ON_THE_HOST}")

    def _matching(self, target: Target, keys: Sequence[HostKey]) -> Sequence[HostKey]:
        wanted = (self._fingerprint or "").removeprefix("SHA256:").rstrip("=")
        matching = [key for key in keys if key.fingerprint.removeprefix("SHA256:") == wanted]
        if not matching:
            raise self._refusal(target, keys, f"is not SHA256:{wanted}")
        return matching

    def _agrees(self, target: Target) -> bool:
        sys.stderr.write(f"Type yes to trust {target.known_as}: ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() == "yes"

    def _refusal(self, target: Target, keys: Sequence[HostKey], why: str) -> HostKeyNew:
        shown = keys[0].fingerprint
        return HostKeyNew(
            self._pool.name,
            f"the host key {shown} of {target.known_as} {why}",
            f"compare it on the host, then say --fingerprint {shown}",
            fingerprint=shown,
            host=target.known_as,
        )


def say_hello(session: Session, pool: Pool) -> dict[str, Any]:
    """Log in and ask llorch-pool who it is. A pool without it is worth a note, not an error."""
    try:
        with open_transport(pool, session.home) as transport:
            for event in transport.request(["--version"]):
                if isinstance(event, Hello):
                    session.console.note(
                        f"{pool.name}: llorch {event.version}, {event.os} {event.arch}"
                    )
                    return {"version": event.version, "os": event.os, "arch": event.arch}
    except (NoAgent, VersionSkew) as error:
        session.console.note(f"note: {error}", style="yellow")
    return {}
