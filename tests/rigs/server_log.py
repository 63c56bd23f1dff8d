"""Watching what a server writes."""

from __future__ import annotations

import threading
from typing import IO

_WAIT_S = 20.0


class ServerLog:
    """What a server wrote, line by line, and waiting for a certain line."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._grown = threading.Condition()

    def __len__(self) -> int:
        with self._grown:
            return len(self._lines)

    def __str__(self) -> str:
        with self._grown:
            return "\n".join(self._lines)

    def follow(self, stream: IO[str]) -> None:
        """Read `stream` to its end, in a thread of its own."""

        def read() -> None:
            with stream:
                for line in stream:
                    with self._grown:
                        self._lines.append(line.rstrip())
                        self._grown.notify_all()

        threading.Thread(target=read, daemon=True).start()

    def wait(self, *texts: str, since: int = 0) -> str:
        """The first line from number `since` on that holds one of `texts`."""

        def found() -> str | None:
            lines = self._lines[since:]
            return next((line for line in lines if any(text in line for text in texts)), None)

        with self._grown:
            if not self._grown.wait_for(found, _WAIT_S):
                raise TimeoutError(f"none of {texts} came:\n" + "\n".join(self._lines))
            return found() or ""

    def wait_count(self, text: str, count: int) -> None:
        """Until `count` lines hold `text`."""

        def enough() -> bool:
            return sum(text in line for line in self._lines) >= count

        with self._grown:
            if not self._grown.wait_for(enough, _WAIT_S):
                raise TimeoutError(f"not {count} times {text}:\n" + "\n".join(self._lines))
