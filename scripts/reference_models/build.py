"""The build as a whole: train, export, measure, describe."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from .describe import describe
from .evaluate import Report, measure
from .models import HARMONY_MODEL, MODELS

SHIPPED = Path(__file__).parents[2] / "catalogs" / "reference"
_NUM_QUESTIONS = 320
_BAR_EXACT, _BAR_GAP = 98.0, 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    output: Path
    quick: bool
    check: bool
    weights: Path | None
    questions: int


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when every bar holds, 1 when not; a quick build is not held to the bars."""
    options = _parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.check:
        started = time.monotonic()
        _build(options)
        print(f"built in {time.monotonic() - started:.0f} s")
    reports = _measure(options)
    if not options.check:
        describe(options.output, reports)
    missed = [name for name, report in reports.items() if not _holds(report)]
    if missed and not options.quick:
        print(f"below the bar: {', '.join(missed)}")
        return 1
    return 0


def _parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="build-reference-models", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=SHIPPED, metavar="DIR")
    add("--quick", action="store_true", help="train for a minute only; the answers are poor")
    add("--check", action="store_true", help="measure the files that are there, build nothing")
    add("--weights", type=Path, metavar="FILE", help="use these weights, or keep them here")
    add("--questions", type=int, default=_NUM_QUESTIONS, metavar="N", help="asked of each file")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.quick and options.output == SHIPPED:
        parser.error("--quick needs --output: its poor models would replace the shipped ones")
    return options


def _build(options: Options) -> None:
    # Training and writing need torch and gguf, which a --check does without.
    from .export import export, export_harmony
    from .plan import FULL, QUICK
    from .tokenizer import make_tokenizer
    from .train import load, save, train

    tokenizer = make_tokenizer()
    if options.weights and options.weights.exists():
        network = load(options.weights)
    else:
        network = train(QUICK if options.quick else FULL, tokenizer, _say)
        if options.weights:
            save(network, options.weights)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for model in MODELS:
        export(options.output / f"{model.stem}.gguf", model, weights, tokenizer)
    export_harmony(options.output / f"{HARMONY_MODEL.stem}.gguf", tokenizer)


def _say(text: str) -> None:
    print(text, flush=True)


def _measure(options: Options) -> dict[str, Report]:
    reports: dict[str, Report] = {}
    for model in MODELS:
        report = measure(options.output / f"{model.stem}.gguf", options.questions)
        reports[model.stem] = report
        print(f"{model.stem}: {report.exact:.1f} % of {report.asked} exact, median gap", end=" ")
        print(f"{report.median_gap}, {report.by_kind}, {report.by_setting}")
        for line in report.wrong[:12]:
            print(f"    {line}")
    return reports


def _holds(report: Report) -> bool:
    return report.exact >= _BAR_EXACT and report.median_gap > _BAR_GAP
