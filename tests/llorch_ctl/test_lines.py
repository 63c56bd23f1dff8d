"""Lines out of arbitrary bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llorch_ctl.lines import LineSplitter


def split(chunks: list[bytes], limit: int = 1 << 20) -> tuple[list[str], int]:
    splitter = LineSplitter(limit)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines, splitter.num_too_long


@given(st.lists(st.binary(max_size=40)))
def test_chunks_do_not_matter(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)

    assert split(chunks) == split([whole])


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8")), max_size=5))
def test_text_survives(texts: list[str]) -> None:
    data = "".join(text + "\n" for text in texts).encode()

    assert split([data]) == (texts, 0)


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 20))
def test_only_short_lines_come_through_and_the_others_are_counted(
    chunks: list[bytes], limit: int
) -> None:
    complete = b"".join(chunks).split(b"\n")[:-1]
    long = [line for line in complete if len(line) > limit]

    lines, num_too_long = split(chunks, limit)

    assert num_too_long == len(long)
    assert len(lines) == len(complete) - len(long)


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert split([b"caf\xe9\r\n"]) == (["caf\ufffd"], 0)


def test_a_line_that_never_ends_takes_no_memory() -> None:
    splitter = LineSplitter(limit=1000)

    for _ in range(1000):
        assert list(splitter.feed(b"x" * 1000)) == []
        assert len(splitter._pending) <= 1000

    assert list(splitter.feed(b"\nnext\n")) == ["next"]
    assert splitter.num_too_long == 1
