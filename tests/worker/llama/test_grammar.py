"""Answers that must have a form: whatever the model would rather say, they have it."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.runner import EOS, ByteVocab
from tests.worker.llama.generation import ask
from worker.engine.constraint import Constraint, ConstraintKind, ConstraintSpec
from worker.engine.params import InvalidParam, SamplingParams
from worker.engine.runner import Vocab
from worker.llama.grammar import MAX_TEXT, GrammarCompiler
from worker.llama.grammar_tokens import GrammarTokens
from worker.llama.runner import LlamaRunner
from worker.llama.sampling import Sampler

Kind = ConstraintKind
WORD = {"type": "string", "maxLength": 8}
CITY = {
    "type": "object",
    "properties": {"city name": WORD, "population": {"type": "integer", "maximum": 99}},
    "required": ["city name", "population"],
    "additionalProperties": False,
}
SCHEMAS: list[Any] = [
    CITY,
    {"type": "array", "items": {"enum": ["aa", "bb", 7, None]}, "minItems": 1, "maxItems": 3},
    {"anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 2, "maximum": 5}]},
    {"type": "object", "properties": {"in": {"$ref": "#/$defs/w"}}, "$defs": {"w": WORD}}
    | {"required": ["in"], "additionalProperties": False},
]
LIST = 'root ::= item ("," item){0,3}\nitem ::= [a-c]+ | "no"\n'


def compiled(vocab: Vocab, kind: Kind, text: str) -> Constraint:
    return GrammarCompiler(vocab).compile(ConstraintSpec(kind, text, "field"))


def babble(vocab: Vocab, form: Constraint, seed: int, **params: Any) -> tuple[str, bool]:
    """What comes of random logits, and whether it came to its end."""
    sampler = Sampler(SamplingParams(seed=seed, constraint=form, **params), (), vocab)
    random = np.random.default_rng(seed)
    said = b""
    for _ in range(200):
        token = sampler.choose(random.normal(0, 3, vocab.size).astype(np.float32))
        if vocab.is_eog(token):
            return said.decode(), True
        said += vocab.token_bytes(token)
    return said.decode(errors="ignore"), False


@pytest.fixture(scope="module", params=["bytes", "spm", "bpe"])
def vocab(request: pytest.FixtureRequest, llama: LlamaRunner, qwen: LlamaRunner) -> Vocab:
    return {"bytes": ByteVocab(), "spm": llama.vocab, "bpe": qwen.vocab}[request.param]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1 << 32), temperature=st.sampled_from([0.0, 0.7, 1.5]))
def test_json_always_fits_its_schema(
    vocab: Vocab, schema: Any, seed: int, temperature: float
) -> None:
    form = compiled(vocab, Kind.JSON_SCHEMA, json.dumps(schema))
    said, has_ended = babble(vocab, form, seed, temperature=temperature, top_p=0.99)
    if has_ended:  # unless it was still on its way, through all the white space there may be
        jsonschema.validate(json.loads(said), schema)


@pytest.mark.parametrize(
    ("kind", "text", "pattern"),
    [
        (Kind.REGEX, r"[0-9]{3}-[a-z]+!", r"[0-9]{3}-[a-z]+!"),
        (Kind.GBNF, LIST, r"([a-c]+|no)(,([a-c]+|no)){0,3}"),
        (Kind.LARK, '%llguidance {}\nstart: "x" /[0-9]/ ["y"]', r"x[0-9]y?"),
    ],
)
def test_other_notations(vocab: Vocab, kind: Kind, text: str, pattern: str) -> None:
    form = compiled(vocab, kind, text)
    ends = 0
    for seed in range(20):
        said, has_ended = babble(vocab, form, seed, temperature=1.0)
        ends += has_ended
        assert not has_ended or re.fullmatch(pattern, said)
    assert ends > 0


def test_an_object_of_any_kind(qwen: LlamaRunner) -> None:
    form = compiled(qwen.vocab, Kind.JSON_SCHEMA, '{"type":"object"}')
    state = form.start()
    assert not state.is_complete
    opened = [qwen.vocab.token_bytes(int(at)) for at in np.flatnonzero(state.allowed())]
    assert opened and all(raw.lstrip().startswith(b"{") for raw in opened)


def test_white_space_has_an_end() -> None:
    state = compiled(ByteVocab(), Kind.JSON_SCHEMA, '{"type":"object"}').start()
    state.accept(ord("{"))
    count = 0
    while (white := state.allowed()[[ord(" "), ord("\n"), ord("\t")]]).any():
        state.accept(b" \n\t"[int(white.argmax())])
        count += 1
        assert count < 30


def test_a_complete_form_allows_only_the_end_and_then_minds_nothing() -> None:
    state = compiled(ByteVocab(), Kind.REGEX, "yes").start()
    for byte in b"yes":
        assert np.flatnonzero(state.allowed()).tolist() == [byte]
        state.accept(byte)
    assert state.is_complete
    for token in (EOS, EOS, ord("x")):
        assert np.flatnonzero(state.allowed()).tolist() == [EOS]
        state.accept(token)


def test_an_answer_that_left_its_form_ends(caplog: pytest.LogCaptureFixture) -> None:
    state = compiled(ByteVocab(), Kind.REGEX, "yes").start()
    state.accept(ord("n"))
    assert np.flatnonzero(state.allowed()).tolist() == [EOS]
    assert "left its form" in caplog.text


def test_answers_of_one_form_do_not_touch_each_other() -> None:
    form = compiled(ByteVocab(), Kind.REGEX, "ab|cd")
    one, other = form.start(), form.start()
    one.accept(ord("a"))
    assert np.flatnonzero(other.allowed()).tolist() == [ord("a"), ord("c")]


def test_the_same_form_is_compiled_once_and_by_any_thread(qwen: LlamaRunner) -> None:
    compiler = GrammarCompiler(qwen.vocab)
    spec = ConstraintSpec(Kind.JSON_SCHEMA, json.dumps(CITY), "json_schema")
    with ThreadPoolExecutor(4) as pool:
        forms = list(pool.map(lambda _: compiler.compile(spec), range(8)))
    assert compiler.compile(spec) in forms
    assert all(babble(qwen.vocab, form, 3) == babble(qwen.vocab, forms[0], 3) for form in forms)


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (Kind.JSON_SCHEMA, '{"type":"wizard"}', "wizard"),
        (Kind.JSON_SCHEMA, '{"$ref":"#/nope"}', "nope"),
        (Kind.JSON_SCHEMA, '{"type":"array","uniqueItems":true}', "uniqueItems"),
        (Kind.JSON_SCHEMA, '{"type":"string","pattern":"(?=x)"}', "look-around"),
        (Kind.REGEX, "(", "unclosed group"),
        (Kind.GBNF, "", "root"),
        (Kind.GBNF, "root ::= missing", "missing"),
        (Kind.GBNF, 'root := "x"', "::="),
        (Kind.GBNF, "root ::= " + "(" * 5000, "GBNF"),
        (Kind.LARK, "start: nope", "nope"),
        (Kind.REGEX, "a" * (MAX_TEXT + 1), "longer"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_compiled_is_refused_in_one_line(kind: Kind, text: str, reason: str) -> None:
    with pytest.raises(InvalidParam) as caught:
        compiled(ByteVocab(), kind, text)
    assert caught.value.field == "field"
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason and len(caught.value.reason) < 400


def test_best_effort_skips_what_is_not_known() -> None:
    text = '{"type":"array","items":{"type":"boolean"},"uniqueItems":true}'
    compiled(ByteVocab(), Kind.BEST_EFFORT_SCHEMA, text)


@pytest.mark.parametrize("text", ["city", " city", "é🎉", '{"a": 1}', "\n\n", "", "\x02"])
def test_texts_are_spelled_exactly(vocab: Vocab, text: str) -> None:
    tokens = GrammarTokens(vocab, [vocab.eos_id or 0])
    for raw in (text.encode(), text.encode()[:-1]):
        assert b"".join(vocab.token_bytes(token) for token in tokens(raw)) == raw


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 4}])
def test_a_model_answers_in_the_form(llama: LlamaRunner, options: dict[str, Any]) -> None:
    form = compiled(llama.vocab, Kind.JSON_SCHEMA, json.dumps(CITY))
    answer = ask(llama, "Capital of France?", constraint=form, max_tokens=300, **options)
    jsonschema.validate(json.loads(answer.text), CITY)
