from __future__ import annotations

import pytest

from tests.fakes.runner import BOS, ByteVocab
from worker.self_test.prompts import LENGTHS, make_prompt


class WholeTextVocab(ByteVocab):
    """A tokenizer that makes very few tokens of any text."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [BOS] + [len(word) for word in text.split(".") if word]


@pytest.mark.parametrize("vocab", [ByteVocab(), WholeTextVocab()])
def test_prompts_have_the_length_that_was_asked_for(vocab: ByteVocab) -> None:
    for number, length in enumerate((1, *LENGTHS, 3000)):
        assert len(make_prompt(vocab, number, length)) == length


def test_no_two_prompts_begin_alike() -> None:
    prompts = [make_prompt(ByteVocab(), number, 40) for number in range(14)]
    assert len({prompt[:5] for prompt in prompts}) == len(prompts)
    assert prompts == [make_prompt(ByteVocab(), number, 40) for number in range(14)]


def test_lengths_involve_several_blocks() -> None:
    assert {255, 256, 257} & set(LENGTHS) and max(LENGTHS) > 2 * 256 and min(LENGTHS) < 10
