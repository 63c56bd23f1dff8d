"""What the context holds: running sequences, and those kept for whoever begins like them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import uuid4

import numpy as np

from worker.engine.blocks import CELLS_PER_BLOCK, BlockLedger, blocks_for
from worker.engine.cache.snapshot import Tokens, agent_key, common_length, tail_of
from worker.engine.runner import Layout


class Resident:
    """One slot's contents: the first `length` of `tokens` are computed.

    `tokens` is the list that a running sequence appends to. `saved_length` of it are also outside
    the context; `hits` counts those who found something to build upon here. `tail` is what an idle
    one's text goes on with beyond them.
    """

    __slots__ = (
        "_array",
        "agent",
        "blocks",
        "hits",
        "is_isolated",
        "key",
        "length",
        "saved_length",
        "slot",
        "tail",
        "tokens",
        "used_at",
    )

    def __init__(self, slot: int, tokens: list[int], agent: str | None) -> None:
        self.slot = slot
        self.tokens = tokens
        self.agent = agent
        self.key = f"text/{uuid4().hex}" if agent is None else agent_key(agent)
        self.length = 0
        self.blocks: list[int] = []
        self.is_isolated = False
        self.saved_length = 0
        self.hits = 0
        self.used_at = 0.0
        self.tail: tuple[int, ...] = ()
        self._array: Tokens | None = None

    @property
    def computed(self) -> Tokens:
        """The tokens whose cells it holds."""
        if self._array is None or len(self._array) != self.length:
            self._array = np.array(self.tokens[: self.length], np.int32)
        return self._array

    def forget_array(self) -> None:
        """`tokens` are others now."""
        self._array = None

    @property
    def is_saved(self) -> bool:
        return self.saved_length == self.length

    @property
    def is_durable(self) -> bool:
        """Worth a place on the disk: an agent's, or one that somebody came back to."""
        return self.agent is not None or self.hits > 0

    @property
    def is_dirty(self) -> bool:
        return self.is_durable and not self.is_saved


