"""The remote door over real pipes: one request in, events out, one last word."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pool_core.protocol import MAX_LINE_BYTES, Op, Request, op_line
from pool_core.spawn.process import wait_gone
from tests.fakes.pool import MODEL, FakePool
from tests.pool_ctl.conftest import EVENT, Ask

Start = Callable[..., subprocess.Popen[str]]
Line = dict[str, Any]


class Client:
    """The other end of `llorch-pool stdio`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, *argv: str, **fields: Any) -> None:
        self.say(Request(argv, **fields).to_json())

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None  # so that nobody flushes it again

    def read(self) -> Line:
        assert self.process.stdout is not None
        line: Line = json.loads(self.process.stdout.readline())
        EVENT.validate(line)
        return line

    def read_until(self, wanted: Callable[[Line], bool]) -> Line:
        while not wanted(line := self.read()):
            assert line["t"] not in ("result", "error"), line
        return line

    def last_word(self) -> Line:
        """Read to the end; heartbeats aside, nothing may follow a result or an error."""
        assert self.process.stdout is not None
        lines = [json.loads(line) for line in self.process.stdout]
        for line in lines:
            EVENT.validate(line)
        kinds = [line["t"] for line in lines]
        assert sum(kind in ("result", "error") for kind in kinds) == 1
        assert kinds[-1] in ("result", "error")
        return lines[-1]

    def code(self) -> int:
        return self.process.wait(timeout=30)


@pytest.fixture
def connect(start: Start) -> Callable[[], Client]:
    def connect() -> Client:
        client = Client(start("stdio", stdin=subprocess.PIPE))
        assert client.read()["t"] == "hello"
        return client

    return connect


Connect = Callable[[], Client]


def spawning(connect: Connect, pool: FakePool) -> Client:
    """A client whose worker hangs at half of its loading."""
    pool.use_as_runtime("--fake-hang")
    client = connect()
    client.ask("worker", "spawn", "cpu", "--model", "ref-llama")
    client.read_until(lambda line: line["t"] == "progress" and line["done"] == 50)
    return client


def test_a_command_answers_with_its_events_and_one_result(connect: Connect) -> None:
    client = connect()
    client.ask("worker", "spawn", "cpu", "--model", "ref-llama")
    client.read_until(lambda line: line["t"] == "state" and line["state"] == "ready")
    last = client.last_word()
    assert last["ok"] is True and last["data"]["model"] == "ref-llama"
    assert client.code() == 0


def test_errors_keep_their_code_remedy_and_exit(connect: Connect) -> None:
    client = connect()
    client.ask("worker", "show", "nobody")
    last = client.last_word()
    assert (last["code"], last["exit"]) == ("E_UNKNOWN", 2)
    assert last["remedy"] == "see: llorch-pool worker list"
    assert client.code() == 2


@pytest.mark.parametrize("how", ["cancel", "eof"])
def test_a_lease_that_ends_cancels_the_command(
    connect: Connect, pool: FakePool, ask: Ask, how: str
) -> None:
    client = spawning(connect, pool)
    (record,) = pool.spawner().list()
    if how == "cancel":
        client.say(op_line(Op.CANCEL))
    else:
        client.leave()
    last = client.last_word()
    assert (last["code"], last["exit"]) == ("E_CANCELLED", 130)
    assert client.code() == 130
    assert wait_gone(record.file.process, 0)
    assert ask("worker", "list").data == {"workers": []}


def test_what_was_finished_before_the_client_left_stays(connect: Connect, ask: Ask) -> None:
    client = connect()
    client.ask("worker", "spawn", "cpu", "--model", "ref-llama")
    worker = client.last_word()["data"]["id"]
    assert [row["id"] for row in ask("worker", "list").data["workers"]] == [worker]


def test_silence_is_the_end_of_the_lease(start: Start, pool: FakePool) -> None:
    pool.use_as_runtime("--fake-hang")
    script = "import sys; from pool_ctl.stdio import serve; sys.exit(serve(silence_s=4))"
    env = {"LLORCH_HOME": str(pool.home.data)}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        client = Client(process)
        client.ask("worker", "spawn", "cpu", "--model", "ref-llama")
        beats = 0
        while beats < 3:  # signs of life keep it, for longer than the silence it allows
            beats += client.read()["t"] == "hb"
            client.say(op_line(Op.HEARTBEAT))
        assert process.poll() is None
        assert client.code() == 130
    assert pool.spawner().list() == []


def test_heartbeats_come_while_nothing_happens(connect: Connect, pool: FakePool) -> None:
    client = spawning(connect, pool)
    client.read_until(lambda line: line["t"] == "hb")
    client.read_until(lambda line: line["t"] == "hb")
    client.say(op_line(Op.CANCEL))
    assert client.last_word()["t"] == "error"


def test_operations_of_a_newer_client_are_passed_over(connect: Connect, pool: FakePool) -> None:
    client = spawning(connect, pool)
    client.say('{"op":"dance"}')
    client.say("what?")
    client.say(op_line(Op.CANCEL))
    assert client.last_word()["code"] == "E_CANCELLED"


def test_arguments_arrive_byte_for_byte(connect: Connect) -> None:
    name = "spaces  $HOME `id` \"quotes\" 'more' \\ \t ünïcödé 🦙 ; rm -rf / #"
    client = connect()
    argv = ["models", "register", "odd", "--path", str(MODEL), "--name", name]
    client.ask(*argv)
    assert client.last_word()["data"]["name"] == name


def test_help_does_not_spoil_the_stream(connect: Connect) -> None:
    client = connect()
    client.ask("worker", "--help")
    last = client.last_word()
    assert (last["t"], last["data"]) == ("result", {})
    assert client.code() == 0


def test_whatever_a_library_prints_goes_to_stderr(pool: FakePool) -> None:
    script = (
        "import os, sys\n"
        "import pool_core.health\n"
        "def noisy(home):\n"
        "    print('print', flush=True)\n"
        "    os.write(1, b'write\\n')\n"
        "    os.system('echo child')\n"
        "    return {'quiet': True}\n"
        "pool_core.health.pool_status = noisy\n"
        "from pool_ctl.stdio import serve\n"
        "sys.exit(serve())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={"LLORCH_HOME": str(pool.home.data), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        client = Client(process)
        client.ask("status")
        assert client.last_word()["data"] == {"quiet": True}
        assert process.stderr is not None
        assert process.stderr.read().split() == ["print", "write", "child"]


@pytest.mark.parametrize(
    ("line", "code", "exit_code"),
    [
        ("hello?", "E_PROTOCOL", 1),
        ('{"v":1}', "E_PROTOCOL", 1),
        ('{"v":7,"argv":[]}', "E_VERSION", 5),
        ("x" * (MAX_LINE_BYTES + 70_000), "E_PROTOCOL", 1),
        ('{"v":1,"argv":["stdio"]}', "E_USAGE", 2),
    ],
)
def test_a_request_that_is_none_is_refused(
    connect: Connect, line: str, code: str, exit_code: int
) -> None:
    client = connect()
    client.say(line)
    last = client.last_word()
    assert (last["code"], last["exit"]) == (code, exit_code)
    assert client.code() == exit_code


def test_no_request_at_all_is_said(connect: Connect) -> None:
    client = connect()
    client.leave()
    assert client.last_word()["code"] == "E_PROTOCOL"


def test_hello_waits_for_nothing_slow() -> None:
    script = (
        "import sys, pool_ctl.stdio\n"
        "slow = {'typer', 'rich', 'pydantic', 'psutil', 'platformdirs'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
