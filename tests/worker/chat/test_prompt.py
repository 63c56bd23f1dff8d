from __future__ import annotations

from tests.fakes.runner import BOS, ByteVocab
from worker.chat.prompt import encode_prompt


class NoBosVocab(ByteVocab):
    bos_token = ""


def test_a_prompt_gets_a_bos_unless_it_has_its_own() -> None:
    assert encode_prompt(ByteVocab(), "a") == (BOS, 97)
    assert encode_prompt(ByteVocab(), "<s>a") == tuple(b"<s>a")


def test_a_model_without_bos_decides_for_itself() -> None:
    assert encode_prompt(NoBosVocab(), "a") == (BOS, 97)
