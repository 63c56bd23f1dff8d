from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.detokenizer import Detokenizer


def feed(pieces: list[bytes]) -> str:
    detokenizer = Detokenizer()
    return "".join(detokenizer.push(piece) for piece in pieces) + detokenizer.flush()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def test_half_a_character_waits_for_its_rest() -> None:
    detokenizer = Detokenizer()
    cat = "🐈".encode()
    assert [detokenizer.push(bytes([byte])) for byte in cat] == ["", "", "", "🐈"]
    assert detokenizer.flush() == ""


def test_an_incomplete_character_at_the_end_is_a_replacement_character() -> None:
    assert feed([b"caf", b"\xc3"]) == "caf\ufffd"


def test_bytes_that_can_never_complete_come_out_as_soon_as_that_is_certain() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.push(b"\xff") == "\ufffd"
    assert detokenizer.push(b"\xe2\x82") == ""
    assert detokenizer.push(b"x") == "\ufffdx"


@given(st.text(), st.lists(st.integers(0, 10_000)))
def test_any_split_of_a_text_gives_the_text(text: str, cuts: list[int]) -> None:
    assert feed(split(text.encode(), cuts)) == text


@given(st.binary(), st.lists(st.integers(0, 10_000)))
def test_any_split_of_any_bytes_gives_what_the_whole_gives(data: bytes, cuts: list[int]) -> None:
    assert feed(split(data, cuts)) == data.decode("utf-8", "replace")


@given(st.text())
def test_what_is_out_is_always_whole_characters_of_the_text(text: str) -> None:
    detokenizer, out = Detokenizer(), ""
    for byte in text.encode():
        out += detokenizer.push(bytes([byte]))
        assert text.startswith(out)
