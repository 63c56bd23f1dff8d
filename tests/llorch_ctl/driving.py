"""Driving a transport by hand."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from llorch_ctl.transport import Answer, Transport
from pool_core.events import Event, Hello


def ask(
    transport: Transport, argv: Sequence[str], cancel: threading.Event | None = None
) -> tuple[list[Event], Answer]:
    """The events of a request, without its hello, and its answer."""
    events: list[Event] = []
    work = transport.request(argv, cancel=cancel)
    while True:
        try:
            event = next(work)
        except StopIteration as stop:
            answer: Answer = stop.value
            return events, answer
        if not isinstance(event, Hello):
            events.append(event)
