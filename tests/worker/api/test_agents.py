"""`/v1/agents`: made, looked at, asked, doubled and deleted, over a scripted model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import FINGERPRINT, ApiServer, serve_api
from tests.rigs.http import Answer, call, eventually, open_stream, read_until
from worker.engine.cache.archive import Archive
from worker.engine.cache.disk import DiskStore

AGENTS = "/v1/agents"
TEXT = "once there was a stone in a river " * 10


@pytest.fixture
def own() -> Iterator[ApiServer]:
    """It answers with the prompt again, and keeps what leaves the context in RAM."""
    with serve_api(FakeRunner(), archive=Archive(ram_bytes=1 << 20)) as server:
        yield server


@contextmanager
def with_disk(folder: Path, **options: Any) -> Iterator[ApiServer]:
    archive = Archive(ram_bytes=1 << 20, disk=DiskStore(folder, FINGERPRINT, 1 << 30))
    with serve_api(FakeRunner(**options), archive=archive) as server:
        yield server


def path(name: str, *rest: str) -> str:
    return "/".join([AGENTS, quote(name, safe=""), *rest])


def create(server: ApiServer, name: str, **fields: Any) -> Answer:
    return call(server.url, AGENTS, {"name": name, **fields})


def show(server: ApiServer, name: str) -> dict[str, Any]:
    answer = call(server.url, path(name))
    assert answer.status == 200, answer.text
    facts: dict[str, Any] = answer.json()
    return facts


def generate(server: ApiServer, name: str, **fields: Any) -> dict[str, Any]:
    """The whole answer."""
    body = {"max_tokens": 4, "stream": False, "metrics": True, **fields}
    answer = call(server.url, path(name, "generate"), body)
    assert answer.status == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


def refusal(answer: Answer) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert error["request_id"] and error["message"]
    return answer.status, error["code"], error.get("field")


def test_an_agent_is_made_looked_at_and_deleted(own: ApiServer) -> None:
    before = time.time()
    made = create(own, "ada")
    assert made.status == 201
    facts = made.json()
    assert facts == show(own, "ada")
    assert (facts["name"], facts["status"], facts["tier"]) == ("ada", "idle", "none")
    assert (facts["tokens"], facts["blocks"], facts["turns"], facts["hits"]) == (0, 0, 0, 0)
    assert facts["bytes"] == {"context": 0, "ram": 0, "disk": 0}
    for field in ("created_at", "last_used_at"):
        assert before - 1 < datetime.fromisoformat(facts[field]).timestamp() < time.time() + 1
    gone = call(own.url, path("ada"), method="DELETE")
    assert (gone.status, gone.json()) == (200, {"name": "ada", "deleted": True})
    assert refusal(call(own.url, path("ada")))[:2] == (404, "AGENT_NOT_FOUND")


def test_a_name_is_made_for_those_that_have_none(own: ApiServer) -> None:
    names = {call(own.url, AGENTS, {}).json()["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(show(own, name)["tokens"] == 0 for name in names)


def test_a_name_is_taken_once(own: ApiServer) -> None:
    create(own, "ada")
    assert refusal(create(own, "ada")) == (409, "AGENT_EXISTS", "name")
    call(own.url, "/execute", {"job_id": "j", "prompt": TEXT, "max_tokens": 1, "agent": "ben"})
    assert refusal(create(own, "ben")) == (409, "AGENT_EXISTS", "name")


@pytest.mark.parametrize(
    "name", ["Zoë 7", "a/b", "a/generate", "100%", "%2F", "?x=1", "a#b", "ж" * 128]
)
def test_any_name_fits_into_a_path(own: ApiServer, name: str) -> None:
    assert create(own, name, prompt=TEXT).status == 201
    assert show(own, name)["name"] == name
    assert generate(own, name, prompt=" more")["tokens_out"] == 4
    assert call(own.url, path(name, "fork"), {"name": "twin"}).status == 201
    assert call(own.url, path(name), method="DELETE").status == 200
    assert refusal(call(own.url, path(name)))[0] == 404


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "\u200b"])
def test_an_unfit_name_is_refused_in_body_and_path(own: ApiServer, name: str) -> None:
    assert refusal(create(own, name)) == (400, "INVALID_REQUEST", "name")
    if name:
        assert refusal(call(own.url, path(name))) == (400, "INVALID_REQUEST", "name")
    assert refusal(call(own.url, f"{AGENTS}/%ff")) == (400, "INVALID_REQUEST", "name")


def test_what_is_made_with_a_prompt_has_it_computed(own: ApiServer) -> None:
    facts = create(own, "ada", prompt=TEXT).json()
    assert (facts["tier"], facts["tokens"]) == ("hot", len(TEXT) + 1)  # and the BOS
    assert facts["blocks"] == 2
    sent = {"prompt": TEXT + "and then", "reproducible": False, "metrics": True, "job_id": "j"}
    metrics = call(own.url, "/execute", sent | {"agent": "ada"}).events[-2]
    assert metrics["cached_tokens"] == len(TEXT) + 1


def test_what_is_made_with_messages_and_tools_has_them_computed(own: ApiServer) -> None:
    system = {"role": "system", "content": TEXT}
    tool = {"name": "look", "parameters": {"type": "object"}}
    for name, tools in (("ada", [tool]), ("ben", [{"type": "function", "function": tool}])):
        facts = create(own, name, messages=[system], tools=tools).json()
        assert facts["tokens"] > len(TEXT)
    whole = generate(own, "ada", messages=[system, {"role": "user", "content": "?"}], tools=[tool])
    assert whole["metrics"]["cached_tokens"] > len(TEXT)


def test_what_cannot_be_computed_is_not_made(own: ApiServer) -> None:
    answer = create(own, "ada", prompt="x" * 10_000)
    assert refusal(answer) == (400, "PROMPT_TOO_LONG", "prompt")
    own.runner.error = RuntimeError("broken")
    assert refusal(create(own, "ada", prompt=TEXT))[:2] == (503, "INTERNAL")
    assert refusal(call(own.url, path("ada")))[0] == 404


def test_turns_go_on_from_the_text(own: ApiServer) -> None:
    """The fake repeats the prompt: each turn's answer shows where its prompt began."""
    create(own, "ada", prompt=TEXT)
    asked: list[tuple[int, ...]] = []
    for n in range(4):
        text = show(own, "ada")["tokens"]
        whole = generate(own, "ada", prompt=f" turn {n}")
        asked.append(own.runner.batches[-1].items[0].seq.request.prompt)
        assert whole["text"] == TEXT[:4]
        metrics = whole["metrics"]
        assert metrics["prompt_tokens"] == text + len(" turn 0")
        assert metrics["cached_tokens"] >= text - 1
        assert show(own, "ada")["tokens"] == metrics["prompt_tokens"] + 4
    said = bytes(asked[-1][1:]).decode()
    assert said == TEXT + "".join(f" turn {n}{TEXT[:4]}" for n in range(3)) + " turn 3"
    facts = show(own, "ada")
    assert (facts["turns"], facts["hits"], facts["tier"]) == (5, 4, "hot")


