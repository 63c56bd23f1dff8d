"""Connections to a real sshd: what works, and what is said when it does not."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llorch_ctl.errors import (
    ConnectionRefused,
    ConnectTimeout,
    ForwardRefused,
    Lost,
    NameNotResolved,
    NoAgent,
    ServerBusy,
    Unreachable,
)
from llorch_ctl.inventory import Pool
from llorch_ctl.remote import RemoteTransport
from llorch_ctl.ssh.handshake import Timeouts
from llorch_ctl.transport import Answer
from pool_core.errors import Cancelled, ExitCode, LlorchError, RemoteError
from pool_core.events import Event, Hello, State, Warning
from pool_core.home import Home
from tests.llorch_ctl.conftest import agent_script
from tests.llorch_ctl.driving import ask
from tests.rigs.sshd import SshHost, SshLab

QUICK = Timeouts(connect=2, handshake=2, login=5, channel=3, pulse=0.3, pulses=3)


@pytest.fixture
def mac(lab: SshLab) -> SshHost:
    """A host whose llorch-pool is the scripted one."""
    return add(lab, "mac")


def add(lab: SshLab, name: str, mode: str = "plain", **options: str) -> SshHost:
    host = lab.add_host(name, options)
    host.install_agent(agent_script(mode))
    return host


def reach(host: SshHost, home: Home) -> RemoteTransport:
    return RemoteTransport(host.pool, home, QUICK)


# -- it works ----------------------------------------------------------------


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


# -- exit codes --------------------------------------------------------------


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


# -- hosts that cannot be reached ----------------------------------------------


def test_a_listener_that_is_gone(mac: SshHost, home: Home) -> None:
    mac.stop_listener()

    with reach(mac, home) as transport:
        with pytest.raises(ConnectionRefused, match=rf"mac: 127\.0\.0\.1:{mac.port} refused"):
            ask(transport, ["echo"])


def test_a_name_that_does_not_resolve(lab: SshLab, home: Home) -> None:
    pool = Pool("mac", "no-such-host.invalid", ssh_config=str(lab.ssh_config))

    with RemoteTransport(pool, home, QUICK) as transport:
        with pytest.raises(NameNotResolved, match='cannot resolve "no-such-host.invalid"'):
            transport.connect()


def test_a_port_where_nobody_speaks(lab: SshLab, home: Home) -> None:
    timeouts = Timeouts(connect=1, handshake=0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        pool = Pool("mute", target, ssh_config=str(lab.ssh_config))
        with RemoteTransport(pool, home, timeouts) as transport:
            with pytest.raises(ConnectTimeout, match=r"accepts .* says nothing in 0\.5 s"):
                transport.connect()


def test_a_server_that_hangs_up_on_everybody(lab: SshLab, home: Home) -> None:
    with hanging_up() as (port, num_calls):
        pool = Pool("busy", f"127.0.0.1:{port}", ssh_config=str(lab.ssh_config))
        with RemoteTransport(pool, home, QUICK) as transport:
            with pytest.raises(ServerBusy, match="dropped the connection 4 times"):
                transport.connect()
        assert len(num_calls) == 4


def test_a_server_that_is_no_sshd(lab: SshLab, home: Home) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        pool = Pool("web", f"127.0.0.1:{port}", ssh_config=str(lab.ssh_config))
        with RemoteTransport(pool, home, QUICK) as transport, pytest.raises(Unreachable):
            transport.connect()


# -- connections that break ----------------------------------------------------


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


# -- jump hosts ------------------------------------------------------------------


def jump_config(lab: SshLab, *hosts: SshHost) -> None:
    lab.ssh_config.write_text(
        "".join(
            f"Host {host.name}\n  HostName 127.0.0.1\n  Port {host.port}\n  User {host.user}\n"
            f"  IdentityFile {lab.key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {lab.known_hosts}\n"
            for host in hosts
        )
    )


def through(lab: SshLab, jumps: str, last: SshHost) -> Pool:
    return Pool(
        "far", last.name, proxy_jump=jumps, ssh_config=str(lab.ssh_config), command=str(last.agent)
    )


def test_two_jumps(lab: SshLab, home: Home) -> None:
    hosts = [add(lab, name) for name in ("gate", "middle", "inner")]
    jump_config(lab, *hosts)

    with RemoteTransport(through(lab, "gate,middle", hosts[2]), home, QUICK) as transport:
        _, answer = ask(transport, ["echo", "through"])

    assert answer.data["words"] == ["through"]
    assert all("Accepted publickey" in host.log for host in hosts)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("host key", "far: jump host middle: HOST KEY CHANGED"),
        ("user", "far: jump host middle: server refused keys id_ed25519 for user nobody-here"),
        ("listener", "far: its jump host cannot reach 127.0.0.1:"),
    ],
)
def test_trouble_on_the_way_names_the_hop(lab: SshLab, home: Home, spoil: str, words: str) -> None:
    gate, middle, inner = (add(lab, name) for name in ("gate", "middle", "inner"))
    jump_config(lab, gate, middle, inner)
    if spoil == "host key":
        middle.rotate_host_keys()
    elif spoil == "user":
        text = lab.ssh_config.read_text().replace(
            f"Host middle\n  HostName 127.0.0.1\n  Port {middle.port}\n  User {middle.user}",
            f"Host middle\n  HostName 127.0.0.1\n  Port {middle.port}\n  User nobody-here",
        )
        lab.ssh_config.write_text(text)
    else:
        middle.stop()

    with RemoteTransport(through(lab, "gate,middle", inner), home, QUICK) as transport:
        with pytest.raises(LlorchError, match=words):
            transport.connect()


def test_a_proxy_command(lab: SshLab, home: Home, tmp_path: Path) -> None:
    gate, inner = add(lab, "gate"), add(lab, "inner")
    jump_config(lab, gate, inner)
    with lab.ssh_config.open("a") as file:
        file.write(f"Host inner\n  ProxyCommand ssh -F {lab.ssh_config} -W %h:%p gate\n")
    pool = Pool("far", "inner", ssh_config=str(lab.ssh_config), command=str(inner.agent))

    with RemoteTransport(pool, home, Timeouts()) as transport:
        assert ask(transport, ["echo"])[1].ok


# -- tunnels ---------------------------------------------------------------------


def test_a_port_of_the_pool_is_reached_from_here(mac: SshHost, home: Home) -> None:
    with answering(b"hello from there") as port, reach(mac, home) as transport:
        with transport.open_port(port) as tunnel:
            assert tunnel.url == f"http://127.0.0.1:{tunnel.port}"
            assert tunnel.port != port
            assert read_all(tunnel.port) == b"hello from there"
            assert read_all(tunnel.port) == b"hello from there"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", tunnel.port))


def test_sixty_four_connections_through_one_tunnel(mac: SshHost, home: Home) -> None:
    heard: list[bytes] = []
    with answering(b"x" * 100_000) as port, reach(mac, home) as transport:
        with transport.open_port(port) as tunnel:
            run_all([lambda: heard.append(read_all(tunnel.port)) for _ in range(64)])

    assert [len(data) for data in heard] == [100_000] * 64


def test_a_worker_that_does_not_run(mac: SshHost, home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with reach(mac, home) as transport:
        with pytest.raises(ForwardRefused, match=f"127.0.0.1:{port} refused; is the worker"):
            transport.open_port(port).__enter__()


def test_a_server_that_forwards_nothing(lab: SshLab, home: Home) -> None:
    host = add(lab, "closed", AllowTcpForwarding="no")
    with answering(b"") as port, reach(host, home) as transport:
        with pytest.raises(ForwardRefused, match="allow AllowTcpForwarding"):
            transport.open_port(port).__enter__()


# -- helpers ---------------------------------------------------------------------


def run_all(jobs: list[Callable[[], object]]) -> None:
    """All at once; the first failure is raised."""
    failures: list[BaseException] = []

    def guarded(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    handle(sock)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def answering(data: bytes) -> Iterator[int]:
    """A server that says the same to everybody."""
    with listening(lambda sock: sock.sendall(data)) as port:
        yield port


@contextmanager
def hanging_up() -> Iterator[tuple[int, list[int]]]:
    """A server that closes at once, and a list of its calls."""
    calls: list[int] = []
    with listening(lambda sock: calls.append(1)) as port:
        yield port, calls


def read_all(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


def wait_for_file(path: Path, text: str) -> None:
    """For what another process writes in its own time."""
    tick = threading.Event()
    for _ in range(200):
        if path.exists() and path.read_text() == text:
            return
        tick.wait(0.05)
    raise AssertionError(f"{path} never said {text!r}")
