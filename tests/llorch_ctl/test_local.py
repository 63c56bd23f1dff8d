"""The pool on this machine, with the real `llorch-pool stdio`."""

from __future__ import annotations

import os
import threading
from pathlib import Path, PurePosixPath

import psutil
import pytest

from llorch_ctl.connect import open_transport
from llorch_ctl.errors import NoAgent
from llorch_ctl.inventory import THIS_MACHINE, Pool
from llorch_ctl.local import LocalTransport
from pool_core import __version__
from pool_core.errors import ExitCode, RemoteError
from pool_core.events import Hello, State
from pool_core.home import Home
from tests.llorch_ctl.conftest import MakePool
from tests.llorch_ctl.driving import ask


def test_it_lists_the_models_of_its_home(home: Home) -> None:
    with open_transport(THIS_MACHINE, home) as transport:
        events, answer = ask(transport, ["models", "list"])

    assert events == []
    assert "ref-llama" in {row["id"] for row in answer.data["models"]}


def test_it_introduces_itself(home: Home) -> None:
    with open_transport(THIS_MACHINE, home) as transport:
        work = transport.request(["--version"])
        hello = next(work)
        work.close()

    assert isinstance(hello, Hello)
    assert (hello.proto, hello.version) == ((1, 1), __version__)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["worker", "show", "nobody"], "E_UNKNOWN"),
        (["worker", "spawn", "quantum", "--model", "ref-llama"], "E_UNKNOWN"),
        (["models", "list", "--sideways"], "E_USAGE"),
        (["stdio"], "E_USAGE"),
    ],
)
def test_what_it_refuses_is_raised(home: Home, argv: list[str], code: str) -> None:
    with open_transport(THIS_MACHINE, home) as transport, pytest.raises(RemoteError) as caught:
        ask(transport, argv)

    assert (caught.value.code, caught.value.exit_code) == (code, ExitCode.USAGE)


def test_a_home_that_is_given_wins_over_the_environment(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLORCH_HOME", str(tmp_path / "elsewhere"))

    with open_transport(THIS_MACHINE, home) as transport:
        _, answer = ask(transport, ["status"])

    assert answer.data["home"] == str(home.data)


def test_a_folder_in_the_way_is_not_imported(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pool_ctl").mkdir()
    (tmp_path / "pool_ctl" / "__main__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)

    with open_transport(THIS_MACHINE, home) as transport:
        assert ask(transport, ["worker", "list"])[1].ok


def test_a_ctrl_c_of_the_terminal_does_not_reach_it(fake_pool: MakePool, home: Home) -> None:
    """A terminal signals a whole process group; the child is in one of its own."""
    with open_transport(fake_pool(), home) as transport:
        work = transport.request(["stay"])
        while not isinstance(next(work), State):
            pass
        children = psutil.Process().children()
        groups = {os.getpgid(child.pid) for child in children if "llorch" in str(child.cmdline())}
        work.close()

    assert groups and os.getpgrp() not in groups


def test_requests_may_run_side_by_side(fake_pool: MakePool, home: Home) -> None:
    answers: list[object] = []
    with open_transport(fake_pool(), home) as transport:
        threads = [
            threading.Thread(
                target=lambda number=number: answers.append(
                    ask(transport, ["echo", str(number)])[1].data["words"]
                )
            )
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(map(str, answers)) == [f"['{number}']" for number in range(4)]


def test_a_command_that_is_not_there(home: Home) -> None:
    pool = Pool("odd", command="/nowhere/llorch-pool")

    with open_transport(pool, home) as transport:
        with pytest.raises(NoAgent, match="odd: /nowhere/llorch-pool cannot be run: No such file"):
            ask(transport, ["worker", "list"])


def test_put_replaces_a_file_in_one_step(home: Home, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")

    with LocalTransport("local", home) as transport:
        transport.put(source, PurePosixPath(target))

    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.glob("*target*")) == ["target"]


def test_a_port_of_this_machine_is_itself(home: Home) -> None:
    with LocalTransport("local", home) as transport:
        with transport.open_port(8001) as tunnel:
            assert tunnel.url == "http://127.0.0.1:8001"
        with transport.forward(8001, 0) as tunnel:
            assert tunnel.port == 8001
