"""Stop strings, found also where they cross token boundaries."""

from __future__ import annotations


class StopMatcher:
    """Passes text through up to the first stop string, and holds back what may begin one.

    Of several matches the one that is complete first wins, and of those the longest; so the
    outcome is the same however the text is split.
    """

    __slots__ = ("_held", "_stops", "matched")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """The text that is now safe to print. Once `matched` is set, nothing more comes."""
        if not self._stops:
            return text
        if self.matched is not None:
            return ""
        text = self._held + text
        start = self._find(text)
        if start is None:
            start = len(text) - self._longest_beginning(text)
            self._held = text[start:]
        else:
            self._held = ""
        return text[:start]

    def flush(self) -> str:
        """The end: what was held back is only text after all."""
        held, self._held = self._held, ""
        return held

    def _find(self, text: str) -> int | None:
        """Where the winning stop string starts, noting it in `matched`."""
        found = [(text.find(stop), stop) for stop in self._stops]
        hits = [(at + len(stop), at, stop) for at, stop in found if at >= 0]
        if not hits:
            return None
        _, start, self.matched = min(hits)
        return start

    def _longest_beginning(self, text: str) -> int:
        """How many characters at the end of `text` are the beginning of a stop string."""
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:size]):
                    longest = size
                    break
        return longest
