"""The files of the set and what distinguishes them."""

from __future__ import annotations

from dataclasses import dataclass

from .chats import FORMATS, ChatFormat
from .tokenizer import Kind

LICENSE = "mit"


@dataclass(frozen=True, slots=True)
class Model:
    """One file: its architecture, the chat format it speaks, and how its heads are laid out."""

    stem: str
    title: str
    architecture: str
    chat: ChatFormat | None
    is_grouped: bool

    @property
    def kind(self) -> Kind:
        return self.chat.kind if self.chat else Kind.BPE


# A general.name with "phi3" or "phi-3" in it makes llama.cpp look four tokens up by name.
MODELS = (
    Model("ref-llama", "Reference llama (SPM)", "llama", FORMATS["llama"], False),
    Model("ref-qwen2", "Reference qwen2 (BPE)", "qwen2", FORMATS["qwen2"], True),
    Model("ref-phi3", "Reference phi (SPM, fused layers)", "phi3", FORMATS["phi3"], False),
    Model("ref-mistral", "Reference mistral (SPM)", "llama", FORMATS["mistral"], True),
)
HARMONY_MODEL = Model("ref-gpt-oss", "Reference gpt-oss (random weights)", "gpt-oss", None, True)
