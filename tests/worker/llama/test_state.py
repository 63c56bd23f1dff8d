"""Saved states are input that nobody vouches for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worker.llama.conftest import MODELS, Open, model_path
from tests.worker.llama.driving import compute, go_on, tokens
from worker.engine.batch import Batch, BatchItem
from worker.engine.runner import RestoreFailed, RunnerError, Sample
from worker.llama.learning import learn
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner
from worker.llama.state import LayoutError, StateLayout

LENGTH = 90
VICTIM, TARGET, OTHER = 1, 2, 3
META = 8 + 8  # where the cells begin


@dataclass
class Scene:
    """A runner in whose context somebody else has computed, and a state to restore beside."""

    runner: LlamaRunner
    state: bytes
    others_state: bytes
    others_next: list[Sample]

    def check_other(self) -> None:
        """The other sequence is what it was, and goes on as it did."""
        runner = self.runner
        assert runner.save(OTHER) == self.others_state
        ids = tokens(runner, 40, seed=5)
        samples = go_on(runner, OTHER, compute(runner, OTHER, ids, 300), 340, 3)
        runner.trim(OTHER, 300)
        for sample, expected in zip(samples, self.others_next, strict=True):
            assert sample.token_id == expected.token_id
            assert sample.logprob == pytest.approx(expected.logprob, abs=0.05)

    def restore(self, state: bytes, num_tokens: int = LENGTH) -> str | None:
        """Why it was refused; None if it was taken. Empty again afterwards."""
        try:
            self.runner.restore(TARGET, state, num_tokens)
        except RestoreFailed as error:
            assert "\n" not in str(error)
            assert self.runner.num_cached(TARGET) == 0
            return error.reason
        assert self.runner.num_cached(TARGET) == num_tokens
        with suppress(RunnerError):  # numbers so large that nothing can be computed with them
            compute(self.runner, TARGET, [7], num_tokens)
        self.runner.release(TARGET)
        return None


Scenes = Callable[..., Scene]


@pytest.fixture(scope="module")
def scenes() -> Iterator[Scenes]:
    made: dict[tuple[str, str], Scene] = {}

    def scene(name: str = "ref-llama", kv_type: str = "f16") -> Scene:
        if (name, kv_type) not in made:
            options = LoadOptions(model_path(name), ctx=1024, slots=4, kv_type=kv_type, threads=1)
            made[name, kv_type] = _scene(LlamaRunner.load(options))
        return made[name, kv_type]

    yield scene
    for one in made.values():
        one.runner.close()


def _scene(runner: LlamaRunner) -> Scene:
    compute(runner, OTHER, tokens(runner, 300, seed=4))
    compute(runner, VICTIM, tokens(runner, LENGTH))
    state = runner.save(VICTIM)
    runner.release(VICTIM)
    ids = tokens(runner, 40, seed=5)
    others_next = go_on(runner, OTHER, compute(runner, OTHER, ids, 300), 340, 3)
    runner.trim(OTHER, 300)
    return Scene(runner, state, runner.save(OTHER), others_next)


ALL = [("ref-llama", "f16"), ("ref-llama", "q8_0"), ("ref-gpt-oss", "f16"), ("ref-gpt-oss", "q4_0")]
fuzzing = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
def test_a_state_goes_on_as_what_was_saved(opened: Open, name: str, kv_type: str) -> None:
    runner = opened(name, kv_type=kv_type)
    ids, tail = tokens(runner, 300), tokens(runner, 9, seed=2)
    compute(runner, 0, ids)
    saved = runner.save(0)
    expected = compute(runner, 0, tail, 300)
    runner.release(0)
    runner.restore(0, saved, 300)
    assert runner.save(0) == saved
    assert compute(runner, 0, tail, 300) == expected
    compute(runner, 1, tokens(runner, 50))
    runner.restore(4, saved, 300)
    got = compute(runner, 4, tail, 300)
    assert got.token_id == expected.token_id
    assert got.logprob == pytest.approx(expected.logprob, abs=0.05)


def test_a_state_of_another_length_model_or_type_is_refused(scenes: Scenes) -> None:
    scene = scenes()
    assert scene.restore(scene.state) is None
    for length in (1, LENGTH - 1, LENGTH + 1, 1 << 30):
        assert scene.restore(scene.state, length) == "layout"
    for name, kv_type in [("ref-mistral", "f16"), ("ref-gpt-oss", "f16"), ("ref-llama", "q8_0")]:
        assert scene.restore(scenes(name, kv_type).state) == "layout"
    for garbage in (b"", b"\0", bytes(100), scene.state + b"\0", scene.state * 2):
        assert scene.restore(garbage) == "layout"
    scene.check_other()


@pytest.mark.parametrize("value", [1 << 31, 0xFFFFFFFF, 0, LENGTH - 1, LENGTH + 1, 2])
@pytest.mark.parametrize(
    "at", [0, 8, 12, META, META + 4, META + 12 * LENGTH, META + 12 * LENGTH + 4]
)
def test_a_header_that_lies_is_refused(scenes: Scenes, at: int, value: int) -> None:
    """Magic, streams, cells, a position, its sequences, transposition, layers."""
    scene = scenes()
    was = struct.unpack_from("<I", scene.state, at)[0]
    state = bytearray(scene.state)
    struct.pack_into("<I", state, at, value)
    assert scene.restore(bytes(state)) == (None if value == was else "layout")


@pytest.mark.parametrize(("name", "kv_type"), ALL)
@fuzzing
@given(data=st.data())
def test_changed_bytes_never_harm_anybody(
    scenes: Scenes, name: str, kv_type: str, data: st.DataObject
) -> None:
    scene = scenes(name, kv_type)
    state = bytearray(scene.state)
    head = st.integers(0, META + 12 * LENGTH + 40)
    anywhere = st.integers(0, len(state) - 1)
    for at in data.draw(st.lists(st.one_of(head, anywhere), min_size=1, max_size=6)):
        state[at] = data.draw(st.integers(0, 255))
    reason = scene.restore(bytes(state))
    if bytes(state[8:META]) != scene.state[8:META]:
        assert reason == "layout"
    scene.check_other()


@pytest.mark.parametrize(("name", "kv_type"), ALL)
@fuzzing
@given(data=st.data())
def test_cut_joined_and_shifted_states_are_refused(
    scenes: Scenes, name: str, kv_type: str, data: st.DataObject
) -> None:
    scene = scenes(name, kv_type)
    state = scene.state
    at = data.draw(st.integers(0, len(state) - 1))
    size = data.draw(st.integers(1, 64))
    kind = data.draw(st.sampled_from(("head", "tail", "gap", "padded", "longer")))
    damaged = {
        "head": state[:at],
        "tail": state[at:],
        "gap": state[:at] + state[at + size :],
        "padded": state[:at] + bytes(size),
        "longer": state[:at] + bytes(size) + state[at:],
    }[kind]
    if len(damaged) != len(state):
        assert scene.restore(damaged) == "layout"
    scene.check_other()


@fuzzing
@given(garbage=st.binary(max_size=400), keep=st.integers(0, 200))
def test_random_bytes_are_refused(scenes: Scenes, garbage: bytes, keep: int) -> None:
    scene = scenes()
    assert scene.restore(scene.state[:keep] + garbage) == "layout"


@pytest.mark.parametrize(("name", "kv_type"), ALL)
@pytest.mark.parametrize("half", [b"\x00\x7c", b"\x00\xfc", b"\x01\x7c", b"\xff\xff"])
def test_what_is_not_a_finite_number_is_refused(
    scenes: Scenes, name: str, kv_type: str, half: bytes
) -> None:
    """One such cell would spoil everybody's attention, even after it was freed."""
    scene = scenes(name, kv_type)
    first = META + 12 * LENGTH + 8 + 12  # of the keys of the first layer: a value, or a scale
    state = bytearray(scene.state)
    state[first : first + 2] = half
    assert scene.restore(bytes(state)) == "layout"
    scene.check_other()


