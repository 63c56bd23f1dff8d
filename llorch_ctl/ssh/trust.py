"""Getting to know a host: fetch its keys, show them, and write down what a person agreed to."""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import paramiko

from llorch_ctl.inventory import Pool
from llorch_ctl.ssh.connection import Connection
from llorch_ctl.ssh.handshake import Handshake, NoCommonAlgorithm, Timeouts
from llorch_ctl.ssh.hostkeys import HostKey, HostKeyPolicy
from llorch_ctl.ssh.known_hosts import Verdict
from llorch_ctl.ssh.resolve import resolve_route
from llorch_ctl.ssh.target import Target
from pool_core.files import clear_os_errors
from pool_core.home import Home

# One question for each type, best first; a host answers those it has.
_QUESTIONS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)

# Shown all keys of a host; returns those that are to be trusted, or raises.
Decide = Callable[[Target, Sequence[HostKey]], Sequence[HostKey]]


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a host's trust came to. `is_new` False: all was known before."""

    target: Target
    keys: tuple[HostKey, ...]
    is_new: bool


def trust_route(pool: Pool, home: Home, decide: Decide) -> list[Trusted]:
    """`trust_host` for a pool, and for each jump host on the way there before it is used."""
    route = resolve_route(pool)
    timeouts = Timeouts(connect=pool.connect_timeout)
    policy = HostKeyPolicy(pool, home.known_hosts)
    handshake = Handshake(pool.name, policy, timeouts)
    found = []
    for number, target in enumerate(route):
        way = Connection(pool.name, route[:number], policy, timeouts)
        with way if number else nullcontext():
            via = way.last_hop if number else None
            found.append(trust_host(target, handshake, policy, home.known_hosts, decide, via))
    return found


def trust_host(
    target: Target,
    handshake: Handshake,
    policy: HostKeyPolicy,
    own_file: Path,
    decide: Decide,
    via: paramiko.Transport | None = None,
) -> Trusted:
    """Make `target` a known host if `decide` says so.

    Raises HostKeyChanged or HostKeyRevoked without asking: neither is ever a question.
    """
    keys = fetch_keys(target, handshake, via)
    judged = [(key, *policy.judge(target, key)) for key in keys]
    for stop in (Verdict.REVOKED, Verdict.KNOWN, Verdict.CHANGED):
        for key, verdict, entry in judged:
            if verdict is not stop:
                continue
            if verdict is Verdict.KNOWN:  # its other keys need not be known: we ask for this one
                return Trusted(target, (key,), is_new=False)
            raise policy.refusal(target, key, verdict, entry)
    agreed = decide(target, keys)
    append_keys(own_file, target.known_as, agreed)
    return Trusted(target, tuple(agreed), is_new=True)


def fetch_keys(
    target: Target, handshake: Handshake, via: paramiko.Transport | None = None
) -> list[HostKey]:
    """Every key that the host shows, best type first; at least one. Logs in nowhere."""
    keys: list[HostKey] = []
    refusals: list[NoCommonAlgorithm] = []
    for algorithms in _QUESTIONS:
        try:
            transport = handshake.exchange(target, via, algorithms)
        except NoCommonAlgorithm as error:
            refusals.append(error)
            continue
        try:
            keys.append(HostKey.of(transport.get_remote_server_key()))
        finally:
            transport.close()
    if not keys:
        raise refusals[0]
    return keys


def append_keys(file: Path, name: str, keys: Sequence[HostKey]) -> None:
    """Add lines to our own known_hosts; other processes may do the same at the same time."""
    lines = "".join(
        f"{name} {key.key_type} {base64.b64encode(key.blob).decode()}\n" for key in keys
    )
    with clear_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":  # a person's last line
                lines = "\n" + lines
            os.write(handle, lines.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
