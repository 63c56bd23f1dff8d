"""Real workers on real models: on this machine, and on two reached over SSH."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pool_core.home import Home
from tests.llorch_ctl.cli import Llorch
from tests.rigs.sshd import SshHost, SshLab


def processes_with(home: Path) -> list[str]:
    """What runs with this LLORCH_HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LLORCH_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture
def llorch(home: Home) -> Iterator[Llorch]:
    yield Llorch(home)
    assert processes_with(home.data) == []


def add(llorch: Llorch, lab: SshLab, name: str) -> SshHost:
    """A machine behind a real sshd, in the inventory."""
    host = lab.add_host(name)
    added = llorch(
        *("pool", "add", host.name, host.target, "--yes", "--command", str(host.agent)),
        *("--identity-file", str(lab.key), "--ssh-config", str(lab.ssh_config)),
        *("--known-hosts", str(lab.known_hosts)),
    )
    assert added.code == 0, added.err
    return host


def test_two_backends_of_this_machine_agree(llorch: Llorch, tmp_path: Path) -> None:
    output = tmp_path / "report"
    ran = llorch(
        *("matrix", "run", "--filter", "model=ref-qwen2", "--output", str(output), "--json")
    )
    assert ran.code == 0, ran.out[-2000:]
    assert ran.records[-1]["t"] == "result" and ran.data["totals"]["passed"] == 2
    record = json.loads(Path(ran.data["report"]).read_text())
    baseline, other = record["cells"]
    assert other["checks"]["parity"]["outcome"] == "pass"
    assert other["worker"]["layers_on_device"] == other["worker"]["layers_total"] > 0
    assert baseline["speed"]["decode_tokens_per_second"] > 0
    assert baseline["machine"]["name"] and baseline["machine"]["build"]
    assert [path.name for path in sorted(output.iterdir())] == [
        "MODEL_SUPPORT.md",
        "junit.xml",
        "report.html",
        "report.json",
    ]


def test_an_interrupt_leaves_a_partial_report_and_nothing_running(
    llorch: Llorch, tmp_path: Path
) -> None:
    output = tmp_path / "report"
    argv = ("matrix", "run", "--filter", "model=ref-llama", "--output", str(output), "--json")
    with llorch.started(*argv) as process:
        assert process.stdout
        for line in process.stdout:
            if '"state":"answers"' in line:
                process.send_signal(signal.SIGINT)
                break
        records = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 130
    assert records[-1]["t"] == "result" and not records[-1]["ok"]
    assert records[-1]["data"]["totals"]["cancelled"] == 2
    assert json.loads((output / "report.json").read_text())["finished"]


def test_two_machines_over_ssh_are_compared_with_each_other(
    llorch: Llorch, lab: SshLab, tmp_path: Path
) -> None:
    hosts = [add(llorch, lab, name) for name in ("north", "south")]
    chosen = "model=ref-phi3,backend=cpu,case=sum"
    ran = llorch(
        *("matrix", "run", "--all", "--filter", chosen, "--output", str(tmp_path / "r"), "--json")
    )
    left = [line for host in hosts for line in processes_with(host.home)]
    assert (ran.code, left) == (0, []), ran.out[-2000:]
    north, south = json.loads(Path(ran.data["report"]).read_text())["cells"]
    assert (north["pool"], south["pool"]) == ("north", "south")
    assert north["checks"]["parity"]["detail"] == "it is the baseline"
    assert south["checks"]["parity"]["outcome"] == "pass"


def test_a_connection_that_breaks_leaves_no_worker_behind(
    llorch: Llorch, lab: SshLab, tmp_path: Path
) -> None:
    host = add(llorch, lab, "north")
    chosen = "model=ref-llama,backend=cpu"
    argv = ("matrix", "run", "--pool", "north", "--filter", chosen, "--output", str(tmp_path / "r"))
    with llorch.started(*argv, "--json") as process:
        assert process.stdout
        for line in process.stdout:
            if '"state":"answers"' in line:
                host.kill_sessions()
                break
        records = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 100
    (cell,) = records[-1]["data"]["cells"]
    assert cell["status"] == "error" and "north: " in cell["reason"], cell
    assert processes_with(host.home) == []