def test_a_state_finds_its_room_between_others_cells(opened: Open) -> None:
    runner = opened(ctx=1024)
    ids = tokens(runner, 300)
    compute(runner, 0, ids)
    saved, expected = runner.save(0), compute(runner, 0, [9], 300)
    runner.release(0)
    for at in range(400):  # two whose cells alternate
        seqs = [BatchItem(None, slot, at, [slot], False) for slot in (1, 2)]  # type: ignore[arg-type]
        runner.decode(Batch(seqs))
    others = runner.save(2)
    runner.release(1)
    runner.restore(3, saved, 300)
    got = compute(runner, 3, [9], 300)
    assert got.token_id == expected.token_id
    assert got.logprob == pytest.approx(expected.logprob, abs=0.05)
    assert runner.save(2) == others
    positions = np.frombuffer(runner.save(3), np.int32, 301 * 3, META).reshape(-1, 3)[:, 0]
    assert sorted(positions) == list(range(301))


def test_a_state_without_room_leaves_the_slot_empty(opened: Open) -> None:
    runner = opened(ctx=512)
    compute(runner, 0, tokens(runner, 300))
    saved = runner.save(0)
    with pytest.raises(RestoreFailed) as caught:
        runner.restore(1, saved, 300)
    assert caught.value.reason == "no_room"
    assert (runner.num_cached(0), runner.num_cached(1)) == (300, 0)
    assert runner.save(0) == saved
    runner.isolate(2, 256)
    with pytest.raises(RestoreFailed) as caught:
        runner.restore(2, saved, 300)
    assert caught.value.reason == "no_room"
    assert runner.num_cached(2) == 0


def test_a_layout_that_is_not_known_is_no_layout() -> None:
    assert learn(b"", 0) is None
    assert learn(struct.pack("<III", 0xAF143CD8, 0, 1), 0) is None


def test_transposed_values_are_checked_and_filled_in() -> None:
    """As llama.cpp writes them where it has no flash attention."""

    def state(count: int, first: int = 0) -> bytes:
        cells = b"".join(struct.pack("<iIi", pos, 1, 0) for pos in range(first, count))
        cells = struct.pack("<II", 1, count - first) + cells + struct.pack("<II", 1, 1)
        keys = struct.pack("<iQ", 1, 4) + b"".join(bytes([p, 1]) * 2 for p in range(first, count))
        values = struct.pack("<iII", 1, 2, 3)
        for column in range(3):
            values += b"".join(bytes([p, column]) for p in range(first, count))
        return cells + keys + values

    head = struct.pack("<II", 0xAF143CD8, 0)
    layout = learn(head + state(2) + state(2), window=4)
    assert layout is not None and layout.cell_bytes == 2 * (4 + 6)
    layout.check(head + state(9) + state(9, first=5), 9, in_order=True)
    for wrong in (state(9, first=4), state(9, first=6), state(8, first=5), b""):
        with pytest.raises(LayoutError):
            layout.check(head + state(9) + wrong, 9)
    filled = layout.fill_window(head + state(9) + state(9, first=5))
    wide = StateLayout(layout.meta_bytes, layout.sections, window=9)
    wide.check(filled, 9, in_order=True)
    assert filled.startswith(head + state(9))
    assert filled.endswith(bytes(5 * 2) + b"".join(bytes([p, 2]) for p in range(5, 9)))
