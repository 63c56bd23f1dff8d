from __future__ import annotations

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.engine.cache.kit import counting, tokens
from worker.engine.cache.prefix_index import Match, PrefixIndex
from worker.engine.cache.snapshot import Tokens, common_length

TOKENS = st.lists(st.integers(0, 2), max_size=12)
STORED = st.tuples(TOKENS, st.sampled_from([None, "a", "b"]), st.booleans())


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), STORED)), max_size=40),
    TOKENS,
    st.sampled_from([None, "a", "b"]),
    st.booleans(),
    st.integers(1, 3),
)
def test_it_finds_what_looking_at_each_would(
    actions: list[tuple[int, tuple[list[int], str | None, bool] | None]],
    prompt: list[int],
    agent: str | None,
    exact: bool,
    step: int,
) -> None:
    """None takes the key out."""
    index, model = PrefixIndex(), dict[str, tuple[Tokens, str | None, bool]]()
    for number, stored in actions:
        key = str(number)
        if stored is None:
            index.discard(key)
            model.pop(key, None)
        else:
            model[key] = (tokens(*stored[0]), stored[1], stored[2])
            index.put(key, model[key][0], agent=stored[1], exact=stored[2])
    assert len(index) == len(model)
    lengths = {
        key: common_length(of, tokens(*prompt)) // step * step
        for key, (of, _, is_exact) in model.items()
        if is_exact or not exact
    }
    best = max(lengths.values(), default=0)
    found = index.find(tokens(*prompt), agent=agent, exact=exact, multiple_of=step)
    if best == 0:
        assert found is None
        return
    ties = {key for key, length in lengths.items() if length == best}
    own = {key for key in ties if agent is not None and model[key][1] == agent}
    assert found is not None
    assert found.length == best
    assert found.own == bool(own)
    assert found.key in (own or ties)


def test_less_than_a_block_is_found_too() -> None:
    index = PrefixIndex()
    index.put("short", tokens(5, 6), agent=None, exact=False)
    found = index.find(tokens(5, 6, 7), agent=None, exact=False, multiple_of=1)
    assert found == Match("short", 2, False)


def test_exact_ones_are_found_in_whole_blocks() -> None:
    index = PrefixIndex()
    index.put("loose", counting(0, 700), agent=None, exact=False)
    index.put("exact", counting(0, 512), agent=None, exact=True)
    prompt = counting(0, 600)
    assert index.find(prompt, agent=None, exact=True, multiple_of=256) == Match("exact", 512, False)
    assert index.find(prompt[:500], agent=None, exact=True, multiple_of=256) == Match(
        "exact", 256, False
    )
    assert index.find(prompt[:255], agent=None, exact=True, multiple_of=256) is None


def test_a_thousand_snapshots_with_one_system_prompt_are_searched_quickly() -> None:
    random = np.random.default_rng(1)
    system = random.integers(0, 32_000, 500, np.int32)
    index, stored = PrefixIndex(), list[Tokens]()
    for number in range(1_000):
        stored.append(np.concatenate((system, random.integers(0, 32_000, 1_500, np.int32))))
        index.put(str(number), stored[-1], agent=str(number), exact=False)
    took = []
    for number, prompt in enumerate(stored):
        start = time.perf_counter()
        found = index.find(prompt, agent=None, exact=False, multiple_of=1)
        took.append(time.perf_counter() - start)
        assert found == Match(str(number), 2_000, False)
    assert sorted(took)[500] < 200e-6
