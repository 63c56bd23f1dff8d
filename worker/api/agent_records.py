"""What is said of agents, and why something cannot be done with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from worker.api.errors import ApiError
from worker.engine.agents import AgentView
from worker.engine.errors import (
    AgentBusy,
    AgentExists,
    EngineStopped,
    NothingKept,
    UnknownAgent,
)

_BUSY_S = 1.0


def to_record(view: AgentView) -> dict[str, Any]:
    """For JSON. Bytes in the context are None where no state has been measured yet."""
    return {
        "name": view.name,
        "status": view.status,
        "tier": view.tier,
        "tokens": view.tokens,
        "blocks": view.blocks,
        "bytes": {
            "context": view.context_bytes,
            "ram": view.ram_bytes,
            "disk": view.disk_bytes,
        },
        "created_at": _rfc3339(view.created_s),
        "last_used_at": _rfc3339(view.used_s or None),
        "turns": view.turns,
        "hits": view.hits,
    }


@contextmanager
def agent_refusals() -> Iterator[None]:
    """The engine's refusals as those of the API."""
    try:
        yield
    except UnknownAgent as error:
        raise ApiError(404, "AGENT_NOT_FOUND", str(error), field="name") from None
    except AgentExists as error:
        raise ApiError(409, "AGENT_EXISTS", str(error), field="name") from None
    except AgentBusy as error:
        message = f"{error}; wait, or cancel what it does"
        raise ApiError(409, "AGENT_BUSY", message, retry_after_s=_BUSY_S) from None
    except NothingKept as error:
        raise ApiError(409, "NOTHING_KEPT", str(error)) from None
    except EngineStopped as error:
        raise ApiError(503, "DRAINING", str(error), retry_after_s=10) from None


def _rfc3339(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