def test_a_text_goes_on_by_itself_and_from_nothing(own: ApiServer) -> None:
    create(own, "ada")
    assert refusal(call(own.url, path("ada", "generate"), {}))[2] == "prompt"
    assert generate(own, "ada", prompt="Hi")["text"] == "HiHi"
    before = show(own, "ada")["tokens"]
    assert generate(own, "ada")["metrics"]["prompt_tokens"] == before


@pytest.mark.parametrize("reproducible", [False, True])
def test_a_turn_streams_the_events_of_execute(own: ApiServer, reproducible: bool) -> None:
    create(own, "ada", prompt=TEXT, reproducible=reproducible)
    body = {"prompt": "!", "max_tokens": 2, "metrics": True, "reproducible": reproducible}
    events = call(own.url, path("ada", "generate"), body).events
    assert events[0] == {"type": "started", "job_id": "ada"}
    assert [event["type"] for event in events[1:]] == ["token", "token", "metrics", "end"]
    assert events[-2]["cached_tokens"] >= 256
    assert events[-1] == {"type": "end", "tokens_out": 2, "stop_reason": "LENGTH"}


def test_whole_and_stream_say_the_same(own: ApiServer) -> None:
    fields = {"prompt": "!", "max_tokens": 6, "logprobs": 1, "stop": "th"}
    for name in ("ada", "ben"):
        create(own, name, prompt=TEXT)
    events = call(own.url, path("ada", "generate"), fields).events
    whole = generate(own, "ben", **fields, metrics=False)
    tokens = [event for event in events if "id" in event]
    assert whole["tokens"] == tokens
    assert whole["text"] == "".join(e["t"] for e in events if e["type"] == "token")
    end = {"type": "end", "tokens_out": whole["tokens_out"], "stop_reason": whole["stop_reason"]}
    assert events[-1] == end


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": 5}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x"}], "prompt": "y"}, "prompt"),
        ({"prompt": "x", "tools": [{"name": "f"}]}, "tools"),
        ({"prompt": "x", "temperature": 3.0}, "temperature"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "x", "agent": "ben"}, "agent"),
        ({"prompt": "x", "nonsense": 1}, "nonsense"),
    ],
)
def test_what_is_wrong_is_named(own: ApiServer, body: dict[str, Any], field: str) -> None:
    create(own, "ada", prompt="x")
    assert refusal(call(own.url, path("ada", "generate"), body)) == (400, "INVALID_REQUEST", field)


