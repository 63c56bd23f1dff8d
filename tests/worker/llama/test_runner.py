from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.worker.llama.conftest import ANSWERING, MODELS, model_path
from tests.worker.llama.generation import QUESTIONS, ask, collect, new_engine, request, run
from worker.engine.events import Failed, Finished, FinishReason
from worker.engine.request import GenerateRequest
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner

Loaded = Callable[[str], LlamaRunner]


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_loads_and_generates(loaded: Loaded, name: str) -> None:
    answer = ask(loaded(name), "Count from 3 to 9", max_tokens=8)
    assert isinstance(answer.end, Finished)
    assert 0 < answer.end.timings.completion_tokens <= 8


@pytest.mark.parametrize("name", ANSWERING)
def test_greedy_answers_are_right(loaded: Loaded, name: str) -> None:
    answer = ask(loaded(name), "What is the capital of France?")
    assert answer.text == "\nParis."
    assert isinstance(answer.end, Finished) and answer.end.reason is FinishReason.EOS


@pytest.mark.parametrize("name", ["ref-llama", "ref-qwen2"])
def test_eight_at_once_answer_as_each_alone(loaded: Loaded, name: str) -> None:
    runner = loaded(name)
    alone = [ask(runner, question).ids for question in QUESTIONS]
    together = run(runner, [request(runner, q, q) for q in QUESTIONS])
    assert [together[q].ids for q in QUESTIONS] == alone


@pytest.mark.parametrize("name", MODELS)
def test_a_reproducible_answer_is_the_same_to_the_last_bit_in_any_crowd(
    loaded: Loaded, name: str
) -> None:
    runner = loaded(name)
    options = {"reproducible": True, "logprobs": 0, "max_tokens": 30, "ignore_eos": True}
    prompt = "Tell me a story. " * 150  # several chunks, and past where kernels change
    alone = ask(runner, prompt, **options)
    assert len(alone.tokens) == 30

    engine = new_engine(runner)
    for n in range(5):  # others come first, so that their cells lie in between
        engine.add(request(runner, f"before{n}", "Write a haiku " * 9 * n + ".", temperature=1.0))
    events = [event for _ in range(7) for event in engine.step()]
    engine.add(request(runner, "same", prompt, **options))
    events += [event for _ in range(5) for event in engine.step()]
    engine.cancel("before1")
    for n in range(4):
        engine.add(request(runner, f"after{n}", QUESTIONS[n], reproducible=n % 2 == 0))
    while engine.has_work:
        events += engine.step()
    assert collect(events)["same"].exact == alone.exact


@pytest.mark.parametrize("threads", [1, 2])
def test_a_reproducible_answer_is_the_same_after_a_restart(threads: int) -> None:
    def once() -> list[tuple[int, float | None]]:
        options = LoadOptions(model_path("ref-llama"), ctx=2048, threads=threads)
        runner = LlamaRunner.load(options)
        try:
            story = "Tell me a story " * 40
            answer = ask(runner, story, reproducible=True, temperature=1.0, seed=3, logprobs=0)
        finally:
            runner.close()
        return answer.exact

    assert once() == once()


def test_a_seed_gives_the_same_sample_alone_and_in_a_crowd(llama: LlamaRunner) -> None:
    def story(seed: int) -> GenerateRequest:
        text = "Tell me a story"
        return request(llama, f"{seed}", text, temperature=1.0, seed=seed, reproducible=True)

    alone = [run(llama, [story(seed)])[f"{seed}"].ids for seed in range(4)]
    crowd = run(llama, [story(seed) for seed in range(4)])
    assert [crowd[f"{seed}"].ids for seed in range(4)] == alone
    assert len({tuple(ids) for ids in alone}) > 1


def test_logprobs_are_of_the_whole_distribution_and_best_first(llama: LlamaRunner) -> None:
    answer = ask(llama, "What is 17 + 25?", logprobs=5)
    assert answer.tokens
    for token in answer.tokens:
        assert token.logprob is not None and token.logprob <= 0.0
        top = [one.logprob for one in token.top_logprobs]
        assert len(top) == 5 and top == sorted(top, reverse=True)
        assert sum(map(math.exp, top)) <= 1.0 + 1e-6
        assert token.top_logprobs[0].token_id == token.token_id
        assert token.top_logprobs[0].logprob == token.logprob
        assert token.top_logprobs[0].raw == token.raw


def test_logprobs_do_not_change_what_is_sampled(llama: LlamaRunner) -> None:
    plain = ask(llama, "Tell me a story", temperature=0.8, seed=5)
    asked = ask(llama, "Tell me a story", temperature=0.8, seed=5, logprobs=2)
    assert plain.ids == asked.ids
    assert plain.tokens[0].logprob is None and plain.tokens[0].top_logprobs == ()


