"""Many pools at once: one's trouble is its own, and Ctrl-C reaches them all."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Self

import pytest

from llorch_ctl.answers import show_answers
from llorch_ctl.errors import AuthRefused, ConnectionRefused, Lost, VersionSkew
from llorch_ctl.fleet import Fleet, Outcome, Phase, exit_code_of
from llorch_ctl.inventory import Pool
from llorch_ctl.transport import NO_SECRETS, Answer
from pool_core.console import Console
from pool_core.errors import Cancelled, ExitCode, LlorchError, RemoteError, UsageError
from pool_core.events import Event, Progress
from pool_core.home import Home


class ScriptedTransport:
    """A pool in this process: what it answers is given, and `gate` holds it until released."""

    def __init__(
        self,
        name: str,
        answer: Answer | LlorchError,
        events: Sequence[Event] = (),
        refusal: LlorchError | None = None,
        gate: threading.Event | None = None,
    ) -> None:
        self.name = name
        self.closed = False
        self._answer = answer
        self._events = events
        self._refusal = refusal
        self._gate = gate

    def connect(self) -> None:
        if self._refusal:
            raise self._refusal

    def request(
        self,
        argv: Sequence[str],
        *,
        secrets: Mapping[str, str] = NO_SECRETS,
        cancel: threading.Event | None = None,
    ) -> Generator[Event, None, Answer]:
        yield from self._events
        while self._gate and not self._gate.wait(0.02):
            if cancel and cancel.is_set():
                raise Cancelled(f"{self.name}: cancelled")
        if isinstance(self._answer, LlorchError):
            raise self._answer
        return self._answer

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


OK = Answer({"workers": []})
News = list[tuple[str, Event | Phase]]


def run(home: Home, *transports: ScriptedTransport, news: News | None = None) -> list[Outcome]:
    by_name = {transport.name: transport for transport in transports}

    def open_scripted(pool: Pool, home: Home) -> Any:
        return by_name[pool.name]

    def watch(pool: Pool, item: Event | Phase) -> None:
        if news is not None:
            news.append((pool.name, item))

    pools = [Pool(name, f"ssh-{name}") for name in by_name]
    outcomes = Fleet(pools, home, open_scripted).run(["worker", "list"], watch)
    assert all(transport.closed for transport in transports)
    return outcomes


def test_each_pool_has_its_outcome_in_the_order_asked(home: Home) -> None:
    gate = threading.Event()
    news: News = []
    slow = ScriptedTransport("slow", OK, [Progress("load", 1, 2)], gate=gate)
    quick = ScriptedTransport("quick", OK)
    threading.Timer(0.2, gate.set).start()

    outcomes = run(home, slow, quick, news=news)

    assert [outcome.pool.name for outcome in outcomes] == ["slow", "quick"]
    assert all(outcome.ok for outcome in outcomes)
    assert [item for name, item in news if name == "slow"] == [
        Phase.CONNECTING,
        Phase.RUNNING,
        Progress("load", 1, 2),
        Phase.OK,
    ]
    assert news.index(("quick", Phase.OK)) < news.index(("slow", Phase.OK))


def test_the_failures_of_some_leave_the_others_alone(home: Home) -> None:
    outcomes = run(
        home,
        ScriptedTransport("good", OK),
        ScriptedTransport("away", OK, refusal=ConnectionRefused("away", "10.0.0.5:22 refused")),
        ScriptedTransport("full", RemoteError("E_DISK", "no space left")),
        ScriptedTransport("cut", Lost("cut", "connection lost after event 4")),
    )

    assert [outcome.ok for outcome in outcomes] == [True, False, False, False]
    assert exit_code_of(outcomes) is ExitCode.FAILED


def test_a_hundred_pools_share_the_threads(home: Home) -> None:
    transports = [ScriptedTransport(f"p{number}", OK) for number in range(100)]
    before = threading.active_count()

    outcomes = run(home, *transports)

    assert len(outcomes) == 100 and all(outcome.ok for outcome in outcomes)
    assert threading.active_count() <= before + 32


def test_a_defect_in_one_thread_is_an_outcome(home: Home) -> None:
    class Broken(ScriptedTransport):
        def connect(self) -> None:
            raise ZeroDivisionError("oh")

    [outcome, other] = run(home, Broken("broken", OK), ScriptedTransport("good", OK))

    assert str(outcome.error).startswith("internal error: ZeroDivisionError: oh; the traceback is")
    [crash] = home.logs.glob("crash-*.log")
    assert "ZeroDivisionError: oh" in crash.read_text()
    assert other.ok


def test_ctrl_c_asks_all_and_keeps_what_is_done(home: Home) -> None:
    never = threading.Event()
    busy = ScriptedTransport("busy", OK, gate=never)
    quick = ScriptedTransport("quick", OK)
    by_name: dict[str, Any] = {"busy": busy, "quick": quick}

    def watch(pool: Pool, item: Event | Phase) -> None:
        if (pool.name, item) == ("quick", Phase.OK):
            raise KeyboardInterrupt  # as a signal would, in the thread that watches

    pools = [Pool(name, f"ssh-{name}") for name in by_name]
    outcomes = Fleet(pools, home, lambda pool, home: by_name[pool.name]).run(["x"], watch)

    assert outcomes[1].ok
    assert isinstance(outcomes[0].error, Cancelled)
    assert exit_code_of(outcomes) is ExitCode.CANCELLED


ERRORS: dict[ExitCode, LlorchError] = {
    ExitCode.CANCELLED: Cancelled(),
    ExitCode.USAGE: UsageError("no"),
    ExitCode.REFUSED: AuthRefused("p", "no"),
    ExitCode.VERSION: VersionSkew("p", "no"),
    ExitCode.FAILED: LlorchError("no"),
    ExitCode.UNREACHABLE: Lost("p", "no"),
}


def test_the_exit_code_is_the_gravest() -> None:
    """130 > 2 > 4 > 5 > 1 > 3 > 0, whatever the order of the pools."""
    order = list(ERRORS)
    pool = Pool("p", "p")
    for first, second in itertools.combinations(order, 2):
        outcomes = [Outcome(pool, error=ERRORS[code]) for code in (second, first)]
        assert exit_code_of(outcomes) is first
        assert exit_code_of([*outcomes, Outcome(pool, answer=OK)]) is first
    assert exit_code_of([Outcome(pool, answer=OK)]) is ExitCode.OK


WORKER = {
    "id": "ref-llama-cpu-1a2b",
    "model": "ref-llama",
    "backend": "cpu",
    "status": "ready",
    "pid": 12,
    "port": 8001,
    "host": "127.0.0.1",
    "url": "http://127.0.0.1:8001",
    "token": None,
    "created_at": "2030-01-01T00:00:00+00:00",
    "device": "CPU",
    "layers_on_device": 5,
    "layers_total": 5,
    "bytes_on_device": 10_000,
    "load_seconds": 0.5,
    "context_length": 4096,
    "build": "b1",
    "reason": "",
    "exit_code": None,
    "log": "/x",
    "rss_bytes": 10_000,
}


def outcome_of(name: str, result: Answer | LlorchError) -> Outcome:
    pool = Pool(name, f"ssh-{name}")
    if isinstance(result, Answer):
        return Outcome(pool, answer=result)
    return Outcome(pool, error=result)


def shown(
    capsys: pytest.CaptureFixture[str], outcomes: Sequence[Outcome], *, json_lines: bool = False
) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        show_answers(Console(json_lines=json_lines), ("worker", "list"), outcomes)
    captured = capsys.readouterr()
    assert isinstance(leaving.value.code, int)
    return leaving.value.code, captured.out, captured.err


def test_several_pools_share_a_table_and_their_errors_get_a_line_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    evil = WORKER | {"id": "x\x1b[2Jy", "status": "ready\x07"}
    code, out, err = shown(
        capsys,
        [
            outcome_of("mac", Answer({"workers": [WORKER]})),
            outcome_of("lab", Answer({"workers": [evil]})),
            outcome_of("away", ConnectionRefused("away", "10.0.0.5:22 refused", "start sshd")),
            outcome_of("full", RemoteError("E_DISK", "no space", "llorch-pool models list")),
        ],
    )

    header, *rows = out.splitlines()
    assert header.startswith("POOL") and "WORKER" in header
    assert [row.split()[0] for row in rows] == ["mac", "lab"]
    assert "\x1b" not in out and "\x07" not in out
    assert err.splitlines() == [
        "error: away: 10.0.0.5:22 refused; start sshd",
        "error: full: no space; llorch pool models list --pool full",
        "4 pools: 2 ok, 1 unreachable, 1 failed",
    ]
    assert code == ExitCode.FAILED


def test_one_pool_answers_as_llorch_pool_would(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, [outcome_of("mac", Answer({"workers": [WORKER]}))])

    assert "POOL" not in out and "ref-llama-cpu-1a2b" in out
    assert (code, err) == (0, "")


def test_one_pool_that_fails_raises_what_it_said() -> None:
    error = RemoteError("E_UNKNOWN", "no such model", "llorch-pool models list", ExitCode.USAGE)

    with pytest.raises(RemoteError, match="no such model; llorch pool models list --pool mac"):
        show_answers(Console(), ("worker", "list"), [outcome_of("mac", error)])


def test_an_answer_in_another_form_is_an_error_and_no_crash() -> None:
    with pytest.raises(LlorchError, match="mac: answered in a form .* see it with --json"):
        show_answers(Console(), ("worker", "list"), [outcome_of("mac", Answer({"things": 1}))])


def test_json_has_every_pool_in_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(
        capsys,
        [
            outcome_of("mac", OK),
            outcome_of("ill", Answer({"sick": 1}, ok=False, exit_code=ExitCode.FAILED)),
            outcome_of("away", ConnectionRefused("away", "refused", "start sshd")),
        ],
        json_lines=True,
    )

    assert json.loads(out.splitlines()[-1]) == {
        "t": "result",
        "ok": False,
        "data": {
            "pools": {
                "mac": {"ok": True, "data": {"workers": []}},
                "ill": {"ok": False, "data": {"sick": 1}},
                "away": {
                    "ok": False,
                    "error": {
                        "code": "E_REFUSED",
                        "msg": "away: refused",
                        "remedy": "start sshd",
                        "exit": 3,
                        "details": {"pool": "away"},
                    },
                },
            }
        },
    }
    assert (code, err) == (ExitCode.FAILED, "")
