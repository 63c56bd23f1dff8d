"""Real OpenSSH servers on loopback ports, with throw-away keys, and faults on demand.

    with SshLab(tmp_path) as lab:
        mac = lab.add_host("mac")
        ...                               # mac.pool is what an inventory would say of it
        mac.kill_sessions()

Needs no root; only processes started here are signalled. `scripts/test` installs OpenSSH.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from llorch_ctl.inventory import Pool
from tests.rigs.server_log import ServerLog
from tests.rigs.ssh_keys import make_key, public_key

ROOT = Path(__file__).resolve().parents[2]
_WAIT_S = 20.0
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
)


class MissingSshd(RuntimeError):
    """There is no sshd to test with, which is a failure and not a reason to skip."""


def find_sshd() -> str:
    """sshd re-executes itself, so the path is absolute."""
    for place in (shutil.which("sshd"), "/usr/sbin/sshd", "/opt/homebrew/sbin/sshd"):
        if place and os.access(place, os.X_OK):
            return place
    raise MissingSshd("these tests need a real sshd: run scripts/test, which installs OpenSSH")


class SshHost:
    """One sshd. Its account is the one that runs the tests; its llorch has a home of its own."""

    def __init__(
        self, name: str, folder: Path, lab: SshLab, options: Mapping[str, str], key_types: list[str]
    ) -> None:
        self.name = name
        self.folder = folder
        self.home = folder / "home"
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.port = 0
        self._lab = lab
        self._options = dict(options)
        self._key_types = key_types
        self._log = ServerLog()
        self._process: subprocess.Popen[str] | None = None
        self.agent = folder / "llorch-pool"
        self.install_agent(f'exec "{sys.executable}" -m pool_ctl "$@"')
        self.make_host_keys()

    # -- what it is ------------------------------------------------------

    @property
    def target(self) -> str:
        return f"{self.user}@127.0.0.1:{self.port}"

    @property
    def pool(self) -> Pool:
        """This host as an inventory would describe it."""
        return Pool(
            self.name,
            self.target,
            identity_file=str(self._lab.key),
            known_hosts=str(self._lab.known_hosts),
            ssh_config=str(self._lab.ssh_config),
            command=str(self.agent),
        )

    def known_hosts_lines(self) -> list[str]:
        return [f"[127.0.0.1]:{self.port} {public_key(key)}" for key in self.host_keys]

    @property
    def host_keys(self) -> list[Path]:
        return [self.folder / f"ssh_host_{kind}_key" for kind in self._key_types]

    def install_agent(self, script: str) -> None:
        """Replace its llorch-pool by a shell script that sees LLORCH_HOME and PYTHONPATH."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.agent.write_text(
            f"#!/bin/sh\nexport LLORCH_HOME='{self.home}' PYTHONPATH='{ROOT}'\n{script}\n"
        )
        self.agent.chmod(0o755)

    # -- its life --------------------------------------------------------

    def start(self) -> None:
        """Listen on a port that was free a moment ago; on another one if it no longer is."""
        for _ in range(10):
            port = self.port or _free_port()
            if self._try_start(port):
                self.port = port
                return
        raise RuntimeError(f"{self.name}: sshd does not start:\n{self.log}")

    def _try_start(self, port: int) -> bool:
        config = self._write_config(port)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        start = len(self._log)
        self._process = subprocess.Popen(
            [find_sshd(), "-D", "-e", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._log.follow(self._process.stderr)
        line = self.wait_log("Server listening", "fatal", "Cannot bind", since=start)
        if "Server listening" in line:
            return True
        self.stop()
        return False

    def _write_config(self, port: int) -> Path:
        sftp = next((path for path in _SFTP_SERVERS if os.path.exists(path)), "internal-sftp")
        options = {
            "Port": str(port),
            "ListenAddress": "127.0.0.1",
            "PidFile": "none",
            "AuthorizedKeysFile": str(self._lab.authorized_keys),
            "StrictModes": "no",  # temporary folders are world-writable further up
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "LogLevel": "VERBOSE",
            "UseDNS": "no",
            "PrintMotd": "no",
            "Subsystem": f"sftp {sftp}",
        }
        lines = [f"HostKey {key}" for key in self.host_keys]
        lines += [f"{key} {value}" for key, value in (options | self._options).items()]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        # From 9.8 on, sshd punishes an address whose clients leave before they log in, as ours do.
        punishing = ["-o", "PerSourcePenalties=no"]
        tested = subprocess.run(
            [find_sshd(), "-t", *punishing, "-f", str(config)], capture_output=True
        )
        if tested.returncode == 0:
            config.write_text("\n".join([*lines, "PerSourcePenalties no"]) + "\n")
        return config

    def stop(self) -> None:
        """End the listener and every session."""
        self.kill_sessions()
        self.stop_listener()

    def stop_listener(self) -> None:
        """Refuse new connections; open ones live on."""
        process = self._process
        if process is None:
            return
        process.terminate()
        process.wait(_WAIT_S)
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    # -- faults ----------------------------------------------------------

    def sessions(self) -> list[psutil.Process]:
        """The sshd processes of open connections."""
        if self._process is None:
            return []
        try:
            children = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if _is_sshd(child)]

    def kill_sessions(self, number: int = signal.SIGKILL) -> None:
        """Signal every session: SIGKILL cuts the line, SIGSTOP makes it hang."""
        sessions = self.sessions()
        for process in sessions:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                pass
        if number == signal.SIGKILL:
            psutil.wait_procs(sessions, timeout=_WAIT_S)

    def rotate_host_keys(self) -> None:
        """Come back on the same port as somebody else."""
        self.stop()
        self.make_host_keys()
        self.start()

    def make_host_keys(self) -> None:
        for key, kind in zip(self.host_keys, self._key_types, strict=True):
            make_key(key, kind)

    # -- its log ---------------------------------------------------------

    @property
    def log(self) -> str:
        return str(self._log)

    def wait_logins(self, count: int) -> None:
        """Until so many have logged in since it was made."""
        self._log.wait_count("Accepted publickey", count)

    def wait_log(self, *texts: str, since: int = 0) -> str:
        """The first line, now or later, that holds one of `texts`."""
        return self._log.wait(*texts, since=since)


class SshLab:
    """A context manager: client keys, known_hosts, an ssh_config, and hosts that stop with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, SshHost] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = make_key(self.folder / "id_ed25519")
        self.authorized_keys = self.folder / "authorized_keys"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "ssh_config"
        self.ssh_config.write_text("")
        self.known_hosts.write_text("")
        self.authorize(self.key)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in self.hosts.values():
            host.stop()

    def authorize(self, *keys: Path) -> None:
        """Let these keys, and no others, in everywhere."""
        self.authorized_keys.write_text("".join(f"{public_key(key)}\n" for key in keys))

    def add_host(
        self,
        name: str,
        options: Mapping[str, str] | None = None,
        *,
        known: bool = True,
        key_types: tuple[str, ...] = ("ed25519",),
    ) -> SshHost:
        """Start a host; `known` writes its keys to the known_hosts, as if trusted before."""
        folder = self.folder / name
        folder.mkdir()
        host = SshHost(name, folder, self, options or {}, list(key_types))
        self.hosts[name] = host
        host.start()
        if known:
            with self.known_hosts.open("a") as file:
                file.writelines(f"{line}\n" for line in host.known_hosts_lines())
        return host


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _is_sshd(process: psutil.Process) -> bool:
    try:
        return "sshd" in process.name()
    except psutil.NoSuchProcess:
        return False
