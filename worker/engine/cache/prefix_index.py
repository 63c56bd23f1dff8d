"""Which of many token sequences shares the longest beginning with a prompt: a radix tree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from worker.engine.cache.snapshot import Tokens, common_length


class Match(NamedTuple):
    """The sequence `key` begins with the prompt's first `length` tokens. `own`: the agent's own."""

    key: str
    length: int
    own: bool


class _Named(NamedTuple):
    tokens: Tokens
    agent: str | None
    exact: bool


class PrefixIndex:
    """Keys of token sequences. Looking one up costs a step per fork passed, not per sequence."""

    def __init__(self) -> None:
        self._named: dict[str, _Named] = {}
        self._of_agent: dict[str, set[str]] = {}
        self._all = _Tree()
        self._exact = _Tree()

    def __len__(self) -> int:
        return len(self._named)

    def put(self, key: str, tokens: Tokens, *, agent: str | None, exact: bool) -> None:
        """Add the sequence; one of the same key is replaced."""
        old = self._named.get(key)
        if old is not None:
            if old.tokens is tokens and (old.agent, old.exact) == (agent, exact):
                return
            self.discard(key)
        self._named[key] = _Named(tokens, agent, exact)
        if agent is not None:
            self._of_agent.setdefault(agent, set()).add(key)
        self._all.add(key, tokens)
        if exact:
            self._exact.add(key, tokens)

    def discard(self, key: str) -> None:
        """Forget the sequence, if it is here."""
        named = self._named.pop(key, None)
        if named is None:
            return
        if named.agent is not None:
            keys = self._of_agent[named.agent]
            keys.remove(key)
            if not keys:
                del self._of_agent[named.agent]
        self._all.remove(key)
        if named.exact:
            self._exact.remove(key)

    @property
    def agents(self) -> set[str]:
        """Whoever has a sequence here."""
        return set(self._of_agent)

    def keys_of(self, agent: str) -> set[str]:
        return set(self._of_agent.get(agent, ()))

    def find(
        self, prompt: Tokens, *, agent: str | None, exact: bool, multiple_of: int
    ) -> Match | None:
        """The longest beginning in common, rounded down to a multiple; None when that is 0.

        `exact` looks only among exact sequences. Of equal lengths the agent's own is preferred.
        """
        found = (self._exact if exact else self._all).longest(prompt)
        if found is None:
            return None
        key, length = found
        length -= length % multiple_of
        if length == 0:
            return None
        for own in sorted(self._of_agent.get(agent, ())) if agent is not None else ():
            named = self._named[own]
            if named.exact or not exact:
                if common_length(named.tokens[:length], prompt) == length:
                    return Match(own, length, True)
        return Match(key, length, False)


class _Node:
    """`label` is what all sequences below have next in common; `keys` are those that end here."""

    __slots__ = ("label", "parent", "children", "keys")

    def __init__(self, label: Tokens, parent: _Node | None) -> None:
        self.label = label
        self.parent = parent
        self.children: dict[int, _Node] = {}
        self.keys: dict[str, None] = {}


class _Tree:
    def __init__(self) -> None:
        self._root = _Node(np.empty(0, np.int32), None)
        self._nodes: dict[str, _Node] = {}

    def add(self, key: str, tokens: Tokens) -> None:
        node, depth = self._root, 0
        while depth < len(tokens):
            child = node.children.get(int(tokens[depth]))
            if child is None:
                leaf = _Node(tokens[depth:], node)
                node.children[int(tokens[depth])] = leaf
                node = leaf
                break
            same = common_length(child.label, tokens[depth:])
            node = child if same == len(child.label) else _split(child, same)
            depth += same
        node.keys[key] = None
        self._nodes[key] = node

    def remove(self, key: str) -> None:
        node = self._nodes.pop(key)
        del node.keys[key]
        parent = node.parent
        if parent is None or node.keys:
            return
        if not node.children:
            del parent.children[int(node.label[0])]
            node = parent
        if node.parent is not None and not node.keys and len(node.children) == 1:
            _join(node)

    def longest(self, prompt: Tokens) -> tuple[str, int] | None:
        """A sequence with the longest beginning in common, and its length in tokens."""
        node, depth = self._root, 0
        while depth < len(prompt):
            child = node.children.get(int(prompt[depth]))
            if child is None:
                break
            same = common_length(child.label, prompt[depth:])
            node = child
            depth += same
            if same < len(child.label):
                break
        if depth == 0:
            return None
        while not node.keys:
            node = next(iter(node.children.values()))
        return next(iter(node.keys)), depth


def _split(node: _Node, at: int) -> _Node:
    """Put a new node between `node` and its parent, after `at` tokens of the label."""
    parent = node.parent
    assert parent is not None
    upper = _Node(node.label[:at], parent)
    parent.children[int(node.label[0])] = upper
    node.label = node.label[at:]
    node.parent = upper
    upper.children[int(node.label[0])] = node
    return upper


def _join(node: _Node) -> None:
    """Make the node and its only child one."""
    parent, (child,) = node.parent, node.children.values()
    assert parent is not None
    child.label = np.concatenate((node.label, child.label))
    child.parent = parent
    parent.children[int(child.label[0])] = child