def test_who_is_not_there_is_404_everywhere(own: ApiServer) -> None:
    for method, rest, body in (
        ("GET", (), None),
        ("DELETE", (), None),
        ("POST", ("generate",), {"prompt": "x"}),
        ("POST", ("fork",), {"name": "y"}),
        ("POST", ("spill",), None),
        ("GET", ("cache",), None),
    ):
        answer = call(own.url, path("nobody", *rest), body, method=method)
        assert refusal(answer) == (404, "AGENT_NOT_FOUND", "name")
    assert refusal(call(own.url, path("y")))[0] == 404


def test_the_list_has_pages(own: ApiServer) -> None:
    names = sorted(f"agent {n}" for n in range(7))
    for name in names:
        create(own, name)
    whole = call(own.url, AGENTS).json()
    assert [one["name"] for one in whole["agents"]] == names
    assert whole["has_more"] is False and whole["last_name"] == names[-1]
    seen, after, more = [], "", True
    while more:
        page = call(own.url, f"{AGENTS}?limit=3&after={quote(after)}").json()
        seen += [one["name"] for one in page["agents"]]
        after, more = page["last_name"], page["has_more"]
    assert seen == names
    assert call(own.url, f"{AGENTS}?after=z").json() == {
        "agents": [],
        "has_more": False,
        "last_name": None,
    }
    for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit")):
        assert refusal(call(own.url, f"{AGENTS}?{query}")) == (400, "INVALID_REQUEST", field)


@contextmanager
def one_at_work(server: ApiServer, name: str) -> Iterator[None]:
    server.runner.gate.clear()
    stream = open_stream(server.url, path(name, "generate"), {"prompt": "!", "max_tokens": 900})
    with stream:
        read_until(stream, b"started")
        yield
    server.runner.gate.set()


