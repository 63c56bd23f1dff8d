"""Text for people: events in one line each, and strangers' text made safe for a terminal."""

from __future__ import annotations

import re

from pool_core.events import Error, Event, Heartbeat, Hello, Log, Progress, Result, State, Warning

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Text from elsewhere, made safe for a terminal: control and bidi characters are shown."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def describe(event: Event) -> str:
    """One plain line about an event, for logs and for output that is not a terminal."""
    match event:
        case Progress(task=task, done=done, total=total, unit=unit):
            share = f"{100 * done / total:.0f}%" if total else f"{done:g} {unit}"
            return f"{task}: {share}"
        case State(subject=subject, state=state, detail=detail):
            return f"{subject}: {state}" + (f" ({detail})" if detail else "")
        case Log(msg=msg, source=source):
            return f"{source}: {msg}" if source else msg
        case Warning(msg=msg):
            return f"warning: {msg}"
        case Hello() | Heartbeat() | Result() | Error():
            return ""
