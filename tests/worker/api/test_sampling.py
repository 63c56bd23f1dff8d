"""What the APIs make of sampling fields: what the engine is given, and what is refused."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from tests.fakes.runner import FakeRunner
from tests.rigs.api_server import ApiServer, serve_api
from tests.rigs.http import call
from worker.api import sampling
from worker.engine.constraint import ConstraintSpec
from worker.engine.params import SamplingParams
from worker.llama.grammar import Grammar, GrammarCompiler

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}
ASK = {"job_id": "j", "prompt": "x"}
EXECUTE, CHATS = "/execute", "/v1/chat/completions"
YES_NO = 'root ::= "yes" | "no"'


def ask(server: ApiServer, path: str, **fields: Any) -> SamplingParams:
    """What the engine was told."""
    answer = call(server.url, path, (ASK if path == EXECUTE else CHAT) | fields)
    assert answer.status == 200, answer.text
    return server.runner.batches[-1].items[0].seq.request.params


def refusal(server: ApiServer, path: str, **fields: Any) -> dict[str, Any]:
    answer = call(server.url, path, (ASK if path == EXECUTE else CHAT) | fields)
    assert answer.status == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error | {"field": error.get("field", error.get("param"))}


def beginnings(params: SamplingParams) -> str:
    """The characters that the form lets an answer begin with."""
    assert params.constraint is not None
    allowed = np.flatnonzero(params.constraint.start().allowed()[:256])
    return bytes(allowed.tolist()).decode()


GIVEN = {
    "typical_p": 0.5,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repeat_last_n": 64,
    "dry_multiplier": 0.8,
    "dry_base": 2,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": -1,
    "xtc_probability": 0.5,
    "xtc_threshold": 0.2,
    "mirostat": 2,
    "mirostat_tau": 4,
    "mirostat_eta": 0.2,
}


@pytest.mark.parametrize("path", [EXECUTE, CHATS])
def test_fields_reach_the_engine_and_null_is_the_default(server: ApiServer, path: str) -> None:
    params = ask(server, path, **GIVEN, dry_sequence_breakers=["\n", "x"])
    assert {name: getattr(params, name) for name in GIVEN} == GIVEN
    assert params.dry_sequence_breakers == ("\n", "x")
    none: dict[str, Any] = dict.fromkeys([*GIVEN, "dry_sequence_breakers", "logit_bias"])
    default = ask(server, path, **none)
    assert {name: getattr(default, name) for name in GIVEN} == {
        name: getattr(SamplingParams(), name) for name in GIVEN
    }


@pytest.mark.parametrize("path", [EXECUTE, CHATS])
def test_a_bias_is_written_as_in_either_api(server: ApiServer, path: str) -> None:
    expected = ((65, 1.5), (66, -math.inf))
    assert ask(server, path, logit_bias={"65": 1.5, "66": False}).logit_bias == expected
    assert ask(server, path, logit_bias=[[65, 1.5], ["66", False]]).logit_bias == expected
    unknown = refusal(server, path, logit_bias={"258": 1})
    assert unknown["field"] == "logit_bias" and "258" in unknown["message"]


def test_execute_takes_a_schema_a_grammar_or_a_regex(server: ApiServer) -> None:
    assert ask(server, EXECUTE).constraint is None
    assert beginnings(ask(server, EXECUTE, json_schema={"type": "boolean"})) == "ft"
    assert beginnings(ask(server, EXECUTE, grammar=YES_NO)) == "ny"
    assert beginnings(ask(server, EXECUTE, grammar='%llguidance {}\nstart: "a"')) == "a"
    assert beginnings(ask(server, EXECUTE, regex="[xyz]+")) == "xyz"
    assert refusal(server, EXECUTE, grammar=YES_NO, regex="x")["field"] == "regex"
    assert refusal(server, EXECUTE, regex="(")["field"] == "regex"
    assert refusal(server, EXECUTE, json_schema={"type": "wizard"})["field"] == "json_schema"


def test_chat_takes_response_formats_and_a_grammar(server: ApiServer) -> None:
    def of(format_: Any) -> SamplingParams:
        return ask(server, CHATS, response_format=format_)

    schema = {"name": "b", "schema": {"type": "boolean"}, "strict": True, "description": "d"}
    assert of({"type": "text"}).constraint is None
    assert beginnings(of({"type": "json_object"})) == "{"
    assert beginnings(of({"type": "json_schema", "json_schema": schema})) == "ft"
    assert beginnings(ask(server, CHATS, grammar=YES_NO)) == "ny"


def test_only_a_strict_schema_must_be_kept_whole(server: ApiServer) -> None:
    schema = {"type": "array", "items": {"type": "null"}, "uniqueItems": True}

    def format_(**extra: Any) -> Any:
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema} | extra}

    assert beginnings(ask(server, CHATS, response_format=format_())) == "["
    error = refusal(server, CHATS, response_format=format_(strict=True))
    assert "uniqueItems" in error["message"]


def test_without_a_compiler_a_form_is_refused_by_name() -> None:
    with serve_api(compiler=None) as server:
        assert refusal(server, EXECUTE, regex="x")["field"] == "regex"
        ask(server, EXECUTE)


class StuckCompiler(GrammarCompiler):
    """Compiles nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__(FakeRunner().vocab)
        self.gate = threading.Event()

    def compile(self, spec: ConstraintSpec) -> Grammar:
        self.gate.wait()
        return super().compile(spec)


def test_a_form_that_takes_too_long_is_refused_and_those_behind_it_may_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "COMPILE_LIMIT_S", 0.05)
    compiler = StuckCompiler()
    with serve_api(compiler=compiler) as server:
        try:
            for _ in range(2):
                assert "to compile" in refusal(server, EXECUTE, regex="x")["message"]
            behind = call(server.url, EXECUTE, ASK | {"regex": "x"})
            assert behind.status == 503 and "retry-after" in behind.headers
        finally:
            compiler.gate.set()
