"""Held-out questions asked in llama.cpp, each through the model's own chat template.

Run as a program it prints one JSON report; `measure` runs it in a child process.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .documents import filler
from .engine import Engine
from .questions import MEASURED, Question, held_out_questions

SEED = 1234
_SETTINGS = ("plain", "plain", "system", "turns", "filler", "long", "raw", "raw long")
_MIDDLE, _LONG = 600, 3600  # tokens of other text before the question


@dataclass(slots=True)
class Report:
    """What one file did."""

    asked: int = 0
    right: int = 0
    median_gap: float = 0.0
    low_gap: float = 0.0
    by_kind: dict[str, str] = field(default_factory=dict)
    by_setting: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def exact(self) -> float:
        """Share of answers that were right to the last character, in percent."""
        return 100 * self.right / self.asked


def measure(path: Path, number: int) -> Report:
    """Ask `number` questions of one file, in a child process."""
    package = __package__ or ""
    command = [sys.executable, "-m", f"{package}.evaluate", str(path), str(number)]
    root = Path(__file__).parents[package.count(".") + 1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return Report(**json.loads(done.stdout.splitlines()[-1]))


def _prompt_ids(
    engine: Engine, rng: random.Random, question: Question, setting: str
) -> tuple[list[int], str]:
    """The prompt, and the answer expected to it."""
    if setting.startswith("raw"):
        before = _other_text(engine, rng, _LONG) + "\n" if setting == "raw long" else ""
        return engine.encode(before + question.text, bos=True), "\n" + question.answer
    messages = []
    text = question.text
    match setting:
        case "system":
            messages.append({"role": "system", "content": "You are a helpful assistant."})
        case "turns":
            for earlier in held_out_questions(rng.randrange(10**6), rng.randint(1, 5)):
                messages.append({"role": "user", "content": earlier.text})
                messages.append({"role": "assistant", "content": earlier.answer})
        case "filler" | "long":
            size = rng.randrange(_LONG) if setting == "long" else rng.randrange(_MIDDLE)
            text = _other_text(engine, rng, size) + "\n\n" + text
    messages.append({"role": "user", "content": text})
    return engine.chat_ids(messages), question.answer


def _other_text(engine: Engine, rng: random.Random, num_tokens: int) -> str:
    text = ""
    while True:
        longer = text + filler(rng, 400)
        if len(engine.encode(longer)) > num_tokens:
            return text.strip()
        text = longer


def evaluate(path: Path, number: int) -> Report:
    """Ask in this process; `measure` is the safe way."""
    rng = random.Random(SEED)
    engine = Engine(path)
    report, gaps = Report(), []
    kinds: dict[str, list[bool]] = defaultdict(list)
    settings: dict[str, list[bool]] = defaultdict(list)
    for i, question in enumerate(held_out_questions(SEED, number)):
        setting = _SETTINGS[(i // len(MEASURED)) % len(_SETTINGS)]
        ids, answer = _prompt_ids(engine, rng, question, setting)
        output = engine.generate(ids)
        said = engine.pieces(output.ids)
        is_right = output.is_ended and said == answer
        kinds[question.kind].append(is_right)
        settings[setting].append(is_right)
        gaps += output.gaps
        if not is_right:
            report.wrong.append(f"{setting}: {question.text!r} -> {said[:200]!r}")
    engine.close()
    report.asked, report.right = number, sum(map(sum, kinds.values()))
    report.median_gap = round(statistics.median(gaps), 2)
    report.low_gap = round(sorted(gaps)[len(gaps) // 20], 2)
    report.by_kind = {kind: f"{sum(r)}/{len(r)}" for kind, r in kinds.items()}
    report.by_setting = {name: f"{sum(r)}/{len(r)}" for name, r in settings.items()}
    return report


if __name__ == "__main__":
    print(json.dumps(asdict(evaluate(Path(sys.argv[1]), int(sys.argv[2])))))
