"""How a waiting sequence may start. Decides; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.engine.blocks import CELLS_PER_BLOCK, blocks_for
from worker.engine.cache.snapshot import Snapshot, Tokens, common_length
from worker.engine.residents import Resident, Residents
from worker.engine.sequence import Sequence

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive

# Fewer tokens than this are computed in less time than it takes to get them from elsewhere.
_MIN_GAIN = 64
_MAX_FETCHES = 2  # of one sequence: one that did not help, and one more


@dataclass(frozen=True, slots=True)
class Start:
    """Begin with `length` tokens that are there already, in a slot with room for `cells`.

    They come from `snapshot`, or from `source`: by going on in its slot, or by sharing its cells.
    `blocks` is how many must be free.
    """

    cells: int
    blocks: int
    length: int = 0
    source: Resident | None = None
    resumes: bool = False
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Follow:
    """Wait until `leader`, who computes the same beginning, has computed `length` of it."""

    leader: Sequence
    length: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get that snapshot first."""

    key: str


class Planner:
    """Finds, for each sequence, the start that leaves the least to compute.

    `can_cut` says whether any beginning of a sequence, or of its saved state, can be built upon;
    otherwise a state is good only as a whole. `max_cells` is the most that a slot can have in any
    layout; a snapshot may come from a worker with a larger context.
    """

    def __init__(
        self,
        residents: Residents,
        can_reuse: Callable[[int, int], bool],
        archive: Archive | None,
        *,
        can_cut: bool,
        max_cells: int,
    ) -> None:
        self._residents = residents
        self._can_reuse = can_reuse
        self._archive = archive
        self._can_cut = can_cut
        self._max_cells = max_cells

    def plan(self, seq: Sequence, running: Iterable[Sequence]) -> Start | Follow | Fetch:
        if not seq.request.use_cache:
            return self._afresh(seq)
        return self._exact(seq, running) if seq.is_isolated else self._ordinary(seq, running)

    def _afresh(self, seq: Sequence) -> Start:
        cells = seq.max_cells if seq.is_isolated else len(seq.tokens) + 1
        return Start(cells, blocks_for(cells))

    def _ordinary(self, seq: Sequence, running: Iterable[Sequence]) -> Start | Follow | Fetch:
        tokens = seq.token_array
        source, length = self._residents.longest_prefix(tokens, self._can_reuse)
        if self._can_cut and (follow := _best_leader(seq, running, length)):
            return follow
        if seq.snapshot is None and self._archive is not None and seq.num_fetches < _MAX_FETCHES:
            found = self._archive.find(tokens[:-1], agent=seq.agent)
            if found is not None and found.length >= length + _MIN_GAIN:
                return Fetch(found.key)
        if seq.snapshot is not None:
            usable = self._usable(seq.snapshot, tokens, len(tokens) - 1)
            cells = max(len(tokens) + 1, len(seq.snapshot.tokens))
            if usable > length and cells <= self._max_cells:
                return Start(cells, blocks_for(cells), usable, snapshot=seq.snapshot)
        return self._afresh(seq) if source is None else self._upon(seq, source, length)

    def _upon(self, seq: Sequence, source: Resident, length: int) -> Start:
        """Go on in a slot whose owner this is, or that nobody owns and loses nothing by it."""
        whole = length // CELLS_PER_BLOCK
        cells = len(seq.tokens) + 1
        is_own = source.agent is not None and source.agent == seq.agent
        is_extended = source.agent is None and source.length == length
        resumes = source.slot in self._residents.idle and (is_own or is_extended)
        resumes = resumes and not self._residents.would_be_apart(source)
        blocks = blocks_for(cells)
        if resumes or not self._residents.layout.is_split:
            blocks -= whole
        if resumes:
            blocks -= self._residents.ledger.only_held(source.blocks[whole:])
        return Start(cells, blocks, length, source, resumes)

    def _exact(self, seq: Sequence, running: Iterable[Sequence]) -> Start | Follow | Fetch:
        """Whole blocks only, and only those computed just as they would be here."""
        if self._archive is None or seq.exact_length == 0:
            return self._afresh(seq)
        prompt = seq.token_array[: seq.exact_length]
        if seq.snapshot is None and seq.num_fetches < _MAX_FETCHES:
            found = self._archive.find(prompt, agent=seq.agent, exact=True)
            follow = _best_exact_leader(seq, running, found.length if found else 0)
            if follow:
                return follow
            if found is not None and found.length > 0:
                return Fetch(found.key)
        if seq.snapshot is None or not seq.snapshot.exact:
            return self._afresh(seq)
        usable = _whole(self._usable(seq.snapshot, prompt, len(prompt)))
        cells = max(seq.max_cells, len(seq.snapshot.tokens))
        if usable == 0 or cells > self._max_cells:
            return self._afresh(seq)
        return Start(cells, blocks_for(cells), usable, snapshot=seq.snapshot)

    def _usable(self, snapshot: Snapshot, tokens: Tokens, most: int) -> int:
        """How many tokens of the snapshot are a beginning of these."""
        length = min(common_length(snapshot.tokens, tokens), most)
        return length if self._can_cut or length == len(snapshot.tokens) else 0


def _best_leader(seq: Sequence, running: Iterable[Sequence], length: int) -> Follow | None:
    best = None
    for other in running:
        if other.is_isolated or other.is_decoding or not other.request.use_cache:
            continue
        common = min(common_length(other.token_array, seq.token_array), len(seq.tokens) - 1)
        if common >= length + _MIN_GAIN and common > other.num_computed:
            best, length = Follow(other, common), common
    return best


def _best_exact_leader(seq: Sequence, running: Iterable[Sequence], length: int) -> Follow | None:
    best = None
    for other in running:
        if not other.is_isolated or other.num_computed >= other.exact_length:
            continue
        shared = other.token_array[: other.exact_length]
        common = _whole(common_length(shared, seq.token_array[: seq.exact_length]))
        if common > length and other.request.use_cache:
            best, length = Follow(other, other.exact_length), common
    return best


def _whole(length: int) -> int:
    return length // CELLS_PER_BLOCK * CELLS_PER_BLOCK
