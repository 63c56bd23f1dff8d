"""What a saved state fits: only the model, build and settings that made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

FORMAT_VERSION = 2


@dataclass(frozen=True)
class Fingerprint:
    """All that a state depends on. States of different fingerprints are never mixed.

    `settings` are those of the context and of RoPE that change what is computed; `adapter` is ""
    for none.
    """

    model_sha256: str
    llama_build: str
    kv_type: str
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    adapter: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def fields(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "model_sha256": self.model_sha256,
            "llama_build": self.llama_build,
            "kv_type": self.kv_type,
            "settings": dict(self.settings),
            "adapter": self.adapter,
            "format_version": self.format_version,
        }

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits; equal for equal fingerprints, in any process."""
        text = json.dumps(self.fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
