"""The conversation with a pool that misbehaves, over real pipes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from llorch_ctl.client import AgentCall, Patience
from llorch_ctl.errors import Lost, NoAgent, ProtocolError, VersionSkew
from llorch_ctl.inventory import Pool
from llorch_ctl.local import LocalTransport, ProcessPipe
from llorch_ctl.transport import Answer
from pool_core.errors import Cancelled, ExitCode, LlorchError, RemoteError
from pool_core.events import Event, Hello, Log, Progress, State, Warning
from pool_core.home import Home
from pool_core.wording import plain
from tests.llorch_ctl.conftest import MakePool
from tests.llorch_ctl.driving import ask


def transport_to(pool: Pool, home: Home) -> LocalTransport:
    return LocalTransport(pool.name, home, pool.command)


def impatient(pool: Pool, argv: list[str], **patience: float) -> Answer:
    """A request by somebody who waits only so long."""
    pipe = ProcessPipe([str(pool.command), "stdio"], {}, stop_s=0.2)
    try:
        work = AgentCall(pool.name, pipe, Patience(**patience)).run(argv, {})
        while True:
            try:
                next(work)
            except StopIteration as stop:
                answer: Answer = stop.value
                return answer
    finally:
        pipe.release()


@pytest.mark.parametrize(
    "words",
    [
        ["it's", 'say "hi"', "$(id)", "`id`", "a\\b"],
        ["two\nlines", "tab\there", "🙂", "café", ""],
        ["--pool", "--", "-x", "!1", "%s"],
    ],
)
def test_arguments_arrive_as_they_are(fake_pool: MakePool, home: Home, words: list[str]) -> None:
    with transport_to(fake_pool(), home) as transport:
        _, answer = ask(transport, ["echo", *words])

    assert answer.data["words"] == words


def test_secrets_travel_in_the_request(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport:
        work = transport.call(["echo"], secrets={"hf_token": "s3cret"})
        assert isinstance(next(work), Hello)
        with pytest.raises(StopIteration) as stop:
            next(work)

    assert stop.value.value["secrets"] == {"hf_token": "s3cret"}


def test_events_come_in_their_order(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport:
        events, answer = ask(transport, ["count", "3"])

    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert answer == Answer({"counted": 3})


def test_what_the_shell_prints_before_hello_is_noise(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool("noisy"), home) as transport:
        events, answer = ask(transport, ["echo", "x"])

    assert events == []
    assert answer.data["words"] == ["x"]


def test_twenty_megabytes_on_both_streams_at_once(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport:
        events, answer = ask(transport, ["flood", "20"])

    assert len(events) == 20 * 1024
    assert answer.data == {"megabytes": 20}


def test_strange_lines_are_counted_and_survived(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport:
        events, answer = ask(transport, ["strange"])

    assert answer.data == {"fine": True}
    assert events == [
        Log("caf\ufffd"),
        Warning("ignored 2 lines that are not events", "W_LINE"),
        Warning("ignored 1 lines over 256 KiB", "W_LINE"),
    ]


def test_an_error_of_the_pool_is_raised_as_it_was_said(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport, pytest.raises(RemoteError) as caught:
        ask(transport, ["fail", "E_DISK", "2"])

    error = caught.value
    assert (error.code, error.exit_code, str(error)) == (
        "E_DISK",
        ExitCode.USAGE,
        "it broke; mend it",
    )
    assert error.details == {"code": "x", "message": "y"}


def test_an_answer_may_say_that_something_is_wrong(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport:
        _, answer = ask(transport, ["unwell"])

    assert answer == Answer({"sick": True}, ok=False, exit_code=ExitCode.FAILED)


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("old", VersionSkew, r"0\.0\.9 there speaks protocol 0 to 0.*upgrade llorch on fake"),
        ("new", VersionSkew, r"9\.0 there speaks protocol 2 to 3.*upgrade llorch on this machine"),
        ("exit:127", NoAgent, "not installed; install llorch there"),
        ("exit:126:Permission denied", NoAgent, 'cannot be executed: "Permission denied"'),
        ("exit:1:This account is not available.", NoAgent, "ended with status 1 .*not available"),
    ],
)
def test_a_pool_that_does_not_come_to_hello(
    fake_pool: MakePool, home: Home, mode: str, kind: type[LlorchError], words: str
) -> None:
    with transport_to(fake_pool(mode), home) as transport, pytest.raises(kind, match=words):
        ask(transport, ["echo"])


def test_a_near_version_is_a_note_and_no_more(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool("close"), home) as transport:
        events, answer = ask(transport, ["echo", "x"])

    assert events == [Log("llorch 0.1.7 there, 0.1.0 here", level="note")]
    assert answer.ok


def test_no_hello_in_time(fake_pool: MakePool) -> None:
    with pytest.raises(ProtocolError, match=r"did not say hello in 0\.3 s"):
        impatient(fake_pool("silent"), ["echo"], hello=0.3)


def test_a_pool_that_falls_silent_is_lost(fake_pool: MakePool) -> None:
    with pytest.raises(Lost, match=r"fake: nothing heard for 0\.5 s"):
        impatient(fake_pool(), ["hang"], silence=0.5)


def test_a_pool_that_lives_and_works_long_is_not_lost(fake_pool: MakePool) -> None:
    """It answers each of our heartbeats, so three silences pass and none of them counts."""
    pool = fake_pool()
    pipe = ProcessPipe([str(pool.command), "stdio"], {}, stop_s=0.2)
    cancel = threading.Event()
    work = AgentCall(pool.name, pipe, Patience(silence=1.0, pulse=0.3)).run(["stay"], {}, cancel)
    timer = threading.Timer(3.0, cancel.set)
    try:
        timer.start()
        with pytest.raises(Cancelled):
            for _ in work:
                pass
        assert cancel.is_set()
    finally:
        timer.cancel()
        pipe.release()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["leave", "3"], 'ended with status 3 and no answer: "Traceback: it broke"'),
        (["leave", "0"], "ended with status 0 and no answer"),
        (["die", "9"], "llorch-pool was killed"),
    ],
)
def test_an_end_without_an_answer_is_lost(
    fake_pool: MakePool, home: Home, argv: list[str], words: str
) -> None:
    with transport_to(fake_pool(), home) as transport, pytest.raises(Lost, match=words) as caught:
        ask(transport, argv)

    assert caught.value.exit_code is ExitCode.UNREACHABLE


def test_cancel_asks_the_pool_and_waits_for_its_word(fake_pool: MakePool, home: Home) -> None:
    pool, cancel = fake_pool(), threading.Event()
    events: list[Event] = []
    with transport_to(pool, home) as transport:
        work = transport.request(["stay"], cancel=cancel)
        with pytest.raises(Cancelled, match="cancelled") as caught:
            for event in work:
                events.append(event)
                if isinstance(event, State):
                    cancel.set()

    assert caught.value.exit_code is ExitCode.CANCELLED
    assert note_of(pool) == "cancelled"


def test_a_pool_that_ignores_the_cancel_is_left(fake_pool: MakePool) -> None:
    pool, cancel = fake_pool(), threading.Event()
    pipe = ProcessPipe([str(pool.command), "stdio"], {}, stop_s=0.2)
    work = AgentCall(pool.name, pipe, Patience(cancel=0.3)).run(["hang"], {}, cancel)
    assert isinstance(next(work), Hello)
    assert isinstance(next(work), State)
    cancel.set()

    with pytest.raises(Cancelled, match="did not say how far it came"):
        next(work)

    pipe.release()
    assert pipe.wait(0) is not None


def test_a_pool_that_talks_on_after_the_cancel_is_left(fake_pool: MakePool) -> None:
    pool, cancel = fake_pool(), threading.Event()
    pipe = ProcessPipe([str(pool.command), "stdio"], {}, stop_s=0.2)
    work = AgentCall(pool.name, pipe, Patience(cancel=0.3)).run(["chatter"], {}, cancel)
    assert isinstance(next(work), Hello)
    cancel.set()

    with pytest.raises(Cancelled, match="did not say how far it came"):
        for _ in work:
            pass

    pipe.release()


def test_a_shell_that_babbles_for_ever_is_no_pool(fake_pool: MakePool) -> None:
    with pytest.raises(ProtocolError, match='instead came "Welcome to the lab"'):
        impatient(fake_pool("babbling"), ["echo"], hello=0.5)


def test_closing_the_generator_ends_the_lease(fake_pool: MakePool, home: Home) -> None:
    pool = fake_pool()
    with transport_to(pool, home) as transport:
        work = transport.request(["stay"])
        while not isinstance(next(work), State):
            pass
        work.close()

    assert note_of(pool) == "end of input"


def test_closing_the_transport_ends_its_calls(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport:
        work = transport.request(["stay"])
        while not isinstance(next(work), State):
            pass
        transport.close()
        with pytest.raises(Lost):
            next(work)


def test_control_characters_of_a_pool_are_shown_not_obeyed(fake_pool: MakePool, home: Home) -> None:
    with transport_to(fake_pool(), home) as transport:
        [event], _ = ask(transport, ["colours"])

    assert isinstance(event, Log)
    assert plain(event.msg) == r"\x1b[31mred\x1b[0m [bold]not markup[/bold] \x202egnihton"


def note_of(pool: Pool) -> str:
    assert pool.command is not None
    return (Path(pool.command).parent / "note").read_text()
