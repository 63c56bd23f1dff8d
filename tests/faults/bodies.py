"""Random bodies for every route that takes one: is the worker afterwards what it was before?

`python -m tests.faults.bodies [--count 20000] [--seed 1]` fails when a body is answered with a 5xx
other than 503, when a connection breaks, when memory ends up more than 5 % above what it was, or
when an ordinary request then takes more than 5 % longer than on a worker that saw no such body. The
two are asked in turns, for how fast a machine is changes more than that from minute to minute.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tests.rigs.worker import WorkerProcess

MODEL = "ref-llama"
TOLERANCE = 0.05
_WARM_UP = 0.5  # as many more come before the first look: heaps and caches fill up once
_PROBES = 100
_TURNS = 8

_USER = {"role": "user", "content": "What is the capital of France?"}
VALID: dict[str, dict[str, Any]] = {
    "/execute": {"job_id": "f", "prompt": "The capital", "max_tokens": 3},
    "/cancel": {"job_id": "nobody"},
    "/tokenize": {"prompt": "river stone"},
    "/detokenize": {"tokens": [5, 6]},
    "/v1/chat/completions": {"model": MODEL, "messages": [_USER], "max_tokens": 3, "seed": 1},
    "/v1/completions": {"model": MODEL, "prompt": "The", "max_tokens": 3, "stop": ["x"]},
    "/v1/embeddings": {"model": MODEL, "input": ["a", "b"]},
    "/v1/responses": {"model": MODEL, "input": "hello", "max_output_tokens": 3},
    "/v1/messages": {"model": MODEL, "messages": [_USER], "max_tokens": 3, "system": "Be brief."},
    "/v1/messages/count_tokens": {"model": MODEL, "messages": [_USER]},
}
_EXTRA: dict[str, Any] = {
    "stream": True,
    "temperature": 0.5,
    "tools": [{"name": "t", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    "grammar": 'root ::= "a"',
    "logit_bias": {"5": 1.5},
    "n": 2,
    "logprobs": True,
    "thinking": {"type": "adaptive"},
    "chat_template_kwargs": {"enable_thinking": False},
    "metadata": {"user_id": "u"},
}


def make_body(draw: random.Random, valid: dict[str, Any]) -> bytes:
    """Mostly something like a request, with a few things changed; sometimes nothing like one."""
    kind = draw.random()
    if kind < 0.05:
        return draw.randbytes(draw.randrange(200))
    body = json.loads(json.dumps(valid))
    for name in draw.sample(sorted(_EXTRA), draw.randrange(4)):
        body[name] = json.loads(json.dumps(_EXTRA[name]))
    for _ in range(draw.randrange(4)):
        _change(draw, body)
    raw = json.dumps(body).encode()
    if kind < 0.10:
        return raw[: draw.randrange(len(raw))]
    if kind < 0.15:
        at = draw.randrange(len(raw))
        return raw[:at] + draw.randbytes(3) + raw[at + 3 :]
    return raw


def _change(draw: random.Random, body: Any) -> None:
    """Somewhere within it: something removed, or in the place of something else."""
    while isinstance(body, dict | list) and body:
        keys = list(body) if isinstance(body, dict) else list(range(len(body)))
        key = draw.choice(keys)
        if isinstance(body[key], dict | list) and draw.random() < 0.6:
            body = body[key]
            continue
        if draw.random() < 0.2:
            del body[key]
        else:
            body[key] = draw.choice(_JUNK)(draw)
        return


def _text(draw: random.Random) -> str:
    return "".join(chr(draw.choice((65, 0, 0x1F600, 0xE9, 0x202E))) for _ in range(20))


_JUNK: tuple[Callable[[random.Random], Any], ...] = (
    lambda draw: None,
    lambda draw: draw.random() < 0.5,
    lambda draw: draw.choice((-1, 0, 1, 3, 10**9, 2**63, -(2**40), 10**30)),
    lambda draw: draw.choice((-0.5, 0.0, 1.5, 1e300, float("nan"), float("inf"))),
    lambda draw: "",
    _text,
    lambda draw: "\ud800",
    lambda draw: "x" * draw.randrange(20_000),
    lambda draw: [],
    lambda draw: {},
    lambda draw: [None] * draw.randrange(300),
    lambda draw: {str(i): {} for i in range(draw.randrange(100))},
    lambda draw: _nested(draw.randrange(90)),
    lambda draw: {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    lambda draw: "root ::= root",
)


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"type": value}
    return value


@dataclass(frozen=True, slots=True)
class Condition:
    """How the worker is: resident memory in bytes, and how long an ordinary request takes."""

    memory: int
    seconds: float


@dataclass(slots=True)
class Outcome:
    before: Condition
    after: Condition
    statuses: Counter[int]
    faults: list[str]

    def problems(self, tolerance: float = TOLERANCE) -> list[str]:
        found = list(self.faults)
        for what in ("memory", "seconds"):
            before, after = getattr(self.before, what), getattr(self.after, what)
            if after > before * (1 + tolerance):
                found.append(f"{what}: {before:.6g} before, {after:.6g} after")
        return found


def send_bodies(
    url: str, count: int, seed: int, probes: int = _PROBES, control: str | None = None
) -> Outcome:
    """`control` is the URL of a worker to compare with; without one it is this one, before."""
    draw = random.Random(seed)
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    before = None
    with closing(_Client(url)) as client:
        for index in range(-int(count * _WARM_UP), count):
            if index == 0:
                before = client.condition(probes)
            path = draw.choice(sorted(VALID))
            body = make_body(draw, VALID[path])
            status, answer = client.post(path, body)
            statuses[status] += 1
            if status in (0, 422) or (status >= 500 and status != 503):
                faults.append(f"{path} {status} {body[:300]!r}: {answer[:200]!r}")
        assert before is not None, "at least one body"
        after = client.condition(probes)
        if control is not None:
            with closing(_Client(control)) as other:
                other.condition(probes)
                turns = [(client.condition(probes), other.condition(probes)) for _ in range(_TURNS)]
            after = replace(after, seconds=min(mine.seconds for mine, _ in turns))
            before = replace(before, seconds=min(its.seconds for _, its in turns))
        return Outcome(before, after, statuses, faults)


class _Client:
    """One connection, made anew when the worker has closed it."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._address, timeout=120)

    def close(self) -> None:
        self._connection.close()

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status 0 when there was no answer."""
        for is_last in (False, True):
            try:
                self._connection.request("POST", path, body)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if is_last:
                    return 0, repr(error).encode()
        raise AssertionError("unreachable")

    def condition(self, probes: int) -> Condition:
        body = json.dumps(
            {**VALID["/v1/chat/completions"], "max_tokens": 8, "cache_prompt": False}
        ).encode()
        took = []
        for _ in range(probes):
            started = time.perf_counter()
            status, answer = self.post("/v1/chat/completions", body)
            took.append(time.perf_counter() - started)
            assert status == 200, answer
        self._connection.request("GET", "/health")
        health = json.loads(self._connection.getresponse().read())
        # Near the fastest: what others do on the machine only ever makes it slower.
        return Condition(health["rss_bytes"], sorted(took)[len(took) // 20])


@contextmanager
def _worker() -> Iterator[str]:
    # States in RAM are kept on purpose, up to their limit: it is not what is looked for here.
    with WorkerProcess("--ctx", "4096", "--slots", "4", "--ram-cache", "1M") as worker:
        yield worker.wait_ready().url


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.bodies")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    started = time.monotonic()
    with _worker() as url, _worker() as control:
        outcome = send_bodies(url, args.count, args.seed, control=control)
    print(f"{args.count} bodies in {time.monotonic() - started:.0f} s: {dict(outcome.statuses)}")
    print(f"before {outcome.before}\nafter  {outcome.after}")
    for problem in outcome.problems():
        print(f"FAIL {problem}")
    return bool(outcome.problems())


if __name__ == "__main__":
    sys.exit(main())