def test_what_is_at_work_is_left_alone(own: ApiServer) -> None:
    create(own, "ada", prompt=TEXT)
    own.runner.step_s = 0.01
    with open_stream(own.url, path("ada", "generate"), {"prompt": "!", "max_tokens": 900}) as talk:
        read_until(talk, b'"i":0')
        assert show(own, "ada")["status"] == "running"
        for method, rest, body in (
            ("DELETE", (), None),
            ("POST", ("generate",), {"prompt": "x"}),
            ("POST", ("fork",), {"name": "ben"}),
            ("POST", ("spill",), None),
            ("GET", ("cache",), None),
            ("PUT", ("cache",), b"x"),
        ):
            answer = call(own.url, path("ada", *rest), body, method=method)
            assert refusal(answer)[:2] == (409, "AGENT_BUSY"), answer.text
            assert answer.headers["retry-after"] == "1"
        assert refusal(call(own.url, path("ben")))[0] == 404
        gone = call(own.url, path("ada") + "?cancel=true", method="DELETE")
        assert gone.status == 200
        assert b"CANCELLED" in read_until(talk, b'"stop_reason"') + talk.recv(100)
    assert refusal(call(own.url, path("ada")))[0] == 404
    assert own.runner.used_cells == 0


def test_a_turn_can_be_cancelled_by_the_agents_name(own: ApiServer) -> None:
    create(own, "ada", prompt=TEXT)
    own.runner.step_s = 0.01
    with open_stream(own.url, path("ada", "generate"), {"prompt": "!", "max_tokens": 900}) as talk:
        read_until(talk, b'"i":3')
        assert call(own.url, "/cancel", {"job_id": "ada"}).json() == {"cancelled": 1}
        read_until(talk, b"CANCELLED")
    assert show(own, "ada")["tokens"] >= len(TEXT) + 5


@pytest.mark.parametrize("tier", ["hot", "warm", "cold"])
@pytest.mark.parametrize("survivor", ["ada", "ben"])
def test_a_fork_has_the_cache_in_any_tier(tmp_path: Path, tier: str, survivor: str) -> None:
    with with_disk(tmp_path) as server:
        create(server, "ada", prompt=TEXT)
        generate(server, "ada", prompt=" and")
        if tier != "hot":
            call(server.url, path("ada", "spill"), method="POST")
            eventually(lambda: show(server, "ada")["bytes"]["disk"] > 0)
        if tier == "cold":
            text = show(server, "ada")["tokens"]
    if tier == "cold":
        with with_disk(tmp_path) as server:  # a worker that never heard of it
            fork_and_go_on(server, tier, survivor, text)
    else:
        with with_disk(tmp_path / "other") as server:
            create(server, "ada", prompt=TEXT)
            generate(server, "ada", prompt=" and")
            if tier == "warm":
                call(server.url, path("ada", "spill"), method="POST")
            fork_and_go_on(server, tier, survivor, show(server, "ada")["tokens"])


def fork_and_go_on(server: ApiServer, tier: str, survivor: str, text: int) -> None:
    assert show(server, "ada")["tier"] == tier
    steps = len(server.runner.batches)
    forked = call(server.url, path("ada", "fork"), {"name": "ben"})
    assert forked.status == 201, forked.text
    assert forked.json()["tokens"] == text
    assert forked.json()["tier"] == ("hot" if tier == "hot" else "warm")
    assert len(server.runner.batches) == steps  # nothing was computed
    lost = "ada" if survivor == "ben" else "ben"
    assert call(server.url, path(lost), method="DELETE").status == 200
    metrics = generate(server, survivor, prompt=" then")["metrics"]
    assert metrics["prompt_tokens"] == text + 5
    assert metrics["cached_tokens"] == text - 1


def test_a_fork_needs_a_free_name(own: ApiServer) -> None:
    create(own, "ada", prompt=TEXT)
    create(own, "ben")
    for name in ("ada", "ben"):
        answer = call(own.url, path("ada", "fork"), {"name": name})
        assert refusal(answer) == (409, "AGENT_EXISTS", "name")
    named = call(own.url, path("ada", "fork"), {}).json()["name"]
    assert show(own, named)["tokens"] == len(TEXT) + 1


def test_a_fork_of_nothing_is_nothing(own: ApiServer) -> None:
    create(own, "ada")
    assert call(own.url, path("ada", "fork"), {"name": "ben"}).json()["tier"] == "none"


