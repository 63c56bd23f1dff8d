"""`llorch` on the command line: usage, the inventory, and errors in one line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import IO

import pytest

from llorch_ctl.inventory import Inventory, Pool
from pool_core import __version__
from pool_core.home import Home
from tests.llorch_ctl.cli import Llorch
from tests.llorch_ctl.conftest import MakePool
from tests.rigs.sshd import SshHost, SshLab


@pytest.fixture
def llorch(home: Home) -> Llorch:
    return Llorch(home)


def add(llorch: Llorch, lab: SshLab, host: SshHost, *options: str) -> None:
    added = llorch(
        *("pool", "add", host.name, host.target, "--yes", "--identity-file", str(lab.key)),
        *("--known-hosts", str(lab.known_hosts), "--ssh-config", str(lab.ssh_config)),
        *("--command", str(host.agent), *options),
    )
    assert added.code == 0, added.err


@pytest.mark.parametrize("argv", [[], ["pool"], ["pool", "worker"], ["worker"], ["matrix"]])
def test_a_bare_group_shows_its_help(llorch: Llorch, argv: list[str]) -> None:
    ran = llorch(*argv)

    assert ran.code == 2
    assert "Commands:" in ran.out and "error" not in ran.err


def test_version_and_help(llorch: Llorch) -> None:
    assert llorch("--version").out == f"llorch {__version__}\n"
    assert "llorch pool add mac" in llorch("--help").out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["pol"], "no such command"),
        (["pool", "worker", "spawn", "cpu"], "missing option"),
        (["pool", "worker", "list", "--pool", "nobody"], 'unknown pool "nobody"'),
        (["pool", "worker", "list", "--host", "-oProxyCommand=x"], "is not an SSH target"),
        (["pool", "worker", "spawn", "cpuu", "-m", "ref-llama"], "did you mean cpu"),
        (["pool", "add", "local", "x"], 'the pool "local" is this machine'),
        (["pool", "add", "Mac", "x"], "cannot name a pool"),
        (["pool", "add", "mac", "me@host:x"], "is not an SSH target"),
        (["pool", "remove", "mac"], 'unknown pool "mac"'),
        (["pool", "trust"], "say which machine"),
        (["pool", "trust", "local"], "is this machine"),
        (["infer", "ref-lama", "hi"], "did you mean ref-llama"),
        (["infer", "ref-llama", "hi", "--raw", "--system", "x"], "leave --system out"),
        (["infer", "ref-llama", "hi", "--temperature", "3"], "--temperature"),
        (["worker", "forward", "ref-lama"], "did you mean ref-llama"),
    ],
)
def test_what_was_typed_wrong_gets_one_line_and_exit_2(
    llorch: Llorch, argv: list[str], words: str
) -> None:
    ran = llorch(*argv)

    assert ran.code == 2
    assert ran.out == ""
    [line] = ran.err.splitlines()
    assert line.startswith("error: ") and words in line


def test_errors_are_json_when_that_is_asked_for(llorch: Llorch) -> None:
    ran = llorch("pool", "remove", "mac", "--json")

    assert ran.err == ""
    assert ran.records[-1]["t"] == "error"
    assert (ran.records[-1]["code"], ran.records[-1]["exit"], ran.code) == ("E_UNKNOWN", 2, 2)


def test_a_broken_inventory_is_named_and_help_still_works(llorch: Llorch, home: Home) -> None:
    home.config.mkdir()
    home.pools_file.write_text("[pools.mac]\nshh = 'mac'\n")

    ran = llorch("pool", "list")

    assert (ran.code, llorch("pool", "--help").code) == (2, 0)
    assert f'error: {home.pools_file}: [pools.mac]: unknown key "shh"; did you mean' in ran.err


def test_no_ready_worker_says_how_to_start_one(llorch: Llorch) -> None:
    ran = llorch("infer", "ref-llama", "hi")

    assert ran.code == 1
    assert "no ready worker serves ref-llama on local" in ran.err
    assert "start one: llorch pool worker spawn cpu --model ref-llama" in ran.err


def test_a_pool_is_added_shown_and_removed(llorch: Llorch, lab: SshLab, home: Home) -> None:
    host = lab.add_host("mac", known=False)

    added = llorch(
        *("pool", "add", "mac", host.target, "--yes", "--label", "quick"),
        *("--identity-file", str(lab.key), "--ssh-config", str(lab.ssh_config)),
        *("--command", str(host.agent)),
    )

    assert added.code == 0, added.err
    assert f"mac: llorch {__version__}, linux" in added.err
    assert Inventory.load(home).get("mac").labels == ("quick",)
    listed = llorch("pool", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["POOL", "mac", "local"]
    [mac, local] = llorch("pool", "list", "--json").data["pools"]
    assert (mac["ssh"], mac["labels"], local["ssh"]) == (host.target, ["quick"], "local")
    assert llorch("pool", "status", "--pool", "mac").code == 0
    assert llorch("pool", "remove", "mac").code == 0
    assert home.pools_file.read_text() == ""


def test_a_host_that_is_not_trusted_is_not_added(llorch: Llorch, lab: SshLab, home: Home) -> None:
    host = lab.add_host("mac", known=False)

    ran = llorch("pool", "add", "mac", host.target, "--ssh-config", str(lab.ssh_config))

    assert ran.code == 4
    assert "--fingerprint SHA256:" in ran.err
    assert not home.pools_file.exists() and not home.known_hosts.exists()


def test_a_host_without_llorch_is_added_with_a_note(
    llorch: Llorch, lab: SshLab, home: Home
) -> None:
    host = lab.add_host("mac")
    host.install_agent("exit 127")

    add(llorch, lab, host)

    ran = llorch("pool", "worker", "list", "--pool", "mac")
    assert ran.code == 3
    assert "error: mac: llorch-pool is not installed; install llorch there" in ran.err


def test_a_host_that_is_away_can_be_added_unseen(llorch: Llorch, home: Home) -> None:
    refused = llorch("pool", "add", "mac", "me@127.0.0.1:1")
    added = llorch("pool", "add", "mac", "me@127.0.0.1:1", "--no-check")

    assert (refused.code, added.code) == (3, 0)
    assert "E_REFUSED" in llorch("pool", "status", "--pool", "mac", "--json").out


def test_partial_failure_shows_the_rest_and_says_what_failed(
    llorch: Llorch, lab: SshLab, home: Home
) -> None:
    good, gone, changed = (lab.add_host(name) for name in ("good", "gone", "changed"))
    for host in (good, gone, changed):
        add(llorch, lab, host)
    gone.stop()
    changed.rotate_host_keys()

    ran = llorch("pool", "models", "list", "--all")

    assert ran.code == 4
    assert "ref-llama" in ran.out and ran.out.startswith("POOL")
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1].strip() for line in errors] == ["gone", "changed"]
    assert "refused; start sshd" in errors[0] and "HOST KEY CHANGED" in errors[1]
    assert ran.err.splitlines()[-1] == "3 pools: 1 ok, 1 unreachable, 1 refused"

    pools = llorch("pool", "models", "list", "--all", "--json").data["pools"]
    assert pools["good"]["ok"] and not pools["gone"]["ok"]
    assert pools["gone"]["error"]["code"] == "E_REFUSED"
    assert pools["changed"]["error"]["code"] == "E_HOSTKEY_CHANGED"


def acting(llorch: Llorch, home: Home, pool: Pool, action: str) -> Path:
    """An inventory with a pool `fake` that does `action` whatever it is asked; its folder."""
    home.config.mkdir(parents=True)
    home.pools_file.write_text(f'[pools.fake]\nssh = "local"\ncommand = "{pool.command}"\n')
    agent = Path(str(pool.command))
    agent.write_text(agent.read_text().replace('"plain"', f'"plain" {action}'))
    return agent.parent


def next_state(stream: IO[str] | None) -> str:
    assert stream is not None
    while (record := json.loads(stream.readline()))["t"] != "state":
        pass
    assert record["pool"] == "fake"
    return str(record["state"])


def test_ctrl_c_cancels_on_the_pool_and_exits_130(
    llorch: Llorch, home: Home, fake_pool: MakePool
) -> None:
    folder = acting(llorch, home, fake_pool(), "stay")

    with llorch.started("pool", "doctor", "--pool", "fake", "--json") as process:
        assert next_state(process.stdout) == "staying"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    last = json.loads(out.splitlines()[-1])
    assert last["data"]["pools"]["fake"]["error"]["code"] == "E_CANCELLED"
    assert (process.returncode, err) == (130, "")
    assert (folder / "note").read_text() == "cancelled"


def test_a_second_ctrl_c_hangs_up_on_a_pool_that_does_not_listen(
    llorch: Llorch, home: Home, fake_pool: MakePool
) -> None:
    folder = acting(llorch, home, fake_pool(), "stubborn")

    with llorch.started("pool", "doctor", "--pool", "fake", "--json") as process:
        assert next_state(process.stdout) == "staying"
        process.send_signal(signal.SIGINT)
        assert next_state(process.stdout) == "not listening"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert process.returncode == 130
    assert (folder / "note").read_text() == "end of input"
