"""Requests over a real sshd, and the ways one can end."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llorch_ctl.errors import Lost, NoAgent
from llorch_ctl.inventory import Pool
from llorch_ctl.remote import RemoteTransport
from llorch_ctl.transport import Answer
from pool_core.errors import Cancelled, ExitCode, RemoteError
from pool_core.events import Event, Hello, State, Warning
from pool_core.home import Home
from tests.llorch_ctl.driving import ask
from tests.llorch_ctl.servers import run_all
from tests.llorch_ctl.ssh.hosts import QUICK, add, reach
from tests.rigs.sshd import SshHost, SshLab


def test_a_request_and_its_answer(mac: SshHost, home: Home) -> None:
    with reach(mac, home) as transport:
        events, answer = ask(transport, ["count", "3"])

    assert len(events) == 3
    assert answer == Answer({"counted": 3})


def test_arguments_arrive_as_they_are_whatever_the_shell_would_make_of_them(
    mac: SshHost, home: Home
) -> None:
    words = ["it's", '"', "$(id)", "`id`", "a\\", "two\nlines", "!1", "*", "🙂 café", "", "--"]
    with reach(mac, home) as transport:
        _, answer = ask(transport, ["echo", *words])

    assert answer.data["words"] == words


def test_twenty_megabytes_on_both_streams_at_once(mac: SshHost, home: Home) -> None:
    with reach(mac, home) as transport:
        events, answer = ask(transport, ["flood", "20"])

    assert len(events) == 20 * 1024
    assert answer.ok


def test_strange_lines_and_noise_are_survived(lab: SshLab, home: Home) -> None:
    with reach(add(lab, "mac", "noisy"), home) as transport:
        events, answer = ask(transport, ["strange"])

    assert answer.data == {"fine": True}
    assert [event.msg for event in events if isinstance(event, Warning)] == [
        "ignored 2 lines that are not events",
        "ignored 1 lines over 256 KiB",
    ]


def test_all_requests_share_one_connection_that_sends_small_packets_at_once(
    mac: SshHost, home: Home
) -> None:
    with reach(mac, home) as transport:
        ask(transport, ["echo"])
        ask(transport, ["echo"])
        sock = transport.connect().last_hop.sock
        assert isinstance(sock, socket.socket)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    assert mac.log.count("Accepted publickey") == 1


def test_ten_requests_at_once_wait_for_a_strict_server(lab: SshLab, home: Home) -> None:
    host = add(lab, "strict", MaxSessions="2")
    answers: list[Answer] = []
    with reach(host, home) as transport:
        run_all([lambda: answers.append(ask(transport, ["echo"])[1]) for _ in range(10)])

    assert len(answers) == 10 and all(answer.ok for answer in answers)


def test_a_burst_of_connections_outlasts_max_startups(lab: SshLab, home: Home) -> None:
    host = add(lab, "shy", MaxStartups="1:100:1")
    transports = [RemoteTransport(host.pool, home) for _ in range(6)]

    try:
        run_all([transport.connect for transport in transports])
    finally:
        for transport in transports:
            transport.close()

    assert host.log.count("Accepted publickey") == 6


def test_exit_codes_of_the_other_side(mac: SshHost, home: Home) -> None:
    with reach(mac, home) as transport:
        with pytest.raises(RemoteError) as caught:
            ask(transport, ["fail", "E_UNKNOWN", "2"])
        assert caught.value.exit_code is ExitCode.USAGE

        _, answer = ask(transport, ["unwell"])
        assert answer.exit_code is ExitCode.FAILED

        with pytest.raises(Lost, match="mac: llorch-pool was killed"):
            ask(transport, ["die", "9"])


def test_no_llorch_pool(mac: SshHost, home: Home) -> None:
    mac.agent.unlink()

    with reach(mac, home) as transport, pytest.raises(NoAgent, match="mac: .*not installed"):
        ask(transport, ["echo"])


def test_the_constant_command_says_when_nothing_is_installed(lab: SshLab, home: Home) -> None:
    """With HOME elsewhere and a bare PATH, none of the usual places has a llorch-pool."""
    host = lab.add_host("bare", {"SetEnv": f"HOME={lab.folder} PATH=/usr/bin:/bin"})
    pool = Pool(
        "bare",
        host.target,
        identity_file=str(lab.key),
        known_hosts=str(lab.known_hosts),
        ssh_config=str(lab.ssh_config),
    )
    with RemoteTransport(pool, home, QUICK) as transport, pytest.raises(NoAgent) as caught:
        ask(transport, ["echo"])

    assert 'set command = "/path/to/llorch-pool" in [pools.bare]' in str(caught.value)


def test_a_llorch_pool_that_may_not_be_run(mac: SshHost, home: Home) -> None:
    mac.agent.chmod(0o644)

    with reach(mac, home) as transport, pytest.raises(NoAgent, match="cannot be executed"):
        ask(transport, ["echo"])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo Only backups here; exit 0", "status 0 .*Only backups here.*ForceCommand"),
        ("echo This account is locked >&2; exit 1", "status 1 .*This account is locked"),
    ],
)
def test_a_host_that_runs_something_else(lab: SshLab, home: Home, command: str, words: str) -> None:
    host = lab.add_host("other", {"ForceCommand": command})

    with reach(host, home) as transport, pytest.raises(NoAgent, match=words):
        ask(transport, ["echo"])


def started(host: SshHost, home: Home) -> tuple[RemoteTransport, Iterator[Event]]:
    """A transport with a request that runs."""
    transport = reach(host, home)
    work = transport.request(["stay"])
    assert isinstance(next(work), Hello)
    assert isinstance(next(work), State)
    return transport, work


def test_a_session_that_is_killed_is_lost_and_its_agent_saw_the_end(
    mac: SshHost, home: Home
) -> None:
    transport, work = started(mac, home)
    with transport:
        mac.kill_sessions()
        with pytest.raises(Lost, match="mac: connection lost after event 1"):
            next(work)

    wait_for_file(mac.home / "note", "end of input")


def test_a_running_request_outlives_the_listener(mac: SshHost, home: Home) -> None:
    cancel = threading.Event()
    with reach(mac, home) as transport:
        work = transport.request(["stay"], cancel=cancel)
        assert isinstance(next(work), Hello)
        assert isinstance(next(work), State)
        mac.stop_listener()
        cancel.set()
        with pytest.raises(Cancelled):
            next(work)

    assert (mac.home / "note").read_text() == "cancelled"


def test_a_server_that_hangs_is_noticed(mac: SshHost, home: Home) -> None:
    """paramiko's own keepalive would wait for ever; ours has 0.3 s x 3 here."""
    transport, work = started(mac, home)
    with transport:
        mac.kill_sessions(signal.SIGSTOP)
        assert isinstance(transport.wait_lost(15), Lost)
        with pytest.raises(Lost):
            next(work)
    mac.kill_sessions(signal.SIGCONT)


def test_an_idle_connection_is_no_dead_one(mac: SshHost, home: Home) -> None:
    with reach(mac, home) as transport:
        transport.connect()
        assert transport.wait_lost(2.0) is None
        assert ask(transport, ["echo"])[1].ok


def test_closing_from_another_thread_ends_everything(mac: SshHost, home: Home) -> None:
    transport, work = started(mac, home)
    transport.close()

    with pytest.raises(Lost):
        next(work)
    with pytest.raises(Lost, match="connection closed"):
        transport.connect()


def wait_for_file(path: Path, text: str) -> None:
    """For what another process writes in its own time."""
    tick = threading.Event()
    for _ in range(200):
        if path.exists() and path.read_text() == text:
            return
        tick.wait(0.05)
    raise AssertionError(f"{path} never said {text!r}")
