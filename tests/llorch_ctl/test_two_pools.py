"""The whole line over real SSH: two pools with separate homes, from `pool add` to `stop-all`."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator

import psutil
import pytest

from pool_core.home import Home
from tests.llorch_ctl.cli import Llorch
from tests.llorch_ctl.conftest import agent_script
from tests.rigs.sshd import SshHost, SshLab

# One thread: ggml's threads spin, and tests run side by side.
SPAWN = ("pool", "worker", "spawn", "cpu", "--model", "ref-llama", "--threads", "1")
QUESTION = "What is the capital of France?"


@pytest.fixture
def hosts(lab: SshLab) -> Iterator[list[SshHost]]:
    """Two machines that nobody knows yet. Afterwards nothing of theirs may run."""
    hosts = [lab.add_host(name, known=False) for name in ("north", "south")]
    yield hosts
    left = [line for host in hosts for line in processes_of(host)]
    for host in hosts:
        end_processes_of(host)
    assert left == []


@pytest.fixture
def llorch(home: Home, lab: SshLab, hosts: list[SshHost]) -> Llorch:
    """An operator who has added both."""
    llorch = Llorch(home)
    for host in hosts:
        added = llorch(
            *("pool", "add", host.name, host.target, "--yes", "--command", str(host.agent)),
            *("--identity-file", str(lab.key), "--ssh-config", str(lab.ssh_config)),
        )
        assert added.code == 0, added.err
    return llorch


def processes_of(host: SshHost) -> list[str]:
    """Command lines of what runs with this host's home, its sshd apart."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LLORCH_HOME") == str(host.home):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def end_processes_of(host: SshHost) -> None:
    for process in psutil.process_iter():
        try:
            if process.environ().get("LLORCH_HOME") == str(host.home):
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue


def test_from_nothing_to_answers_and_back(llorch: Llorch, hosts: list[SshHost]) -> None:
    north, south = hosts
    listed = llorch("pool", "worker", "list", "--all")
    assert (listed.code, "no workers" in listed.out) == (0, True)

    spawned = llorch(*SPAWN, "--all", "--json")
    assert spawned.code == 0, spawned.out
    workers = {name: item["data"] for name, item in spawned.data["pools"].items()}
    assert workers.keys() == {"north", "south"}
    assert all(worker["status"] == "ready" for worker in workers.values())
    assert {record["pool"] for record in spawned.records[:-1]} == {"north", "south"}
    assert all(processes_of(host) for host in hosts), "a worker outlives the session that made it"

    listed = llorch("pool", "worker", "list", "--all")
    rows = [line.split()[:2] for line in listed.out.splitlines()[1:]]
    assert rows == [["north", workers["north"]["id"]], ["south", workers["south"]["id"]]]

    answers = {
        name: llorch("infer", worker["id"], QUESTION, "--seed", "1", "--json").data
        for name, worker in workers.items()
    }
    assert answers["north"]["pool"] == "north" and answers["south"]["pool"] == "south"
    assert answers["north"]["text"] == answers["south"]["text"] != ""
    assert answers["north"]["usage"]["completion_tokens"] > 0
    streamed = llorch("infer", "ref-llama", "-", "--pool", "south", "--seed", "1", stdin=QUESTION)
    assert streamed.out == answers["south"]["text"] + "\n"
    assert f"{workers['south']['id']} on south" in streamed.err
    raw = llorch("infer", workers["north"]["id"], "Once", "--raw", "--max-tokens", "4")
    assert raw.code == 0 and raw.out.strip()

    logs = llorch("pool", "worker", "logs", workers["north"]["id"], "--pool", "north")
    assert logs.code == 0 and logs.out

    stopped = llorch("pool", "worker", "stop-all", "--all")
    assert stopped.code == 0, stopped.err
    assert "no workers" in llorch("pool", "worker", "list", "--all").out
    assert [processes_of(host) for host in hosts] == [[], []]


