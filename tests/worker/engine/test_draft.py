"""Drafts against a scripted source of tokens and a scripted cost of steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.draft import MAX_DRAFT, Drafter, DraftPolicy

# Seconds of a step by its rows, measured and joined by straight lines.
TWO_CORES = {1: 1.0, 4: 2.8, 8: 5.3, 16: 8.7, 32: 17.0, 64: 34.0}
SMALL_MODEL = {1: 2.98, 4: 8.0, 16: 25.7, 64: 98.0}
GPU = {1: 1.0, 4: 1.02, 8: 1.05, 16: 1.1, 64: 1.4}

tokens = st.lists(st.integers(0, 5), max_size=60)


def cost_of(table: dict[int, float], rows: int) -> float:
    known = sorted(table)
    above = next((n for n in known if n >= rows), known[-1])
    below = max((n for n in known if n <= rows), default=known[0])
    if above == below:
        return table[above]
    return table[below] + (table[above] - table[below]) * (rows - below) / (above - below)


@dataclass
class Run:
    """What a simulated generation came to, against the same without drafts."""

    seconds: float = 0.0
    plain_seconds: float = 0.0
    lengths: list[int] | None = None

    @property
    def gain(self) -> float:
        return self.plain_seconds / self.seconds


def generate(
    source: list[int],
    table: dict[int, float],
    *,
    policy: DraftPolicy | None = None,
    prompt: list[int] | None = None,
    others: int = 0,
    noise: Callable[[], float] = lambda: 1.0,
) -> Run:
    """Generate `source` with drafts, beside `others` sequences that never draft.

    The seconds are this sequence's share of its steps, and their scripted cost; `noise` is only
    in what the policy is told.
    """
    policy = policy or DraftPolicy()
    drafter = Drafter(prompt or [])
    run, at = Run(lengths=[]), 0
    while at < len(source):
        rows = 1 + others
        draft = drafter.propose(policy.length(drafter, rows))[: len(source) - at - 1]
        accepted = 0
        while accepted < len(draft) and draft[accepted] == source[at + accepted]:
            accepted += 1
        seconds = cost_of(table, rows + len(draft))
        drafter.extend(source[at : at + accepted + 1])
        policy.note_step(rows + len(draft), seconds * noise())
        policy.note_result(drafter, len(draft), accepted)
        at += accepted + 1
        run.seconds += seconds
        # Whatever a longer step costs the others is charged to the drafts.
        run.plain_seconds += cost_of(table, rows) * (rows + accepted) / rows
        assert run.lengths is not None
        run.lengths.append(len(draft))
    return run


def repetitive(count: int, period: int = 12) -> list[int]:
    return list(islice(cycle(range(100, 100 + period)), count))


def noisy_tokens(count: int, alphabet: int, seed: int = 1) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(alphabet) for _ in range(count)]


def mostly_repetitive(count: int, share: float, seed: int = 1) -> list[int]:
    rng = random.Random(seed)
    return [t if rng.random() < share else 1000 + rng.randrange(50) for t in repetitive(count)]


@pytest.mark.parametrize(("table", "gain"), [(TWO_CORES, 1.5), (SMALL_MODEL, 1.5), (GPU, 8.0)])
def test_repetitive_output_gains(table: dict[int, float], gain: float) -> None:
    assert generate(repetitive(600), table).gain >= gain


@pytest.mark.parametrize("table", [TWO_CORES, GPU])
def test_an_answer_that_quotes_its_prompt_gains_from_the_start(table: dict[int, float]) -> None:
    prompt = noisy_tokens(500, 32_000)
    assert generate(prompt[100:300], table, prompt=prompt).gain >= 1.3


@pytest.mark.parametrize("table", [TWO_CORES, SMALL_MODEL, GPU])
@pytest.mark.parametrize("alphabet", [3, 8, 30, 32_000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_output_costs_two_percent_at_most(
    table: dict[int, float], alphabet: int, seed: int
) -> None:
    assert generate(noisy_tokens(1000, alphabet, seed), table).gain >= 0.98


@pytest.mark.parametrize("share", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_whatever_the_share_of_right_drafts_there_is_no_loss(share: float) -> None:
    for table in (TWO_CORES, SMALL_MODEL):
        assert generate(mostly_repetitive(1500, share), table).gain >= 0.98
    assert generate(mostly_repetitive(1500, share), GPU).gain > 1.1


@pytest.mark.parametrize(("table", "gain"), [(TWO_CORES, 1.2), (GPU, 1.7)])
def test_output_that_turns_random_and_back_is_followed(
    table: dict[int, float], gain: float
) -> None:
    policy, drafter_text = DraftPolicy(), []
    for turn in range(6):
        drafter_text += noisy_tokens(200, 8, turn) if turn % 2 else repetitive(200)
    assert generate(drafter_text, table, policy=policy).gain >= gain


def test_a_return_to_repetition_is_noticed_within_a_few_tokens() -> None:
    text = [*repetitive(300), *noisy_tokens(1000, 8)]
    policy = DraftPolicy()
    generate(text, TWO_CORES, policy=policy)
    drafter = Drafter([])
    drafter.extend(text)
    assert policy.length(drafter, 1) == 0
    drafter.extend(repetitive(16))
    assert policy.length(drafter, 1) > 0


def test_an_allowance_that_is_spent_silences_everyone_until_time_has_passed() -> None:
    policy, drafter = DraftPolicy(), Drafter(repetitive(100))
    for _ in range(3):
        policy.note_step(1, 1.0)
    assert policy.length(drafter, 1) == 1
    while policy.length(Drafter(repetitive(100)), 1):
        policy.note_result(drafter, 7, 0)
    for _ in range(2000):
        policy.note_step(1, 1.0)
    assert policy.length(Drafter(repetitive(100)), 1) == 1


def test_a_drafter_that_fails_pauses_ever_longer_and_one_that_pays_does_not() -> None:
    policy, drafter = DraftPolicy(), Drafter(repetitive(100))
    for _ in range(3):
        policy.note_step(1, 1.0)
    pauses = []
    for _ in range(4):
        policy.note_result(drafter, 7, 0)
        pauses.append(drafter.paused_until - len(drafter))
    assert pauses == sorted(set(pauses))
    policy.note_result(drafter, 7, 7)
    assert drafter.pause == 0


@pytest.mark.parametrize("table", [TWO_CORES, SMALL_MODEL, GPU])
def test_noise_in_the_step_times_changes_little(table: dict[int, float]) -> None:
    rng = random.Random(7)

    def noise() -> float:
        return 10.0 if rng.random() < 0.03 else rng.uniform(0.75, 1.35)

    steady = generate(repetitive(3000), table)
    noisy = generate(repetitive(3000), table, noise=noise)
    assert noisy.gain >= 0.85 * steady.gain
    assert generate(noisy_tokens(3000, 8), table, noise=noise).gain >= 0.98


def test_lengths_do_not_thrash_under_noise() -> None:
    rng = random.Random(3)
    run = generate(repetitive(6000), TWO_CORES, noise=lambda: rng.uniform(0.8, 1.25))
    assert run.lengths is not None
    settled = run.lengths[len(run.lengths) // 3 :]
    changes = sum(a != b for a, b in zip(settled, settled[1:], strict=False))
    assert changes <= len(settled) / 10


def test_beside_many_others_two_cores_draft_little_and_a_gpu_much() -> None:
    crowded = generate(repetitive(600), TWO_CORES, others=15)
    assert crowded.gain >= 0.98
    assert generate(repetitive(600), GPU, others=15).gain >= 1.5


def test_the_first_outlier_decides_nothing() -> None:
    delays = iter([20.0] + [1.0] * 10_000)
    assert generate(repetitive(600), TWO_CORES, noise=lambda: next(delays)).gain >= 1.5


def test_nothing_is_drafted_before_a_step_was_measured() -> None:
    drafter = Drafter(repetitive(100))
    assert DraftPolicy().length(drafter, 1) == 0


def test_periodic_text_is_drafted_at_any_length() -> None:
    assert Drafter([7, 8, 9, 7, 8, 9, 7]).propose(8) == [8, 9, 7, 8, 9, 7, 8, 9]


def test_the_longest_match_wins_and_of_those_the_latest() -> None:
    assert Drafter([1, 2, 3, 50, 9, 2, 3, 60, 1, 2, 3]).propose(1) == [50]
    assert Drafter([1, 2, 3, 50, 1, 2, 3, 60, 1, 2, 3]).propose(1) == [60]


def test_a_sequence_without_a_match_proposes_nothing() -> None:
    assert Drafter([1, 2, 3, 4, 5]).propose(8) == []
    assert Drafter([]).propose(8) == []


def followers(text: list[int], draft: list[int]) -> Iterator[int]:
    """Where in the text a match may have been that explains the draft, circles included."""
    for start in range(2, len(text)):
        circle = text[start:]
        if text[start - 2 : start] == text[-2:] and draft == list(
            islice(cycle(circle), len(draft))
        ):
            yield start


@given(tokens, tokens, st.integers(0, 40))
def test_proposals_followed_the_same_tokens_before(
    prompt: list[int], output: list[int], limit: int
) -> None:
    drafter = Drafter(prompt)
    drafter.extend(output)
    draft = drafter.propose(limit)
    assert len(draft) <= limit
    assert len(drafter) == len(prompt) + len(output)
    if draft:
        assert any(followers([*prompt, *output], draft))


@given(tokens, tokens)
def test_however_the_text_arrives_the_proposal_is_the_same(
    prompt: list[int], output: list[int]
) -> None:
    at_once, bit_by_bit = Drafter([*prompt, *output]), Drafter(prompt)
    for token in output:
        bit_by_bit.extend([token])
    if len(prompt) >= 4:
        assert at_once.propose(8) == bit_by_bit.propose(8)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(1e-6, 10.0)), max_size=80), tokens)
def test_lengths_stay_within_bounds_whatever_is_measured(
    steps: list[tuple[int, float]], text: list[int]
) -> None:
    policy, drafter = DraftPolicy(), Drafter(text)
    for rows, seconds in steps:
        length = policy.length(drafter, rows)
        assert 0 <= length <= MAX_DRAFT
        policy.note_step(rows + length, seconds)
        policy.note_result(drafter, length, 0)
