"""Calls that a real model is made to write are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.chat.parsers.shapes import FAMILIES, called, said
from tests.worker.llama.generation import new_engine
from worker.chat.messages import ChatMessage, Conversation, Tool, ToolChoice, ToolMode
from worker.chat.parsers.answer_format import AnswerFormat
from worker.chat.parsers.stepped import merged
from worker.engine.events import Finished, TokenEvent
from worker.engine.params import SamplingParams
from worker.engine.request import GenerateRequest
from worker.llama.grammar import GrammarCompiler
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner

REFERENCE = Path(__file__).parents[3] / "catalogs" / "reference"
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
MADE_TO_CALL = Conversation(
    (ChatMessage("user", "What is the weather?"),),
    (Tool("get_weather", "", WEATHER), Tool("get_time", "", WEATHER)),
    ToolChoice(ToolMode.REQUIRED, parallel=False),
)


# In channels a model thinks first, and those with random weights never stop.
CASES = [
    (model, name)
    for model in ("ref-llama", "ref-gpt-oss")
    for name in FAMILIES
    if name != "harmony" and (model, name) != ("ref-llama", "deepseek")  # it cannot spell the marks
]


@pytest.fixture(scope="module")
def runner(request: pytest.FixtureRequest) -> Iterator[LlamaRunner]:
    runner = LlamaRunner.load(LoadOptions(REFERENCE / f"{request.param}.gguf", ctx=2048, slots=1))
    yield runner
    runner.close()


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize(("runner", "name"), CASES, indirect=["runner"])
def test_a_forced_call_is_read(name: str, temperature: float, runner: LlamaRunner) -> None:
    answers = AnswerFormat(FAMILIES[name].calls, None, runner.vocab)
    form = answers.form(MADE_TO_CALL, opens_reasoning=False)
    assert form is not None
    constraint = GrammarCompiler(runner.vocab).compile(form)
    params = SamplingParams(max_tokens=600, temperature=temperature, seed=7, constraint=constraint)
    prompt = runner.vocab.tokenize("What is the weather?", add_special=True, parse_special=False)
    engine = new_engine(runner)
    engine.add(GenerateRequest("q", tuple(prompt), params, with_specials=True))
    parser = answers.parser(MADE_TO_CALL, opens_reasoning=False)
    parts = []
    while engine.has_work:
        for event in engine.step():
            assert isinstance(event, TokenEvent | Finished)
            parts += parser.feed(event.text)
    parts = merged([*parts, *parser.finish()])
    ((tool, arguments),) = called(parts)
    assert tool in ("get_weather", "get_time")
    value = json.loads(arguments)
    assert value["city"] in ("Paris", "Rome") and 1 <= value["days"] <= 7
    assert said(parts).strip() == ""
