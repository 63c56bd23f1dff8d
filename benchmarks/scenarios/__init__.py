"""What can be measured. Each module has one function `run(session)` that reports its tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.session import Session


@dataclass(frozen=True, slots=True)
class Scenario:
    """`models` are measured unless the command line names others."""

    name: str
    summary: str
    models: tuple[str, ...] = ("60m", "0.5b")

    def run(self, session: Session) -> None:
        module = import_module(f"benchmarks.scenarios.{self.name.replace('-', '_')}")
        run: Callable[[Session], None] = module.run
        run(session)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("throughput", "tokens a second at 1, 4, 8 and 16 clients"),
        Scenario(
            "overhead", "the same with 2.4 MB of weights: what surrounds a model", ("ref-llama",)
        ),
        Scenario("shared-prefix", "16 clients with one system prompt of 2,000 tokens"),
        Scenario("long-contexts", "tokens a second deep in a context", ("0.5b",)),
        Scenario("repetition", "text that repeats: what drafts win"),
        Scenario("drafts-fail", "text that does not repeat: what drafts cost"),
        Scenario("agents", "time to first token of an agent that returns", ("0.5b",)),
        Scenario("spawn", "from starting the process to the first token"),
        Scenario("memory", "memory and file size of an agent"),
        Scenario("reproducible", "what reproducible answers cost"),
        Scenario("kv-types", "what a quantised cache does to answers", ("ref-llama", "ref-qwen2")),
        Scenario("python-server", "python -m llama_cpp.server at 1 client"),
        Scenario("profile", "Python's share of a step with 16 clients"),
        Scenario("imports", "what our worker imports, and how long that takes", ("60m",)),
    )
}
