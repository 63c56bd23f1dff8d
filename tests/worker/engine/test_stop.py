from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.stop import StopMatcher


def feed(stops: tuple[str, ...], pieces: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    out = "".join(matcher.push(piece) for piece in pieces)
    return out + matcher.flush(), matcher.matched


def by_hand(stops: tuple[str, ...], text: str) -> tuple[str, str | None]:
    """The definition: the first moment at which the text ends with a stop string ends it."""
    for end in range(len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            longest = max(hits, key=len)
            return text[: end - len(longest)], longest
    return text, None


def test_without_stop_strings_text_passes_through() -> None:
    assert StopMatcher(()).push("anything") == "anything"


def test_a_stop_string_across_pieces_is_found_and_not_printed() -> None:
    assert feed(("END",), ["one E", "N", "D two"]) == ("one ", "END")


def test_what_may_begin_a_stop_string_is_held_back_and_released_when_it_does_not() -> None:
    matcher = StopMatcher(("\n\nUser:",))
    assert matcher.push("hello\n") == "hello"
    assert matcher.push("\nU") == ""
    assert matcher.push("nder") == "\n\nUnder"
    assert matcher.matched is None


def test_only_the_part_that_may_begin_a_stop_string_is_held_back() -> None:
    matcher = StopMatcher(("aab",))
    assert matcher.push("aaa") == "a"
    assert matcher.push("b") == ""
    assert matcher.matched == "aab"


def test_the_stop_string_that_is_complete_first_wins() -> None:
    assert feed(("longer stop", "stop"), ["a longer stop"]) == ("a ", "longer stop")
    assert feed(("abcd", "bc"), ["xabcd"]) == ("xa", "bc")


def test_after_a_match_nothing_more_comes() -> None:
    matcher = StopMatcher((".",))
    assert matcher.push("one. two") == "one"
    assert matcher.push(" three") == ""
    assert matcher.flush() == ""


def test_the_end_releases_what_was_held_back() -> None:
    assert feed(("STOP",), ["to the ST"]) == ("to the ST", None)


letters = st.text("ab\n", min_size=1, max_size=4)


@given(st.lists(letters, min_size=1, max_size=4), st.lists(st.text("ab\n", max_size=5)))
def test_any_split_gives_what_the_definition_says(stops: list[str], pieces: list[str]) -> None:
    assert feed(tuple(stops), pieces) == by_hand(tuple(stops), "".join(pieces))


@given(st.lists(letters, min_size=1, max_size=4), st.lists(st.text("ab\n", max_size=5)))
def test_nothing_is_held_back_that_cannot_begin_a_stop_string(
    stops: list[str], pieces: list[str]
) -> None:
    matcher, seen, out = StopMatcher(tuple(stops)), "", ""
    for piece in pieces:
        seen += piece
        out += matcher.push(piece)
        if matcher.matched is not None:
            return
        held = seen[len(out) :]
        assert not held or any(stop.startswith(held) for stop in stops)
