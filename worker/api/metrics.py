"""What this worker has done and does, for Prometheus, in its text format.

Written by hand: it is forty lines of text, and a library for it would bring registries, threads
and files of its own. Nothing is counted token by token; what the engine counts anyway is read
when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from worker.engine.events import Failed, Finished

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_TOKENS = (1, 8, 32, 128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)

Labels = Mapping[str, str]
_NO_LABELS: Labels = {}


class Histogram:
    """How often values of which size came; `bounds` are the upper ends, included."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def note(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            total += count
            upper = "+Inf" if bound is None else f"{bound:g}"
            yield sample(f"{name}_bucket", total, {"le": upper})
        yield sample(f"{name}_sum", self._sum)
        yield sample(f"{name}_count", total)


class Metrics:
    """What is counted as requests end. Touched by the event loop only."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._finished: Counter[str] = Counter()
        self._histograms = {
            "llorch_time_to_first_token_seconds": (
                "From being queued to the first token.",
                Histogram(_SECONDS),
            ),
            "llorch_queue_seconds": ("From being queued to being started.", Histogram(_SECONDS)),
            "llorch_time_per_output_token_seconds": (
                "Between two tokens of one answer, its mean.",
                Histogram(_TOKEN_SECONDS),
            ),
            "llorch_request_prompt_tokens": ("Tokens of one prompt.", Histogram(_TOKENS)),
            "llorch_request_output_tokens": ("Tokens of one answer.", Histogram(_TOKENS)),
        }

    def note_request(self, method: str, route: str, status: int) -> None:
        self._requests[method, route, status] += 1

    def note_end(self, event: Finished | Failed) -> None:
        if isinstance(event, Failed):
            self._finished[f"error:{event.code}"] += 1
            return
        self._finished[event.reason.value.lower()] += 1
        timings = event.timings
        values: dict[str, float] = {
            "llorch_request_prompt_tokens": timings.prompt_tokens,
            "llorch_request_output_tokens": timings.completion_tokens,
        }
        if timings.completion_tokens:
            values["llorch_queue_seconds"] = timings.queued_s
            first = timings.queued_s + timings.prefill_s
            values["llorch_time_to_first_token_seconds"] = first
        if timings.completion_tokens > 1:
            mean = timings.decode_s / (timings.completion_tokens - 1)
            values["llorch_time_per_output_token_seconds"] = mean
        for name, value in values.items():
            self._histograms[name][1].note(value)

    def lines(self) -> Iterator[str]:
        name = "llorch_http_requests_total"
        yield from head(name, "counter", "Requests answered, by route and status.")
        for (method, route, status), count in sorted(self._requests.items()):
            labels = {"method": method, "route": route, "status": str(status)}
            yield sample(name, count, labels)
        name = "llorch_generations_total"
        yield from head(name, "counter", "Generations that ended, by how.")
        for reason, count in sorted(self._finished.items()):
            yield sample(name, count, {"reason": reason})
        for name, (help, histogram) in self._histograms.items():
            yield from head(name, "histogram", help)
            yield from histogram.lines(name)


def head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def sample(name: str, value: float, labels: Labels = _NO_LABELS) -> str:
    written = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    number = str(int(value)) if isinstance(value, int) else repr(float(value))
    return f"{name}{{{written}}} {number}" if written else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
