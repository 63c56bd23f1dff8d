"""Memories that cannot do everything: recurrent layers, whose state is not made of positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rigs.gguf import ALIGNMENT, Tensor, Typed, make_gguf
from tests.worker.llama.driving import compute, tokens
from worker.engine.runner import MemoryTraits, RestoreFailed, RunnerError
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner

WIDTH, STATE, CONV, RANK, LAYERS, VOCABULARY = 32, 4, 4, 2, 2, 300
INNER = 2 * WIDTH


def mamba() -> bytes:
    """A recurrent model with random weights, of a few kilobytes."""
    shapes: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (WIDTH, VOCABULARY)),
        ("output_norm.weight", (WIDTH,)),
    ]
    for layer in range(LAYERS):
        shapes += [
            (f"blk.{layer}.{name}", dims)
            for name, dims in {
                "attn_norm.weight": (WIDTH,),
                "ssm_in.weight": (WIDTH, 2 * INNER),
                "ssm_conv1d.weight": (CONV, INNER),
                "ssm_conv1d.bias": (INNER,),
                "ssm_x.weight": (INNER, RANK + 2 * STATE),
                "ssm_dt.weight": (RANK, INNER),
                "ssm_dt.bias": (INNER,),
                "ssm_a": (STATE, INNER),
                "ssm_d": (INNER,),
                "ssm_out.weight": (INNER, WIDTH),
            }.items()
        ]
    rng = np.random.default_rng(3)
    found, weights = [], bytearray()
    for name, dims in shapes:
        found.append(Tensor(name, dims, 0, len(weights)))
        values = rng.normal(0.0, 0.3, int(np.prod(dims))).astype(np.float32)
        weights += (-abs(values) if name.endswith("ssm_a") else values).tobytes()
        weights += b"\0" * (-len(weights) % ALIGNMENT)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += [f"w{n}" for n in range(VOCABULARY - len(names))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259)
    metadata: dict[str, object] = {
        "general.architecture": "mamba",
        "general.file_type": 0,
        "mamba.context_length": 1024,
        "mamba.embedding_length": WIDTH,
        "mamba.feed_forward_length": 0,
        "mamba.block_count": LAYERS,
        "mamba.attention.head_count": 0,
        "mamba.attention.layer_norm_rms_epsilon": 1e-5,
        "mamba.ssm.conv_kernel": CONV,
        "mamba.ssm.inner_size": INNER,
        "mamba.ssm.state_size": STATE,
        "mamba.ssm.time_step_rank": RANK,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.scores": [0.0] * VOCABULARY,
        "tokenizer.ggml.token_type": [Typed(5, kind) for kind in kinds],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    return make_gguf(metadata, found, bytes(weights))


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaRunner]:
    path: Path = tmp_path_factory.mktemp("models") / "mamba.gguf"
    path.write_bytes(mamba())
    runner = LlamaRunner.load(LoadOptions(path, ctx=1024, slots=4, threads=1))
    yield runner
    runner.close()


def test_a_recurrent_model_says_what_it_cannot_do(recurrent: LlamaRunner) -> None:
    assert recurrent.memory == MemoryTraits("recurrent", 0, can_trim=False, can_restore=True)
    assert 4 < recurrent.num_slots < 16  # each costs memory


def test_a_recurrent_sequence_is_reused_whole_or_not_at_all(recurrent: LlamaRunner) -> None:
    ids = tokens(recurrent, 50)
    compute(recurrent, 0, ids)
    assert recurrent.num_cached(0) == 50
    assert recurrent.can_reuse(0, 50)
    assert not recurrent.can_reuse(0, 49) and not recurrent.can_reuse(0, 51)
    recurrent.copy_prefix(0, 1, 50)
    one, other = compute(recurrent, 0, [7, 8], 50), compute(recurrent, 1, [7, 8], 50)
    assert one.token_id == other.token_id
    assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
    recurrent.release(0)
    recurrent.release(1)
    assert recurrent.num_cached(0) == 0


def test_a_recurrent_sequence_is_computed_in_a_context_of_its_own(recurrent: LlamaRunner) -> None:
    ids = tokens(recurrent, 300)
    answers = []
    for slot in (0, 1):
        recurrent.isolate(slot, 400)
        answers.append(compute(recurrent, slot, ids))
        recurrent.release(slot)
    assert answers[0] == answers[1]


def test_a_recurrent_state_goes_on_as_what_was_saved(recurrent: LlamaRunner) -> None:
    compute(recurrent, 0, tokens(recurrent, 20))
    compute(recurrent, 2, tokens(recurrent, 7, seed=2))
    state = recurrent.save(0)
    recurrent.restore(1, state, 20)
    recurrent.isolate(3, 300)
    recurrent.restore(3, state, 20)
    expected = compute(recurrent, 0, [5, 6, 7], 20)
    for slot in (1, 3):
        assert recurrent.num_cached(slot) == 20
        assert compute(recurrent, slot, [5, 6, 7], 20) == expected
    for slot in range(4):
        recurrent.release(slot)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_recurrent_state_harms_nobody(
    recurrent: LlamaRunner, data: st.DataObject
) -> None:
    for slot in range(2):
        recurrent.release(slot)
    compute(recurrent, 0, tokens(recurrent, 20))
    state, damaged = recurrent.save(0), bytearray(recurrent.save(0))
    for at in data.draw(st.lists(st.integers(0, len(state) - 1), max_size=3)):
        damaged[at] = data.draw(st.integers(0, 255))
    head = data.draw(st.integers(0, 48))
    damaged[head] = data.draw(st.integers(0, 255))
    size = data.draw(st.sampled_from((len(state), len(state) - 1, len(state) // 2, head)))
    try:
        recurrent.restore(1, bytes(damaged[:size]), 20)
        assert recurrent.num_cached(1) == 20
        with suppress(RunnerError):  # numbers so large that nothing can be computed with them
            compute(recurrent, 1, [5], 20)
    except RestoreFailed as error:
        assert error.reason == "layout"
        assert recurrent.num_cached(1) == 0
    assert recurrent.save(0) == state
