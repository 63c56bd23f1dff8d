"""Small makers of matrices, answers and observations."""

from __future__ import annotations

from typing import Any

from llorch_ctl.matrix.load import parse_matrix
from llorch_ctl.matrix.observation import Observation, SpeedFacts
from llorch_ctl.matrix.plan import CellKey, Plan, make_plan
from llorch_ctl.matrix.reports.report import Report
from llorch_ctl.matrix.spec import Matrix
from llorch_ctl.matrix.trace import Answer, Token
from llorch_ctl.matrix.verdict import judge

TOML = """
models = ["one", "two"]
backends = ["cpu", "rpc"]
pools = ["local"]

[[cases]]
name = "capital"
prompt = "What is the capital of France?"
equals = "Paris."

[[cases]]
name = "sum"
prompt = "What is 17 + 25?"
contains = "42"
"""
CPU = CellKey("one", "cpu", "local")
RPC = CellKey("one", "rpc", "local")


def make_matrix(extra: str = "", text: str = TOML) -> Matrix:
    """`extra` is put before the cases."""
    head, mark, cases = text.partition("\n[[cases]]")
    return parse_matrix((head + "\n" + extra + mark + cases).encode(), "test.toml")


def make_tokens(*texts: str, logprob: float = -0.01, **likeliest: float) -> tuple[Token, ...]:
    return tuple(Token(text, number, logprob, likeliest) for number, text in enumerate(texts))


def make_answer(*texts: str, logprob: float = -0.01, **changes: Any) -> Answer:
    text = "".join(texts)
    tokens = make_tokens(*texts, logprob=logprob)
    values = {
        "text": text,
        "tokens": tokens,
        "body": f"{text} {logprob}".encode("utf-8", "replace"),
    }
    return Answer(**values | changes)


def make_observation(cell: CellKey = CPU, **changes: Any) -> Observation:
    """A cell in which everything is well; `changes` replace fields."""
    capital, total = make_answer("\n", "Paris", "."), make_answer("\n", "42")
    values: dict[str, Any] = {
        "health": {"layers_on_device": 4, "layers_total": 4, "device": "CPU"},
        "machine": {
            "name": "box",
            "system": "Linux 6.1 x86_64",
            "device": "CPU",
            "build": "0.3.36",
        },
        "runs": {"capital": [capital] * 3, "sum": [total] * 3},
        "together": {"capital": [capital] * 4, "sum": [total] * 4},
        "speed": SpeedFacts(0.012, 812.0, 3000.0, 210),
        "rss_bytes": 98_000_000,
        "load_s": 0.4,
        "is_loaded": True,
        "started": "2026-10-01T10:00:00.000Z",
        "finished": "2026-10-01T10:00:02.000Z",
        "seconds": 2.0,
    }
    return Observation(cell, **values | changes)


def make_report(*seen: Observation, plan: Plan | None = None) -> Report:
    """A report of judged observations; those of a first backend are baselines of none."""
    plan = plan or make_plan(make_matrix(), ["local"])
    report = Report.begin(plan)
    report.order = [one.cell for one in seen]
    report.finished = "2026-10-01T10:00:05.000Z"
    report.results = {one.cell: judge(one, plan.matrix, {}) for one in seen}
    return report
