from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worker.llama.conftest import MODELS
from worker.llama.runner import LlamaRunner
from worker.llama.vocab import LlamaVocab

Loaded = Callable[[str], LlamaRunner]

TEXTS = (
    "Hello, world!",
    "  two spaces, a\ttab and\n\na blank line  ",
    "caf\u00e9 na\u00efve \u65e5\u672c\u8a9e \U0001f408\u200d\u2b1b \U0001f1eb\U0001f1f7",
    "{'json': [1, 2.5e-3, null]}",
    "<s> and <|im_end|> are only text here",
)


def decode(vocab: LlamaVocab, tokens: list[int]) -> str:
    return b"".join(map(vocab.token_bytes, tokens)).decode("utf-8")


def same(vocab: LlamaVocab, text: str) -> set[str]:
    """What may come back: SentencePiece may put a space before the first word."""
    return {text, f" {text}"} if vocab.kind == "spm" and text else {text}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_survives_the_tokenizer(loaded: Loaded, name: str, text: str) -> None:
    vocab = loaded(name).vocab
    assert decode(vocab, vocab.tokenize(text, add_special=False, parse_special=False)) in same(
        vocab, text
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\0"), max_size=80)
)
@pytest.mark.parametrize("name", ["ref-llama", "ref-qwen2"])
def test_any_text_survives_the_tokenizer(loaded: Loaded, name: str, text: str) -> None:
    vocab = loaded(name).vocab
    assert decode(vocab, vocab.tokenize(text, add_special=False, parse_special=False)) in same(
        vocab, text
    )


def test_kinds_are_told_apart(llama: LlamaRunner, qwen: LlamaRunner) -> None:
    assert (llama.vocab.kind, qwen.vocab.kind) == ("spm", "bpe")
    assert llama.vocab.size == qwen.vocab.size > 2000


def test_special_tokens_are_added_and_read_only_when_asked(llama: LlamaRunner) -> None:
    vocab = llama.vocab
    assert vocab.tokenize("hi", add_special=True, parse_special=False)[0] == vocab.bos_id
    assert vocab.bos_token == "<s>" and vocab.eos_token == "</s>"
    assert vocab.eos_id in vocab.tokenize("</s>", add_special=False, parse_special=True)
    assert vocab.eos_id not in vocab.tokenize("</s>", add_special=False, parse_special=False)


def test_control_tokens_print_nothing_and_end_the_generation(llama: LlamaRunner) -> None:
    vocab = llama.vocab
    assert vocab.eos_id is not None and vocab.bos_id is not None
    assert vocab.token_bytes(vocab.eos_id) == b""
    assert vocab.is_eog(vocab.eos_id)
    assert not vocab.is_eog(vocab.bos_id)


def test_a_text_much_longer_than_its_tokens_and_the_reverse(llama: LlamaRunner) -> None:
    vocab = llama.vocab
    for text in ("", "a" * 5000, "\U0001f408" * 1000):
        tokens = vocab.tokenize(text, add_special=False, parse_special=False)
        assert decode(vocab, tokens) in same(vocab, text)
