"""Reading the head of a GGUF with a real vocabulary: ours beside gguf.GGUFReader, in one run.

python -m benchmarks.gguf_header        (needs the `gguf` package: pip install llorch[reference])
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from pool_core.gguf import read_header
from tests.rigs.gguf import Tensor, make_gguf

VOCAB, MERGES, WEIGHTS = 151_936, 151_387, 4_400_000_000


def make_file(folder: Path) -> Path:
    """Like Qwen2.5's header, before weights that are a hole in the file."""
    facts = {
        "general.architecture": "qwen2",
        "general.file_type": 15,
        "qwen2.context_length": 32768,
        "qwen2.block_count": 24,
        "qwen2.embedding_length": 896,
        "qwen2.attention.head_count": 14,
        "qwen2.attention.head_count_kv": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [f"token{number:06}" for number in range(VOCAB)],
        "tokenizer.ggml.token_type": [1] * VOCAB,
        "tokenizer.ggml.merges": [f"left{n:06} right{n:06}" for n in range(MERGES)],
        "tokenizer.chat_template": "{% for message in messages %}{{ message }}{% endfor %}",
    }
    path = folder / "large.gguf"
    with path.open("wb") as file:
        file.write(make_gguf(facts, [Tensor("weights", (WEIGHTS,))]))
        file.truncate(file.tell() + WEIGHTS)
    return path


def best_of(count: int, call: Callable[[], Any]) -> float:
    """Seconds of the fastest of `count` calls."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = make_file(Path(folder))
        facts = best_of(20, lambda: read_header(path, facts_only=True))
        whole = best_of(5, lambda: read_header(path))
        peer = best_of(2, lambda: GGUFReader(path))
    print(
        f"facts {facts * 1e3:.2f} ms, whole header {whole * 1e3:.1f} ms, "
        f"gguf.GGUFReader {peer * 1e3:.0f} ms: {peer / whole:.0f} times ours"
    )


if __name__ == "__main__":
    main()