class Residents:
    """Leases slots and blocks, and remembers who is idle, least recently used first."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.ledger = BlockLedger(layout.num_cells // CELLS_PER_BLOCK)
        self.running: dict[int, Resident] = {}  # by slot
        self.idle: dict[int, Resident] = {}  # by slot, least recently used first
        self.num_changes = 0  # of who is idle, and with how much
        self._free_slots = list(range(layout.num_slots))

    @property
    def is_empty(self) -> bool:
        return not self.running and not self.idle

    @property
    def num_idle_blocks(self) -> int:
        return len({block for one in self.idle.values() for block in one.blocks})

    @property
    def num_running_blocks(self) -> int:
        return len({block for one in self.running.values() for block in one.blocks})

    def open(
        self,
        tokens: list[int],
        cells: int,
        *,
        agent: str | None = None,
        isolated: bool = False,
        source: Resident | None = None,
        length: int = 0,
    ) -> Resident:
        """A running resident with room for `cells`, to get the source's first `length`.

        The caller has made sure that a slot and the blocks that are not shared are free.
        """
        slot = self._best_slot(sorted(self._free_slots), isolated)
        assert slot is not None, "opened without a slot"
        self._free_slots.remove(slot)
        one = Resident(slot, tokens, agent)
        one.is_isolated = isolated
        one.length = length
        if source is not None and not self.layout.is_split:
            one.blocks = source.blocks[: length // CELLS_PER_BLOCK]
            self.ledger.share(one.blocks)
        self.running[slot] = one
        assert self.extend(one, cells), "opened without room"
        return one

    def pick_slot(self, *, isolated: bool = False, spare: Resident | None = None) -> int | None:
        """The slot for the next one: a free one, or one that an idle resident other than `spare`
        has to leave; None when there is neither.

        With cells of their own, sequences are computed together only if their slots are
        neighbours, so whoever would be in between has to leave.
        """
        idle = [slot for slot, one in self.idle.items() if one is not spare]
        return self._best_slot(sorted(self._free_slots) + idle, isolated)

    def would_be_apart(self, one: Resident) -> bool:
        """Whether an idle one, if it ran where it is, would be computed apart from others."""
        return self.layout.is_split and self._num_gaps(one.slot) > self._num_gaps(None)

    def _best_slot(self, slots: list[int], isolated: bool) -> int | None:
        """Of equals the first."""
        if isolated and self._free_slots:  # never computed together with anybody
            return max(self._free_slots)
        if self.layout.is_split and not isolated:
            return min(slots, key=self._num_gaps, default=None)
        return next(iter(slots), None)

    def _num_gaps(self, slot: int | None) -> int:
        """In how many runs of neighbours all are computed, if `slot` is one more of them."""
        slots = {one.slot for one in self.running.values() if not one.is_isolated}
        slots |= {slot} if slot is not None else set()
        starts = sum(at - 1 not in slots for at in slots)
        return max(starts, 1)

    def resume(self, one: Resident, tokens: list[int], length: int, cells: int) -> None:
        """Let an idle one run again from its first `length` on; room as for `open`."""
        self.num_changes += 1
        del self.idle[one.slot]
        self.running[one.slot] = one
        self.cut(one, length)
        one.tokens = tokens
        one.tail = ()
        one.forget_array()
        assert self.extend(one, cells), "resumed without room"

    def can_copy(self, one: Resident) -> bool:
        """Whether there is a slot and room for a second one like it, with nobody moved out."""
        shared = 0 if self.layout.is_split else one.length // CELLS_PER_BLOCK
        return bool(self._free_slots) and self.ledger.free >= blocks_for(one.length) - shared

    def of_agent(self, agent: str) -> Resident | None:
        """Where an agent is: where it runs, or else where it rests."""
        everyone = (*self.running.values(), *self.idle.values())
        return next((one for one in everyone if one.agent == agent), None)

    def extend(self, one: Resident, cells: int) -> bool:
        """Promise it room for `cells` in all; False, and nothing changed, when there is none."""
        missing = blocks_for(cells) - len(one.blocks)
        if missing <= 0:
            return True
        if missing > self.ledger.free or not self.can_hold(cells, isolated=one.is_isolated):
            return False
        one.blocks += self.ledger.take(missing)
        return True

    def can_hold(self, cells: int, *, isolated: bool) -> bool:
        """Whether so many ever fit into one slot of this layout. Who has a context of its own
        is bound by the budget alone."""
        if isolated:
            return blocks_for(cells) <= self.ledger.total
        return cells <= self.layout.slot_cells

    def reshape(self, layout: Layout) -> None:
        """Start again, empty, with other slots."""
        assert self.is_empty, "somebody is still here"
        self.layout = layout
        self.ledger = BlockLedger(layout.num_cells // CELLS_PER_BLOCK)
        self._free_slots = list(range(layout.num_slots))
        self.num_changes += 1

    def cut(self, one: Resident, length: int) -> None:
        """Keep the first `length`, and of the blocks only those that are whole: what follows in
        the last one will not be what its other holders have there."""
        whole = length // CELLS_PER_BLOCK
        self.ledger.drop(one.blocks[whole:])
        del one.blocks[whole:]
        one.length = length
        one.saved_length = min(one.saved_length, length)

    def rest(self, one: Resident, now: float) -> None:
        """Keep a running one, idle, with the blocks it needs and no more."""
        self.num_changes += 1
        del self.running[one.slot]
        self.idle[one.slot] = one
        one.tail = tail_of(one.tokens, one.length)
        one.tokens = one.tokens[: one.length]
        one.used_at = now
        needed = blocks_for(one.length)
        self.ledger.drop(one.blocks[needed:])
        del one.blocks[needed:]

    def touch(self, one: Resident, now: float) -> None:
        """Somebody built upon it: it is the most recently used."""
        one.hits += 1
        one.used_at = now
        if one.slot in self.idle:
            self.idle[one.slot] = self.idle.pop(one.slot)

    def close(self, one: Resident) -> None:
        """Give back its slot and its blocks."""
        self.num_changes += 1
        self.running.pop(one.slot, None)
        self.idle.pop(one.slot, None)
        self.ledger.drop(one.blocks)
        one.blocks = []
        self._free_slots.append(one.slot)

    def longest_prefix(
        self, tokens: Tokens, can_reuse: Callable[[int, int], bool]
    ) -> tuple[Resident | None, int]:
        """Who has most of the beginning of `tokens`, and how much; never all of them, because
        the last is computed anew for its logits."""
        best, best_length = None, 0
        for one in self._shareable():
            length = min(common_length(tokens, one.computed), len(tokens) - 1)
            if length > best_length and can_reuse(one.slot, length):
                best, best_length = one, length
        return best, best_length

    def check(self) -> None:
        """Raises LeakedBlocks."""
        everyone = [*self.running.values(), *self.idle.values()]
        self.ledger.check(one.blocks for one in everyone)
        assert len(everyone) + len(self._free_slots) == self.layout.num_slots, "a slot is lost"
        assert all(len(one.blocks) >= blocks_for(one.length) for one in everyone)

    def _shareable(self) -> Iterable[Resident]:
        yield from (one for one in self.running.values() if not one.is_isolated)
        yield from self.idle.values()
