"""Forms allow what models write and nothing that breaks the tool choice, with real vocabularies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.chat.parsers.shapes import FAMILIES, THINK
from worker.chat.messages import ChatMessage, Conversation, Tool, ToolChoice, ToolMode
from worker.chat.parsers.answer_format import AnswerFormat
from worker.engine.constraint import ConstraintSpec
from worker.engine.params import InvalidParam
from worker.engine.runner import Vocab
from worker.llama.grammar import GrammarCompiler
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner

REFERENCE = Path(__file__).parents[3] / "catalogs" / "reference"
USER = (ChatMessage("user", "hi"),)
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "count": {"type": "integer", "maximum": 9}},
    "required": ["text"],
    "additionalProperties": False,
}
TOOLS = (Tool("get_weather", "", SCHEMA), Tool("put", "", {}))
STRICT = (Tool("get_weather", "", SCHEMA, strict=True), TOOLS[1])
GOOD = ("get_weather", {"text": 'a "b" {é}\n\nc', "count": 5})
MARKED = [name for name in FAMILIES if name != "harmony"]


class Forms:
    """A vocabulary, and what forms allow in it."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self._compiler = GrammarCompiler(vocab)

    def spec(self, name: str, conversation: Conversation, **options: Any) -> ConstraintSpec:
        spec = AnswerFormat(FAMILIES[name].calls, THINK, self.vocab).form(conversation, **options)
        assert spec is not None
        return spec

    def allows(self, spec: ConstraintSpec, text: str) -> bool:
        """Whether the text's usual tokens may come one after the other, and then the end."""
        state = self._compiler.compile(spec).start()
        for token in self.vocab.tokenize(text, add_special=False, parse_special=True):
            if self.vocab.is_eog(token):
                break
            if not state.allowed()[token]:
                return False
            state.accept(token)
        return any(self.vocab.is_eog(int(token)) for token in np.flatnonzero(state.allowed()))


MODELS = ("ref-gpt-oss", "ref-llama")


@pytest.fixture(scope="module", params=MODELS)
def forms(request: pytest.FixtureRequest) -> Iterator[Forms]:
    """A vocabulary of bytes with control tokens for channels; one that puts a space in front."""
    runner = LlamaRunner.load(LoadOptions(REFERENCE / f"{request.param}.gguf", ctx=512, slots=1))
    yield Forms(runner.vocab)
    runner.close()


def asks(
    tools: tuple[Tool, ...] = TOOLS,
    mode: ToolMode = ToolMode.REQUIRED,
    names: tuple[str, ...] = (),
    parallel: bool = True,
) -> Conversation:
    return Conversation(USER, tools, ToolChoice(mode, names, parallel))


@pytest.mark.parametrize("name", MARKED)
def test_calls_that_are_required(name: str, forms: Forms) -> None:
    write = FAMILIES[name].write
    spec = forms.spec(name, asks())
    assert spec.field == "tools"
    assert forms.allows(spec, write([GOOD]))
    assert forms.allows(spec, "<think>\nHm.</think>\n\n" + write([GOOD]))
    assert not forms.allows(spec, "It rains.")
    assert not forms.allows(spec, write([("nobody", {})]))
    assert not forms.allows(spec, write([("get_weather", {"count": 5})]))
    assert not forms.allows(spec, write([("get_weather", {"text": "x", "count": 10})]))


@pytest.mark.parametrize("name", [name for name in MARKED if name != "llama"])
def test_several_calls_only_when_they_may_be_parallel(name: str, forms: Forms) -> None:
    text = FAMILIES[name].write([GOOD, ("put", {})])
    assert forms.allows(forms.spec(name, asks()), text)
    assert not forms.allows(forms.spec(name, asks(parallel=False)), text)


@pytest.mark.parametrize("name", MARKED)
def test_a_named_tool(name: str, forms: Forms) -> None:
    spec = forms.spec(name, asks(names=("put",), parallel=False))
    assert forms.allows(spec, FAMILIES[name].write([("put", {})]))
    assert not forms.allows(spec, FAMILIES[name].write([GOOD]))


@pytest.mark.parametrize("name", MARKED)
def test_open_thoughts_come_first(name: str, forms: Forms) -> None:
    spec = forms.spec(name, asks(), opens_reasoning=True)
    text = FAMILIES[name].write([GOOD])
    assert forms.allows(spec, "Hm.\n</think>\n\n" + text)
    assert not forms.allows(spec, text)


@pytest.mark.parametrize(
    ("forms", "name"),
    # The other vocabulary cannot spell those marks.
    [
        (model, name)
        for model in MODELS
        for name in MARKED
        if (model, name) != (MODELS[1], "deepseek")
    ],
    indirect=["forms"],
)
def test_strict_tools_may_be_called_or_not(name: str, forms: Forms) -> None:
    write = FAMILIES[name].write
    spec = forms.spec(name, asks(STRICT, ToolMode.AUTO))
    assert forms.allows(spec, "It rains. <b>[1]</b> {")
    assert forms.allows(spec, write([GOOD]))
    assert not forms.allows(spec, write([("get_weather", {"count": 5})]))
    if name != "llama":
        assert forms.allows(spec, "I look. " + write([GOOD]))
        assert not forms.allows(spec, "I look. " + write([("get_weather", {"count": 5})]))


@pytest.mark.parametrize("forms", MODELS[:1], indirect=True)
def test_channels(forms: Forms) -> None:
    call = '<|channel|>commentary to=functions.put <|constrain|>json<|message|>{"a": 1}<|call|>'
    thoughts = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    final = "<|channel|>final<|message|>It rains."
    required = forms.spec("harmony", asks())
    assert forms.allows(required, call) and forms.allows(required, thoughts + call)
    assert not forms.allows(required, final)
    assert forms.allows(forms.spec("harmony", asks(), opens_reasoning=True), thoughts[32:] + call)
    may = forms.spec("harmony", asks(STRICT, ToolMode.AUTO))
    assert forms.allows(may, thoughts + final) and forms.allows(may, call)


def test_without_need_there_is_no_form() -> None:
    answers = AnswerFormat(FAMILIES["hermes"].calls, None, None)  # type: ignore[arg-type]
    assert answers.form(asks(mode=ToolMode.AUTO)) is None
    assert answers.form(asks(STRICT, ToolMode.NONE)) is None
    assert answers.form(Conversation(USER)) is None


def test_schemas_that_no_form_can_be_made_of(forms: Forms) -> None:
    odd = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    with pytest.raises(InvalidParam, match="'odd'") as refused:
        forms.spec("hermes", asks((Tool("odd", "", odd, strict=True),)))
    assert refused.value.field == "tools"
    write = FAMILIES["hermes"].write
    lenient = forms.spec("hermes", asks((Tool("odd", "", odd),)))
    assert forms.allows(lenient, write([("odd", {"a": [1, 1]})]))
    broken = forms.spec("hermes", asks((Tool("odd", "", {"properties": {"a": {"type": 5}}}),)))
    assert forms.allows(broken, write([("odd", {"a": 1})]))
