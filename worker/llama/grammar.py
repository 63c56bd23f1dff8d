"""Constrained answers with llguidance: JSON schemas, regular expressions and grammars.

llama.cpp's own grammar sampler is not used: it ends the process when it is shown a token that it
rejects, and its masks cost a thousand times as much.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark
from numpy.typing import NDArray

from worker.engine.constraint import JSON_WHITESPACE, ConstraintKind, ConstraintSpec
from worker.engine.params import InvalidParam
from worker.engine.runner import Vocab
from worker.llama.grammar_tokens import make_tokenizer

log = logging.getLogger(__name__)

MAX_TEXT = 256 << 10
_MAX_KEPT = 32


class GrammarCompiler:
    """Implements ConstraintCompiler. The vocabulary is prepared when it is first needed, which
    takes about a second; what was compiled lately is kept."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._ends: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._kept: OrderedDict[tuple[ConstraintKind, str], Grammar] = OrderedDict()

    def compile(self, spec: ConstraintSpec) -> Grammar:
        key = (spec.kind, spec.text)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        grammar = self._compile(spec)
        with self._lock:
            self._kept[key] = grammar
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return grammar

    def _compile(self, spec: ConstraintSpec) -> Grammar:
        if len(spec.text) > MAX_TEXT:
            raise InvalidParam(spec.field, f"must not be longer than {MAX_TEXT} characters")
        source = _source(spec)
        matcher = LLMatcher(self._ready_tokenizer(), source, log_level=0)
        if matcher.is_error():
            raise InvalidParam(spec.field, f"cannot be compiled: {_one_line(matcher.get_error())}")
        return Grammar(matcher, self._ends)

    def _ready_tokenizer(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                ends = [self._vocab.is_eog(token) for token in range(self._vocab.size)]
                self._ends = np.array(ends)
                self._tokenizer = make_tokenizer(self._vocab, np.flatnonzero(self._ends).tolist())
            return self._tokenizer


class Grammar:
    """Implements Constraint."""

    def __init__(self, matcher: LLMatcher, ends: NDArray[np.bool_]) -> None:
        self._matcher = matcher
        self._ends = ends

    def start(self) -> GrammarState:
        return GrammarState(self._matcher.deep_copy(), self._ends)


class GrammarState:
    """Implements ConstraintState. A form that breaks on the way, by growing beyond all limits,
    lets the answer end there."""

    def __init__(self, matcher: LLMatcher, ends: NDArray[np.bool_]) -> None:
        self._matcher = matcher
        self._ends = ends
        self._bits = np.zeros((len(ends) + 31) // 32, np.int32)

    @property
    def is_complete(self) -> bool:
        return self._matcher.is_stopped()

    def allowed(self) -> NDArray[np.bool_]:
        if self._matcher.is_stopped():
            return self._ends
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            log.warning("an answer's form was given up: %s", _one_line(self._matcher.get_error()))
            return self._ends
        bytes_ = self._bits.view(np.uint8)
        return np.unpackbits(bytes_, count=len(self._ends), bitorder="little").view(np.bool_)

    def accept(self, token: int) -> None:
        if not self._matcher.is_stopped() and not self._matcher.consume_token(token):
            log.warning("an answer left its form: %s", _one_line(self._matcher.get_error()))


def _source(spec: ConstraintSpec) -> str:
    """What llguidance reads. Raises InvalidParam when the text is not even in its notation."""
    match spec.kind:
        case ConstraintKind.JSON_SCHEMA | ConstraintKind.BEST_EFFORT_SCHEMA:
            is_lenient = spec.kind is ConstraintKind.BEST_EFFORT_SCHEMA
            return LLMatcher.grammar_from_json_schema(
                spec.text, overrides={"whitespace_pattern": JSON_WHITESPACE, "lenient": is_lenient}
            )
        case ConstraintKind.REGEX:
            return LLMatcher.grammar_from_regex(spec.text)
        case ConstraintKind.LARK:
            return LLMatcher.grammar_from_lark(spec.text)
        case ConstraintKind.GBNF:
            try:
                return LLMatcher.grammar_from_lark(gbnf_to_lark(spec.text))
            except Exception as error:  # it raises whatever its parser stumbles upon
                reason = _one_line(str(error)) or type(error).__name__
                raise InvalidParam(spec.field, f"is no GBNF grammar: {reason}") from None


def _one_line(text: str) -> str:
    """The reason, without the parser's state that llguidance appends to it."""
    return " ".join(text.partition("\n<state>")[0].split())[:300]
