"""`.specs/schemas` and `.specs/worker-events.json` are true: real streams and answers fit them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from pool_core.spawn.report import WorkerStatus
from tests.fakes.hashing_runner import HashingRunner
from tests.fakes.runner import FakeRunner, broken
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call, open_stream, parse_events, read_rest, read_until
from worker.api.schemas.agents import AgentGenerateRequest, CreateAgentRequest, ForkRequest
from worker.api.schemas.execute import CancelRequest, ExecuteRequest
from worker.engine.cache.archive import Archive

SPECS = Path(__file__).resolve().parents[3] / ".specs"
SCHEMAS = {
    path.name: json.loads(path.read_text()) for path in (SPECS / "schemas").glob("*.schema.json")
}
EVENTS = json.loads((SPECS / "worker-events.json").read_text())
REGISTRY: Registry[Any] = Registry().with_resources(
    [(name, DRAFT202012.create_resource(one)) for name, one in SCHEMAS.items()]
)
TEXT = "once there was a stone in a river " * 10
ASK = {"job_id": "j", "prompt": TEXT, "max_tokens": 3}


def check(value: Any, name: str) -> None:
    """Raises ValidationError unless the value fits the schema, or the part of it behind a #."""
    file, _, part = name.partition("#")
    ref = f"{file}.schema.json" + (f"#{part}" if part else "")
    formats = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator({"$ref": ref}, registry=REGISTRY, format_checker=formats).validate(value)


def check_stream(events: list[Any], channel: str) -> list[str]:
    """Every event is one of the channel's, in its order; their types."""
    messages = EVENTS["channels"][channel]["messages"]
    types = [event["type"] for event in events]
    for event in events:
        message = EVENTS["components"]["messages"][messages[event["type"]]["$ref"].split("/")[-1]]
        ref = message["payload"]["$ref"].removeprefix("schemas/")
        check(event, ref.replace(".schema.json", ""))
    order = "".join(f"({_pattern(step)})" for step in EVENTS["operations"][channel]["x-order"])
    assert re.fullmatch(order, "".join(f"{one}," for one in types)), types
    return types


def _pattern(step: str) -> str:
    """ "token*" as an expression over "token,token,"."""
    return re.sub(r"\w+", lambda name: f"(?:{name.group()},)", step).replace(" ", "")


@pytest.fixture
def own() -> Iterator[ApiServer]:
    with serve_api(FakeRunner(), archive=Archive(ram_bytes=1 << 20)) as server:
        yield server


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    resolver = REGISTRY.resolver()
    for message in EVENTS["components"]["messages"].values():
        resolver.lookup(message["payload"]["$ref"].removeprefix("schemas/"))
    for channel in EVENTS["channels"].values():
        for message in channel["messages"].values():
            assert message["$ref"].split("/")[-1] in EVENTS["components"]["messages"]
    assert set(EVENTS["operations"]) == set(EVENTS["channels"])


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"metrics": True},
        {"logprobs": 2},
        {"stop": "on"},
        {"reproducible": False, "metrics": True},
        {"agent": "ada", "max_tokens": 1},
    ],
)
def test_streams_of_execute_are_as_described(own: ApiServer, extra: dict[str, Any]) -> None:
    check(ASK | extra, "execute-request")
    types = check_stream(call(own.url, "/execute", ASK | extra).events, "execute")
    assert ("metrics" in types) == ("metrics" in extra) and types[-1] == "end"


def test_a_stream_that_breaks_or_is_cancelled_is_as_described(own: ApiServer) -> None:
    own.runner.error = broken()
    types = check_stream(call(own.url, "/execute", ASK).events, "execute")
    assert types == ["started", "error"]
    own.runner.step_s = 0.01
    with open_stream(own.url, "/execute", ASK | {"max_tokens": 900}) as stream:
        head = read_until(stream, b'"i":2')
        answer = call(own.url, "/cancel", {"job_id": "j"}).json()
        raw = head + read_rest(stream)
    check(answer, "cancel-answer")
    assert answer == {"cancelled": 1}
    body = b"".join(re.findall(rb"data: [^\r\n]*\n\n", raw)).decode()
    assert check_stream(list(parse_events(body)), "execute")[-1] == "end"


