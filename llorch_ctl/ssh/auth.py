"""Logging in: public keys only, one at a time, each once. No passwords, no prompts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import paramiko

from llorch_ctl.errors import AuthRefused, KeyLocked, Lost, PoolError
from llorch_ctl.ssh.agent import Agent
from llorch_ctl.ssh.live import LiveTransport
from llorch_ctl.ssh.target import DEFAULT_PORT, Target

_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key to try. `load` raises PasswordRequiredException when its file is encrypted."""

    label: str
    load: Callable[[], paramiko.PKey]
    file: Path | None = None


def log_in(transport: LiveTransport, pool: str, target: Target) -> None:
    """Authenticate `transport` as target.user. Raises AuthRefused, KeyLocked or Lost."""
    attempt = _Attempt(transport, pool, target)
    with Agent(target.identity_agent) as agent:
        for candidate in candidates(target, agent.get_keys()):
            if attempt.succeeds_with(candidate):
                return
    raise attempt.refusal()


def candidates(target: Target, agent_keys: Sequence[paramiko.PKey]) -> Iterator[Candidate]:
    """The configured keys first, each from the agent if it holds it; then the agent's others.

    Agents with many keys would otherwise use up the server's MaxAuthTries.
    """
    held = {key.asbytes(): key for key in agent_keys}
    for file in target.identity_files:
        public = public_half(file)
        if public is not None and public in held:
            yield _from_agent(held.pop(public), file.name)
        elif file.is_file():
            yield Candidate(file.name, partial(paramiko.PKey.from_path, file), file)
    if not target.identities_only:
        for key in held.values():
            yield _from_agent(key, getattr(key, "comment", "") or key.get_name())


def _from_agent(key: paramiko.PKey, name: str) -> Candidate:
    return Candidate(f"{name} (agent)", lambda: key)


def public_half(file: Path) -> bytes | None:
    """The public part of a key file, from beside it or from its unencrypted head."""
    try:
        words = file.with_name(file.name + ".pub").read_text(encoding="utf-8").split()
        return base64.b64decode(words[1], validate=True)
    except (OSError, ValueError, IndexError):
        pass
    try:
        body = "".join(file.read_text(encoding="ascii").strip().splitlines()[1:-1])
        head = base64.b64decode(body, validate=True)
    except (OSError, ValueError, binascii.Error):
        return None
    return _public_part(head)


def _public_part(head: bytes) -> bytes | None:
    """openssh-key-v1: cipher, KDF name, KDF options, number of keys, first public key."""
    if not head.startswith(_MAGIC):
        return None
    message = paramiko.Message(head[len(_MAGIC) :])
    for _ in range(3):
        message.get_string()
    return message.get_string() if message.get_int() >= 1 else None


class _Attempt:
    """One login: what was tried, and what that means in the end."""

    def __init__(self, transport: LiveTransport, pool: str, target: Target) -> None:
        self._transport = transport
        self._pool = pool
        self._target = target
        self._tried: list[str] = []
        self._locked: list[Path] = []

    def succeeds_with(self, candidate: Candidate) -> bool:
        """Raises AuthRefused when no other key can change the answer."""
        try:
            key = candidate.load()
        except paramiko.PasswordRequiredException:
            self._locked.append(candidate.file or Path(candidate.label))
            return False
        except (paramiko.SSHException, OSError, ValueError, TypeError) as error:
            # cryptography says TypeError for "password was not given"
            if "assword" in str(error) and candidate.file:
                self._locked.append(candidate.file)
            else:
                self._tried.append(f"{candidate.label} (unreadable)")
            return False
        self._tried.append(candidate.label)
        return self._offer(key)

    def _offer(self, key: paramiko.PKey) -> bool:
        user = self._target.user
        try:
            missing = self._transport.auth_publickey(user, key)
        except paramiko.BadAuthenticationType as error:
            offered = ", ".join(error.allowed_types) or "nothing"
            raise self._refused(
                f"server takes no keys for user {user}, only {offered}",
                "allow PubkeyAuthentication in its sshd_config",
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if self._transport.is_active():
                return False
            raise self._hung_up(error) from error
        if missing:
            raise self._refused(
                f"server wants {', '.join(missing)} besides the key {self._tried[-1]}",
                "llorch logs in with a key alone",
            )
        return True

    def _hung_up(self, error: BaseException) -> PoolError:
        farewell = self._transport.farewell
        if not farewell:
            return Lost(
                self._pool, f"{self._hop}connection lost while logging in ({error})", "run it again"
            )
        return self._refused(
            f"server hung up after {len(self._tried)} keys ({', '.join(self._tried)}): {farewell}",
            "name the right one with IdentityFile and IdentitiesOnly, or identity_file",
        )

    def refusal(self) -> PoolError:
        """After the last candidate."""
        user = self._target.user
        if self._locked:
            file = _short(self._locked[0])
            return KeyLocked(self._pool, f"{self._hop}{file} needs a passphrase", f"ssh-add {file}")
        port = "" if self._target.port == DEFAULT_PORT else f"-p {self._target.port} "
        copy_key = f"ssh-copy-id {port}{user}@{self._target.hostname}"
        if not self._tried:
            return self._refused(
                f"no key to offer for user {user}", f"ssh-keygen -t ed25519 && {copy_key}"
            )
        return self._refused(
            f"server refused keys {', '.join(self._tried)} for user {user}",
            f"{copy_key}, or name the right user and identity_file",
        )

    def _refused(self, message: str, remedy: str) -> AuthRefused:
        return AuthRefused(self._pool, self._hop + message, remedy, tried=self._tried)

    @property
    def _hop(self) -> str:
        return "" if self._target.label == self._pool else f"jump host {self._target.label}: "


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