def test_more_forks_than_there_are_slots(own: ApiServer) -> None:
    create(own, "ada", prompt=TEXT)
    for n in range(9):
        assert call(own.url, path("ada", "fork"), {"name": f"{n}"}).status == 201
    tiers = {show(own, f"{n}")["tier"] for n in range(9)}
    assert tiers <= {"hot", "warm"}
    for n in range(9):
        assert generate(own, f"{n}", prompt="!")["metrics"]["cached_tokens"] == len(TEXT) + 1


def test_a_fork_serves_reproducible_turns_too(own: ApiServer) -> None:
    create(own, "ada", prompt=TEXT, reproducible=True)
    assert call(own.url, path("ada", "fork"), {"name": "ben"}).status == 201
    metrics = generate(own, "ben", prompt="!", reproducible=True)["metrics"]
    assert metrics["cached_tokens"] == metrics["restored_tokens"] == 256


def test_what_is_deleted_is_gone_from_context_ram_and_disk(tmp_path: Path) -> None:
    with with_disk(tmp_path) as server:
        create(server, "ada", prompt=TEXT)
        generate(server, "ada", prompt=TEXT, reproducible=True)
        generate(server, "ada", prompt="!")
        eventually(lambda: show(server, "ada")["bytes"]["disk"] > 0)
        assert list(tmp_path.rglob("*.kv"))
        call(server.url, path("ada"), method="DELETE")
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        assert server.runner.used_cells == 0
        cache = call(server.url, "/health").json()["cache"]
        assert (cache["warm"]["count"], cache["hot"]["count"]) == (0, 0)
        ask = {"job_id": "j", "prompt": TEXT, "metrics": True, "max_tokens": 1, "agent": "ada"}
        assert call(server.url, "/execute", ask).events[-2]["cached_tokens"] == 0
    with with_disk(tmp_path / "none") as server:
        assert call(server.url, AGENTS).json()["agents"] == []


def test_an_agent_of_an_earlier_life_is_found(tmp_path: Path) -> None:
    with with_disk(tmp_path) as server:
        create(server, "ada", prompt=TEXT)
        generate(server, "ada", prompt=" and")
        text = show(server, "ada")["tokens"]
    with with_disk(tmp_path) as server:
        facts = show(server, "ada")
        assert (facts["tier"], facts["tokens"], facts["created_at"]) == ("cold", text, None)
        used = datetime.fromisoformat(facts["last_used_at"]).timestamp()
        assert abs(used - time.time()) < 60
        assert [one["name"] for one in call(server.url, AGENTS).json()["agents"]] == ["ada"]
        assert refusal(create(server, "ada"))[0] == 409
        generate(server, "ada", prompt=" then")
        prompt = bytes(server.runner.batches[-1].items[0].seq.request.prompt[1:]).decode()
        assert prompt == f"{TEXT} and{TEXT[:4]} then"


def test_one_agent_by_every_way(own: ApiServer) -> None:
    """By header, by the fields of the dialects, and by path: each finds what the others left."""
    talk = {"messages": [{"role": "user", "content": TEXT}]}
    chat = talk | {"model": "fake", "max_tokens": 1}
    assert create(own, "ada", **talk).status == 201

    usage = call(own.url, "/v1/chat/completions", chat | {"session_id": "ada"}).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= len(TEXT)

    header = {"X-Agent-Id": "ada"}
    usage = call(own.url, "/v1/chat/completions", chat, headers=header).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= len(TEXT)

    asked = chat | {"metadata": {"user_id": "ada"}}
    usage = call(own.url, "/v1/messages", asked).json()["usage"]
    assert usage["cache_read_input_tokens"] >= len(TEXT)

    whole = generate(own, "ada", **talk)
    assert whole["metrics"]["cached_tokens"] >= len(TEXT)
    facts = show(own, "ada")
    assert (facts["turns"], facts["hits"], facts["tier"]) == (5, 4, "hot")
    assert [one["name"] for one in call(own.url, AGENTS).json()["agents"]] == ["ada"]
