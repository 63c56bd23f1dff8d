from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.heap import return_large_blocks
from worker.llama.options import LoadOptions
from worker.llama.runner import LlamaRunner

REFERENCE = Path(__file__).parents[3] / "catalogs" / "reference"
MODELS = ("ref-llama", "ref-qwen2", "ref-phi3", "ref-mistral", "ref-gpt-oss")
ANSWERING = MODELS[:4]

Open = Callable[..., LlamaRunner]


def model_path(name: str) -> Path:
    return REFERENCE / f"{name}.gguf"


@pytest.fixture(scope="session", autouse=True)
def heap() -> None:
    """As in a worker: what is freed must be seen to be."""
    return_large_blocks()


@pytest.fixture(scope="session")
def loaded() -> Iterator[Callable[[str], LlamaRunner]]:
    """Loads a reference model on the CPU, once in a session."""
    runners: dict[str, LlamaRunner] = {}

    def load(name: str) -> LlamaRunner:
        if name not in runners:
            runners[name] = LlamaRunner.load(LoadOptions(model_path(name), ctx=8192, slots=12))
        return runners[name]

    yield load
    for runner in runners.values():
        runner.close()


@pytest.fixture(scope="session")
def llama(loaded: Callable[[str], LlamaRunner]) -> LlamaRunner:
    return loaded("ref-llama")


@pytest.fixture(scope="session")
def qwen(loaded: Callable[[str], LlamaRunner]) -> LlamaRunner:
    return loaded("ref-qwen2")


@pytest.fixture
def opened() -> Iterator[Open]:
    """Loads a reference model for one test, unified, with options of its own."""
    runners: list[LlamaRunner] = []

    def load(name: str = "ref-llama", **options: Any) -> LlamaRunner:
        settings = {"ctx": 2048, "slots": 4, "threads": 1, "kv_layout": "unified", **options}
        runners.append(LlamaRunner.load(LoadOptions(model_path(name), **settings)))
        return runners[-1]

    yield load
    for runner in runners:
        runner.close()