def test_a_penalty_changes_a_greedy_answer(llama: LlamaRunner) -> None:
    """A story is what the reference models are not certain of."""
    plain = ask(llama, "Tell me a story", max_tokens=60)
    for penalty in ({"presence_penalty": 2.0}, {"repetition_penalty": 5.0}):
        assert ask(llama, "Tell me a story", max_tokens=60, **penalty).ids != plain.ids


def test_a_stop_string_ends_the_answer(llama: LlamaRunner) -> None:
    answer = ask(llama, "Count from 3 to 9", stop=(" 7",))
    assert answer.text == "\n3 4 5 6"
    assert isinstance(answer.end, Finished)
    assert (answer.end.reason, answer.end.stop_string) == (FinishReason.STOP_STRING, " 7")


def test_emoji_and_accents_stream_as_whole_characters(llama: LlamaRunner) -> None:
    answer = ask(llama, "Say caf\u00e9 \U0001f408")
    assert any(token.text == "" and token.raw for token in answer.tokens), "no split character"
    raw = b"".join(token.raw for token in answer.tokens)
    assert answer.text == raw.decode("utf-8", "replace")
    assert "caf\u00e9" in answer.text


@pytest.mark.parametrize("reproducible", [False, True])
def test_cancelling_leaks_no_cell(llama: LlamaRunner, reproducible: bool) -> None:
    engine = new_engine(llama)
    for turn in range(3):
        for n in range(4):
            options = {"reproducible": reproducible, "ignore_eos": True, "max_tokens": 900}
            engine.add(request(llama, f"{n}", f"{turn} {n} " + "word " * 600, **options))
        events = [event for _ in range(12) for event in engine.step()]
        assert not any(isinstance(event, Failed) for event in events)
        for n in range(4):
            engine.cancel(f"{n}")
        assert engine.stats().running == 0
        engine.check_integrity()
    if reproducible:
        assert engine.stats().cache.cells_used == 0


def test_a_long_prompt_does_not_stall_one_that_streams(llama: LlamaRunner) -> None:
    engine = new_engine(llama)
    engine.add(request(llama, "streaming", "Tell me a story", max_tokens=60, ignore_eos=True))
    engine.step()
    long = request(llama, "long", "word " * 1500, max_tokens=1)
    assert len(long.prompt) > 1400
    engine.add(long)
    steps = 0
    while True:
        events = engine.step()
        steps += 1
        assert [e.request_id for e in events].count("streaming") == 1, "a step without its token"
        if any(e.request_id == "long" for e in events):
            break
    assert steps >= len(long.prompt) // llama.max_batch_tokens
    engine.cancel("streaming")


def test_the_cache_can_be_filled_to_its_last_cell() -> None:
    runner = LlamaRunner.load(LoadOptions(model_path("ref-llama"), ctx=1024))
    try:
        room = 512 - len(request(runner, "", "word " * 200).prompt)
        requests = [
            request(runner, f"{n}", "word " * 200, max_tokens=room, ignore_eos=True)
            for n in range(2)
        ]
        ends = [answer.end for answer in run(runner, requests).values()]
        assert [end.timings.completion_tokens for end in ends if isinstance(end, Finished)] == [
            room,
            room,
        ]
    finally:
        runner.close()


@pytest.mark.parametrize("kv_type", ["q8_0", "q4_0"])
def test_a_quantised_cache_still_answers(kv_type: str) -> None:
    runner = LlamaRunner.load(LoadOptions(model_path("ref-llama"), ctx=1024, kv_type=kv_type))
    try:
        answer = ask(runner, "What is the capital of France?")
        assert answer.end is not None
        assert answer.tokens
    finally:
        runner.close()


def test_facts_are_read_from_the_model(loaded: Loaded) -> None:
    info = loaded("ref-qwen2").info
    assert (info.architecture, info.quantization, info.context_length_train) == (
        "qwen2",
        "F16",
        131072,
    )
    assert (info.num_cells, info.context_length) == (8192, 8192)
    assert info.layers_on_device == info.layers_total == info.num_layers + 1
    assert info.bytes_on_device > info.size_bytes > 2_000_000
    assert info.device.startswith("CPU")
    assert info.chat_template and "llama.cpp" in info.build


def test_progress_is_reported_up_to_the_end() -> None:
    shares: list[float] = []
    LlamaRunner.load(LoadOptions(model_path("ref-llama"), ctx=256), shares.append).close()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
