"""Field types that more than one dialect uses."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator


def _listed(value: Any) -> Any:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError("must be a string or a list of strings")
    return value


StopStrings = Annotated[list[str], BeforeValidator(_listed)]
"""One stop string or several; how many and how long is the engine's to say."""