def test_a_worker_forwarded_here_until_ctrl_c(llorch: Llorch, hosts: list[SshHost]) -> None:
    spawned = llorch(*SPAWN, "--pool", "north", "--json")
    worker = spawned.data["pools"]["north"]["data"]

    with llorch.started("worker", "forward", "ref-llama", "--pool", "north", "--json") as forward:
        assert forward.stdout is not None
        state = next(
            record for line in forward.stdout if (record := json.loads(line))["t"] == "state"
        )
        assert (state["subject"], state["pool"]) == (worker["id"], "north")
        assert state["detail"] != worker["url"]
        with urllib.request.urlopen(f"{state['detail']}/health", timeout=30) as response:
            assert json.load(response)["status"] == "ready"
        forward.send_signal(signal.SIGINT)
        out, err = forward.communicate(timeout=30)
    assert (forward.returncode, err) == (0, "")
    assert json.loads(out)["data"]["url"] == state["detail"]

    with llorch.started("worker", "forward", worker["id"]) as forward:
        assert forward.stdout is not None
        assert forward.stdout.readline().startswith("http://127.0.0.1:")
        hosts[0].kill_sessions()
        _, err = forward.communicate(timeout=30)
    assert forward.returncode == 3
    assert "error: north: connection lost" in err

    assert llorch("pool", "worker", "stop-all", "--all").code == 0


def test_an_answer_that_is_cut_off_is_lost(llorch: Llorch, hosts: list[SshHost]) -> None:
    north = hosts[0]
    spawned = llorch(*SPAWN, "--pool", "north", "--json")
    worker = spawned.data["pools"]["north"]["data"]
    process = psutil.Process(worker["pid"])
    process.suspend()  # it will keep us waiting
    logins = north.log.count("Accepted publickey")

    with llorch.started("infer", worker["id"], "hi", "--pool", "north") as answer:
        north.wait_logins(logins + 2)  # one to look for the worker, one for the tunnel
        north.kill_sessions()
        out, err = answer.communicate(timeout=30)

    assert (answer.returncode, out) == (3, "")
    assert err.startswith("error: north: connection lost")
    process.resume()
    assert llorch("pool", "worker", "stop-all", "--all").code == 0


def test_a_pool_that_is_cut_off_is_lost_and_the_other_one_goes_on(
    llorch: Llorch, hosts: list[SshHost]
) -> None:
    north, south = hosts
    north.install_agent(agent_script().replace('"plain"', '"plain" stay'))
    south.install_agent(agent_script().replace('"plain"', '"plain" echo'))

    with llorch.started("pool", "doctor", "--all", "--json") as doctor:
        assert doctor.stdout is not None
        while json.loads(doctor.stdout.readline())["t"] != "state":
            pass
        north.kill_sessions()
        out, _ = doctor.communicate(timeout=30)

    pools = json.loads(out.splitlines()[-1])["data"]["pools"]
    assert pools["south"]["ok"]
    assert pools["north"]["error"]["code"] == "E_LOST"
    assert doctor.returncode == 3


def test_all_pools_work_at_the_same_time_and_ctrl_c_reaches_them_all(
    home: Home, lab: SshLab
) -> None:
    names = ("one", "two", "three")
    tables = []
    for name in names:
        host = lab.add_host(name)
        host.install_agent(agent_script().replace('"plain"', '"plain" stay'))
        tables.append(
            f'[pools.{name}]\nssh = "{host.target}"\ncommand = "{host.agent}"\n'
            f'identity_file = "{lab.key}"\nknown_hosts = "{lab.known_hosts}"\n'
        )
    home.config.mkdir(parents=True)
    home.pools_file.write_text("\n".join(tables))

    with Llorch(home).started("pool", "doctor", "--all", "--json") as doctor:
        assert doctor.stdout is not None
        staying: set[str] = set()
        while staying != set(names):  # each stays until it is told to go
            record = json.loads(doctor.stdout.readline())
            if record["t"] == "state":
                staying.add(record["pool"])
        doctor.send_signal(signal.SIGINT)
        out, _ = doctor.communicate(timeout=30)

    pools = json.loads(out.splitlines()[-1])["data"]["pools"]
    assert {pools[name]["error"]["code"] for name in names} == {"E_CANCELLED"}
    assert doctor.returncode == 130
    assert [(lab.hosts[name].home / "note").read_text() for name in names] == ["cancelled"] * 3
