"""Speculative decoding by prompt lookup: what may come next, and when it pays to verify it.

The lookup is that of vLLM's n-gram proposer and of llama.cpp's ngram-cache: the longest of a few
sizes, the most recent occurrence. Here an index replaces their search, and a match near the end
goes on in circles, so that periodic text is drafted at any length.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.step_costs import StepCosts

MAX_DRAFT = 31
_LENGTHS = (1, 3, 7, 15, MAX_DRAFT)  # rows 2, 4, 8, …: few shapes, each of them soon measured

_LONGEST = 4  # tokens of an n-gram; the shortest has 2
_DIGIT_BITS = 24  # no vocabulary is larger
_TWO, _THREE, _FOUR = ((1 << size * _DIGIT_BITS) - 1 for size in (2, 3, 4))
_MAX_INDEXED_PROMPT = 16_384  # tokens; a longer prompt is indexed from there to its end
_SMOOTHING = 1 / 8  # weight of the newest token in the hit rates
# By n-gram size, until the sequence itself has told: long matches are mostly right.
_FIRST_HIT_RATES = (0.0, 0.0, 0.1, 0.3, 0.5)

_LEVELS = 32  # hit rates are told apart that finely when a length is chosen
_MARGIN = 1.05  # a draft has to promise that much more throughput
_LOSS_SHARE = 0.01  # of the time spent in steps may be lost to drafts that fail
_FIRST_ALLOWANCE = 4.0  # steps of one row that may be lost before there is a history
_MAX_ALLOWANCE = 32.0  # in the same unit; what a long success may be followed by
_MAX_PAUSE = 256  # tokens


class Drafter:
    """One sequence's n-grams: where each last occurred, and how often that told the next token.

    The hit rates are kept for every token that comes, drafted or not, so nothing has to be
    computed in order to find out whether drafts would be right.
    """

    __slots__ = (
        "_index",
        "_tail",
        "_tokens",
        "debt",
        "hit_rates",
        "match_size",
        "match_start",
        "pause",
        "paused_until",
        "rows",
    )

    def __init__(self, prompt: Sequence[int]) -> None:
        self._tokens = list(prompt[:-_MAX_INDEXED_PROMPT])
        self._index: dict[int, int] = {}  # n-gram -> where its next token is
        # The n-gram that ends here, as one number; it is indexed when its next token comes.
        self._tail = 0
        self.match_size = 0  # of the longest n-gram that ends here and was seen before; 0: none
        self.match_start = 0  # where the next token of that occurrence is
        self.hit_rates = list(_FIRST_HIT_RATES)
        self.debt = 0.0  # seconds lost since a draft last paid, or since the last pause
        self.pause = 0  # how long the last failure silenced it, in tokens
        self.paused_until = 0  # a length of the sequence
        self.rows = 1  # of the step when a draft was last asked for
        for token in prompt[-_MAX_INDEXED_PROMPT:]:
            self._append(token)
        self._look_up()

    def __len__(self) -> int:
        return len(self._tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Take the sequence's next tokens. Constant time for each."""
        for token in tokens:
            size = self.match_size
            if size:
                rate, is_hit = self.hit_rates[size], self._tokens[self.match_start] == token
                self.hit_rates[size] = rate + (is_hit - rate) * _SMOOTHING
            self._append(token)
            self._look_up()

    def propose(self, limit: int) -> list[int]:
        """At most `limit` tokens that followed the longest match when it last occurred."""
        if not self.match_size or limit <= 0:
            return []
        draft = self._tokens[self.match_start : self.match_start + limit]
        if len(draft) < limit:
            draft = (draft * -(-limit // len(draft)))[:limit]
        return draft

    def _append(self, token: int) -> None:
        tail, index, at = self._tail, self._index, len(self._tokens)
        index[tail] = index[tail & _THREE] = index[tail & _TWO] = at
        # No digit of a number is 0, so n-grams of different sizes are never the same number.
        self._tail = (tail << _DIGIT_BITS) & _FOUR | token + 1
        self._tokens.append(token)

    def _look_up(self) -> None:
        """Find the longest match of what the sequence ends with now."""
        self.match_size = 0
        index, tail = self._index, self._tail
        if tail <= _THREE or (found := index.get(tail & _TWO)) is None:
            return  # nor can a longer one have been seen
        self.match_size, self.match_start = 2, found
        if (found := index.get(tail & _THREE)) is None:
            return
        self.match_size, self.match_start = 3, found
        if (found := index.get(tail)) is not None:
            self.match_size, self.match_start = _LONGEST, found


class DraftPolicy:
    """When drafts pay, and how long they should be. One for an engine.

    A draft of k tokens pays if the step with k more rows yields more tokens per second, by what
    steps were measured to take and by how often the sequence's n-grams were right. What failing
    drafts cost is paid from an allowance that grows with the time spent in steps, so it stays a
    small share of it whatever the estimates are worth.
    """

    def __init__(self) -> None:
        self._costs = StepCosts()
        self._allowance: float | None = None  # seconds
        self._max_allowance = 0.0
        self._lengths: dict[tuple[int, int, int], tuple[int, float]] = {}
        self._version = 0

    def note_step(self, rows: int, seconds: float) -> None:
        """What a step took that only decoded, prompts aside; `rows` counts drafts too."""
        self._costs.note(rows, seconds)
        if self._version != self._costs.version:
            self._version = self._costs.version
            self._lengths.clear()
            self._max_allowance = _MAX_ALLOWANCE * self._costs.seconds(1)
        if self._allowance is not None:
            self._spend(-_LOSS_SHARE * seconds)
        elif not self._costs.is_empty:
            self._allowance = _FIRST_ALLOWANCE * self._costs.seconds(1)

    def note_result(self, drafter: Drafter, proposed: int, accepted: int) -> None:
        """How many of the proposed tokens were right. Called after `note_step`, if at all."""
        if proposed == 0 or self._allowance is None:
            return
        loss = self._cost(drafter.rows, proposed) - accepted * self._worth(drafter.rows)
        self._spend(loss)
        drafter.debt = max(0.0, drafter.debt + loss)
        if loss <= 0.0:
            drafter.pause = 0
        elif drafter.debt > self._worth(drafter.rows):
            drafter.debt = 0.0
            drafter.pause = min(2 * drafter.pause + 2, _MAX_PAUSE)
            drafter.paused_until = len(drafter) + drafter.pause

    def length(self, drafter: Drafter, rows_in_step: int) -> int:
        """How many tokens to draft for this sequence now; 0 is none.

        `rows_in_step` are those the step has already, the sequence's own among them.
        """
        size = drafter.match_size
        if size == 0 or self._allowance is None or len(drafter) < drafter.paused_until:
            return 0
        rates = drafter.hit_rates
        key = (rows_in_step, _level(rates[size]), _level(rates[_LONGEST]))
        best = self._lengths.get(key)
        if best is None:
            length = self._best_length(*key)
            best = self._lengths[key] = length, self._cost(rows_in_step, length)
        length, cost = best
        if length:
            drafter.rows = rows_in_step
        while length and cost > self._allowance:
            length //= 2
            cost = self._cost(rows_in_step, length)
        return length

    def _best_length(self, rows: int, first_level: int, next_level: int) -> int:
        """The length with the most throughput, if it is clearly better than not drafting."""
        first, then = _rate(first_level), _rate(next_level)
        # A step no larger than twice what was measured: lengths grow as their costs are learnt.
        longest = 2 * self._costs.most_rows - rows
        best, length = _MARGIN / self._worth(rows), 0
        for k in _LENGTHS:
            if k > longest and k > _LENGTHS[0]:
                break
            accepted = first * (1.0 - then**k) / (1.0 - then)
            throughput = (rows + accepted) / self._costs.seconds(rows + k)
            if throughput > best:
                best, length = throughput, k
        if length == 0 and not self._costs.is_known(rows + _LENGTHS[0]):
            return _LENGTHS[0]  # to learn what a row costs
        return length

    def _cost(self, rows: int, length: int) -> float:
        """Seconds that so many more rows add to a step."""
        return self._costs.seconds(rows + length) - self._costs.seconds(rows)

    def _worth(self, rows: int) -> float:
        """Seconds that a token takes without drafts."""
        return self._costs.seconds(rows) / rows

    def _spend(self, seconds: float) -> None:
        self._allowance = min((self._allowance or 0.0) - seconds, self._max_allowance)


def _level(rate: float) -> int:
    return min(int(rate * _LEVELS), _LEVELS - 1)


def _rate(level: int) -> float:
    """The middle of the level; of the highest nearly its end, where long drafts are decided."""
    return (level + 0.5) / _LEVELS if level < _LEVELS - 1 else 1.0 - 0.1 / _LEVELS
