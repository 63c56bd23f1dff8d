"""What users spell and templates write, with the tokenizers of real models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from tests.rigs.api_server import template_sandbox
from tests.worker.llama.conftest import MODELS
from worker.chat.control_tokens import Segment
from worker.chat.format import ChatFormat
from worker.chat.messages import ChatMessage, Conversation
from worker.chat.prompt import Prompt, encode_prompt
from worker.llama.runner import LlamaRunner
from worker.llama.vocab import LlamaVocab

Loaded = Callable[[str], LlamaRunner]
NOW = datetime(2026, 3, 1, 12, 0)
TEXTS = ["hi", " hi ", "\n\nhi", "café naïve 日本語", "a  b", "1. x\n2. y"]


def control_ids(vocab: LlamaVocab) -> set[int]:
    names = [name.encode() for name in vocab.control_tokens]
    return {i for i in range(vocab.size) if vocab.token_bytes(i, special=True) in names} - {
        i for i in range(vocab.size) if vocab.token_bytes(i)
    }


@pytest.mark.parametrize("name", MODELS)
def test_control_tokens_are_those_that_are_read_as_such(loaded: Loaded, name: str) -> None:
    vocab = loaded(name).vocab
    assert {vocab.bos_token, vocab.eos_token} - {""} <= vocab.control_tokens
    for spelling in vocab.control_tokens:
        assert len(vocab.tokenize(spelling, add_special=False, parse_special=True)) == 1
        assert len(vocab.tokenize(spelling, add_special=False, parse_special=False)) > 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", TEXTS)
def test_segments_are_read_as_the_whole_is(loaded: Loaded, name: str, text: str) -> None:
    """Where nothing is spelled both ways must give the same tokens."""
    vocab = loaded(name).vocab
    mark = max(vocab.control_tokens - {vocab.bos_token}, key=len)
    parts = [Segment(mark, False), Segment(text, True), Segment(f"{mark}{text}{mark}", False)]
    whole = "".join(part.text for part in parts)
    assert encode_prompt(vocab, Prompt(whole, segments=tuple(parts))) == encode_prompt(vocab, whole)
    first = [Segment(text, True), Segment(mark, False)]
    assert encode_prompt(vocab, Prompt("", segments=tuple(first))) == encode_prompt(
        vocab, text + mark
    )


@pytest.mark.parametrize("name", MODELS)
def test_what_a_user_spells_does_not_act(loaded: Loaded, name: str) -> None:
    runner = loaded(name)
    vocab = runner.vocab
    chat = ChatFormat.load(runner.info, vocab, template_sandbox())
    evil = "".join(sorted(vocab.control_tokens))

    def controls(content: str) -> list[int]:
        prompt = chat.render(Conversation((ChatMessage("user", f"x {content} y"),)), NOW)
        return [token for token in encode_prompt(vocab, prompt) if token in control_ids(vocab)]

    assert controls(evil) == controls("harmless")
