"""Which marks are found in the templates that models bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.runner import FakeRunner
from tests.worker.chat.parsers.shapes import GLM, HERMES, KIMI, MISTRAL, NEMO, QWEN_CODER
from worker.chat.parsers.answer import ReasoningMarks
from worker.chat.parsers.answer_format import AnswerFormat, Calls
from worker.chat.parsers.detect import find_answer_format
from worker.chat.parsers.harmony import HarmonyCalls
from worker.chat.parsers.json_calls import JsonCalls
from worker.chat.parsers.named_calls import NamedCalls
from worker.chat.parsers.samples import Samples
from worker.chat.probe import find_capabilities
from worker.chat.samples import find_samples
from worker.chat.sandbox import TemplateSandbox
from worker.chat.template import ChatTemplate

TEMPLATES = Path(__file__).parents[1] / "templates"
VOCAB = FakeRunner(b"").vocab
THINK = ReasoningMarks("<think>", "</think>")
DEEPSEEK_31 = NamedCalls(
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
)
BARE = JsonCalls((), arguments_key="parameters", is_bare=True)


def found(name: str, sandbox: TemplateSandbox) -> AnswerFormat:
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    template = ChatTemplate(source, sandbox, bos_token="<s>", eos_token="</s>")
    return find_answer_format(find_samples(template, find_capabilities(template)), VOCAB)


@pytest.mark.parametrize(
    ("name", "calls", "reasoning"),
    [
        ("qwen2.5", HERMES, None),
        ("qwen3", HERMES, THINK),
        ("qwen3-coder", QWEN_CODER, None),
        ("glm-4.6", GLM, THINK),
        (
            "llama3.1",
            JsonCalls(("<|python_tag|>",), arguments_key="parameters", is_bare=True),
            None,
        ),
        ("mistral-nemo", NEMO, None),
        ("devstral", MISTRAL, None),
        ("kimi-k2", KIMI, None),
        ("gpt-oss", HarmonyCalls(), ReasoningMarks("<|channel|>analysis<|message|>", "<|end|>")),
    ],
)
def test_formats(
    name: str, calls: Calls, reasoning: ReasoningMarks | None, sandbox: TemplateSandbox
) -> None:
    answers = found(name, sandbox)
    assert answers.calls == calls
    assert answers.reasoning == reasoning


def test_a_call_in_a_section_of_its_own() -> None:
    head = "<|User|>sentinel_question<|Bot|><think></think>"
    call = "<｜tool▁call▁begin｜>sentinel_tool<｜tool▁sep｜>"
    call += '{"sentinel_key": "sentinel_value"}<｜tool▁call▁end｜>'
    begin, end = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
    samples = Samples(
        source="{# </think> #}",
        plain="<|User|>sentinel_question<|Bot|></think>sentinel_answer<|eos|>",
        with_call=f"{head}{begin}{call}{end}<|eos|>",
        with_two_calls=f"{head}{begin}{call}{call}{end}<|eos|>",
        with_reasoning=None,
        prompt_end="<|Bot|>",
    )
    assert find_answer_format(samples, VOCAB) == AnswerFormat(DEEPSEEK_31, THINK, VOCAB)


def test_without_renders_the_source_tells() -> None:
    samples = Samples("{# writes <tool_call> #}", "", None, None, None, "")
    assert find_answer_format(samples, VOCAB).calls == HERMES
    samples = Samples("{# nothing #}", "", None, None, None, "")
    assert find_answer_format(samples, VOCAB) == AnswerFormat(BARE, None, VOCAB)
