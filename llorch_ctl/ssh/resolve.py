"""~/.ssh/config, read by the one program that reads it right: `ssh -G`."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from llorch_ctl.inventory import Pool
from llorch_ctl.ssh.target import DEFAULT_PORT, Address, Target
from pool_core.errors import ConfigError

_MAX_HOPS = 8
_CONFIGS = (Path("~/.ssh/config"), Path("/etc/ssh/ssh_config"))
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


def resolve_route(pool: Pool) -> list[Target]:
    """The machines to go through, in order; the pool itself is the last.

    Raises ConfigError for an SSH configuration that `ssh` refuses.
    """
    target = _resolve(pool.ssh, pool.ssh_config)
    if pool.identity_file:
        own_key = Path(pool.identity_file).expanduser()
        target = replace(target, identity_files=(own_key,), identities_only=True)
    if pool.proxy_jump:
        target = replace(target, proxy_jump=pool.proxy_jump, proxy_command=None)
    route = _with_jumps(replace(target, label=pool.name), pool.ssh_config, _MAX_HOPS)
    if pool.known_hosts:
        files = (Path(pool.known_hosts).expanduser(),)
        route = [replace(hop, known_hosts=files) for hop in route]
    return route


def _with_jumps(target: Target, config: str | None, hops_left: int) -> list[Target]:
    """As `ssh -J a,b`: a is reached as its own configuration says, b through a."""
    if target.proxy_jump is None:
        return [target]
    specs = target.proxy_jump.split(",")
    if len(specs) > hops_left:
        raise ConfigError(
            f"{target.label}: the way there has over {_MAX_HOPS} jumps",
            f"does a ProxyJump lead back to itself? see: ssh -G {target.hostname}",
        )
    first, *others = (_resolve(spec.strip(), config) for spec in specs)
    route = _with_jumps(first, config, hops_left - len(specs))
    route += (replace(hop, proxy_jump=None, proxy_command=None) for hop in others)
    return [*route, replace(target, proxy_jump=None, proxy_command=None)]


@lru_cache(maxsize=256)
def _resolve(spec: str, config: str | None) -> Target:
    address = Address.parse(spec)
    ssh = shutil.which("ssh")
    if ssh is None:
        return _without_ssh(spec, address, config)
    argv = [ssh, "-G"]
    if config:
        argv += ["-F", str(Path(config).expanduser())]
    if address.user:
        argv += ["-l", address.user]
    if address.port:
        argv += ["-p", str(address.port)]
    done = subprocess.run(
        [*argv, "--", address.host],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise ConfigError(f"ssh refuses its configuration for {address.host}: {said[0]}")
    return _parse(spec, done.stdout)


def _parse(label: str, text: str) -> Target:
    """From the output of `ssh -G`: a keyword and its value on each line, some of them repeated."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value)

    def one(key: str) -> str | None:
        value = values.get(key, [""])[0]
        return None if value in ("", "none") else value

    hostname, user = one("hostname") or label, one("user") or getpass.getuser()
    port = int(one("port") or DEFAULT_PORT)
    tokens = {"h": hostname, "n": label, "p": str(port), "r": user, "u": getpass.getuser()}
    tokens |= {"d": str(Path.home()), "%": "%"}
    agent = values.get("identityagent", [""])[0]
    files = f"{one('userknownhostsfile') or ''} {one('globalknownhostsfile') or ''}"
    return Target(
        label=label,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=tuple(_path(name, tokens) for name in values.get("identityfile", [])),
        identities_only=one("identitiesonly") == "yes",
        identity_agent=_expand(agent, tokens) if agent else None,
        known_hosts=tuple(_path(name, tokens) for name in shlex.split(files)),
        host_key_alias=one("hostkeyalias"),
        proxy_jump=one("proxyjump"),
        proxy_command=_expand(one("proxycommand") or "", tokens) or None,
    )


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    """ssh's %-tokens; one that we do not know stays as it is."""
    parts = iter(text)
    found = []
    for char in parts:
        if char == "%":
            token = next(parts, "")
            found.append(tokens.get(token, f"%{token}"))
        else:
            found.append(char)
    return "".join(found)


def _path(text: str, tokens: Mapping[str, str]) -> Path:
    return Path(os.path.expandvars(_expand(text, tokens))).expanduser()


def _without_ssh(spec: str, address: Address, config: str | None) -> Target:
    """A machine without an `ssh` command: plain targets work, a configuration is not guessed at."""
    for file in (Path(config),) if config else _CONFIGS:
        if file.expanduser().exists():
            raise ConfigError(
                f"{file} is there, and no ssh command to read it", "install the OpenSSH client"
            )
    folder = Path("~/.ssh").expanduser()
    return Target(
        label=spec,
        hostname=address.host,
        port=address.port or DEFAULT_PORT,
        user=address.user or getpass.getuser(),
        identity_files=tuple(folder / name for name in _DEFAULT_KEYS),
        known_hosts=(folder / "known_hosts", Path("/etc/ssh/ssh_known_hosts")),
    )