def test_what_agents_are_asked_and_say_is_as_described(own: ApiServer) -> None:
    agent = "/v1/agents/ada"
    messages = [{"role": "system", "content": TEXT}, {"role": "user", "content": "?"}]
    tools = [{"name": "look", "parameters": {"type": "object"}}]
    create = {"name": "ada", "messages": messages, "tools": tools}
    check(create, "agent-create-request")
    check(call(own.url, "/v1/agents", create).json(), "agent")
    ask = {"messages": messages, "tools": tools, "max_tokens": 3, "metrics": True}
    check(ask, "agent-generate-request")
    events = call(own.url, f"{agent}/generate", ask).events
    assert check_stream(events, "agentGenerate")[-2:] == ["metrics", "end"]
    for extra in ({}, {"logprobs": 1}):
        whole = {"prompt": "!", "max_tokens": 3, "stream": False, "metrics": True} | extra
        check(whole, "agent-generate-request")
        check(call(own.url, f"{agent}/generate", whole).json(), "agent-answer")
    check(call(own.url, f"{agent}/spill", method="POST").json(), "agent")
    check({"name": "ben"}, "agent-fork-request")
    check(call(own.url, f"{agent}/fork", {"name": "ben"}).json(), "agent")
    check(call(own.url, agent).json(), "agent")
    data = call(own.url, f"{agent}/cache").raw
    check(call(own.url, "/v1/agents/c/cache", data, method="PUT").json(), "agent")
    check(call(own.url, "/v1/agents").json(), "agent-list")
    check(call(own.url, agent, method="DELETE").json(), "agent-deleted")


@pytest.mark.parametrize(
    ("path", "body", "method"),
    [
        ("/execute", {"job_id": "j"}, "POST"),
        ("/execute", ASK | {"prompt": "x" * 5000}, "POST"),
        ("/nowhere", None, "GET"),
        ("/cancel", {}, "POST"),
        ("/v1/agents/nobody", None, "GET"),
        ("/v1/agents/ada/cache", b"nonsense", "PUT"),
        ("/v1/agents?limit=0", None, "GET"),
    ],
)
def test_refusals_are_as_described(own: ApiServer, path: str, body: Any, method: str) -> None:
    answer = call(own.url, path, body, method=method)
    assert answer.status >= 400
    check(answer.json(), "worker-error")


@pytest.mark.parametrize("status", [WorkerStatus.STARTING, WorkerStatus.READY])
def test_health_is_as_described(status: WorkerStatus) -> None:
    with serve_api(FakeRunner(), status=status, archive=Archive(ram_bytes=1 << 20)) as server:
        facts = call(server.url, "/health").json()
    check(facts, "health")
    assert ("cache" in facts) == (status is WorkerStatus.READY)


def test_the_self_tests_stream_is_as_described() -> None:
    with serve_api(HashingRunner(), archive=Archive(ram_bytes=1 << 24)) as server:
        events = call(server.url, "/self-test", {}).events
    for event in events:
        check(event, "self-test-event")
    types = check_stream(events, "selfTest")
    assert {"progress", "check"} < set(types)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("execute-request", ExecuteRequest),
        ("cancel-request", CancelRequest),
        ("agent-create-request", CreateAgentRequest),
        ("agent-generate-request", AgentGenerateRequest),
        ("agent-fork-request", ForkRequest),
    ],
)
def test_requests_have_the_fields_and_defaults_that_are_described(name: str, model: Any) -> None:
    described = SCHEMAS[f"{name}.schema.json"]["properties"]
    assert set(described) == set(model.model_fields)
    for field, about in described.items():
        if "default" in about:
            assert about["default"] == model.model_fields[field].default, field


BAD: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("agent", lambda it: it | {"tier": "lukewarm"}),
    ("agent", lambda it: {key: it[key] for key in it if key != "bytes"}),
    ("agent", lambda it: it | {"created_at": 5}),
    ("agent", lambda it: it | {"more": 1}),
]


@pytest.mark.parametrize(("name", "spoil"), BAD)
def test_the_schemas_say_no_to_something(
    own: ApiServer, name: str, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    good = call(own.url, "/v1/agents", {"name": "ada"}).json()
    with pytest.raises(ValidationError):
        check(spoil(good), name)
