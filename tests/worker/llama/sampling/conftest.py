from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as C

import worker.llama.library  # noqa: F401  (initialises llama.cpp)
from worker.llama.vocab import LlamaVocab

REFERENCE = Path(__file__).parents[4] / "catalogs" / "reference"


@pytest.fixture(scope="session")
def model() -> Iterator[Any]:
    """A model's vocabulary without its weights."""
    params = C.llama_model_default_params()
    params.vocab_only = True
    model = C.llama_model_load_from_file(str(REFERENCE / "ref-qwen2.gguf").encode(), params)
    yield model
    C.llama_model_free(model)


@pytest.fixture(scope="session")
def vocab(model: Any) -> LlamaVocab:
    return LlamaVocab(model)
