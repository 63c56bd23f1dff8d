"""How likely a text was, token by token."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.events import TopLogprob
from worker.engine.runner import Sample
from worker.engine.side_work import Pieces
from worker.llama.load import LoadedModel
from worker.llama.sampling import logprobs
from worker.llama.side_context import Piece, SideContext

# Every token gets a row of logits, so that a piece costs more than one of a prompt.
_PIECE_TOKENS = 64


class Scoring:
    """Computes in a context of its own, in pieces that are always the same: so are the results,
    to the last bit."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._vocab = loaded.model.vocab
        self._context = SideContext(loaded, max_batch=_PIECE_TOKENS)

    def score(self, tokens: Sequence[int], num_top: int) -> Pieces[list[Sample]]:
        """Each token with its log-probability after those before it, of which the first has none,
        and the `num_top` likeliest in its place. Raises RunnerError."""
        scored = [Sample(tokens[0])]
        with self._context.empty(len(tokens)) as context:
            for start in range(0, len(tokens) - 1, _PIECE_TOKENS):
                piece = list(tokens[start : min(start + _PIECE_TOKENS, len(tokens) - 1)])
                rows = context.decode([Piece(piece, start, len(piece))], [0])
                for row, token in zip(rows, tokens[start + 1 :], strict=False):
                    logprob, top = logprobs(row, token, num_top)
                    scored.append(Sample(token, logprob, self._dressed(top)))
                yield
        return scored

    def close(self) -> None:
        self._context.close()

    def _dressed(self, top: Sequence[tuple[int, float]]) -> tuple[TopLogprob, ...]:
        return tuple(TopLogprob(i, self._vocab.token_bytes(i), p) for i, p in top)
