"""Probes for supervisors, and metrics for Prometheus."""

from __future__ import annotations

import re

from pool_core.spawn.report import WorkerStatus
from tests.rigs.api_server import serve_api
from tests.rigs.http import call, eventually
from worker.api.metrics import Histogram, sample

ASK = {"job_id": "j", "prompt": "x", "max_tokens": 4}
LINE = re.compile(r'(llorch_\w+)(\{\w+="[^"]*"(,\w+="[^"]*")*\})? (\S+)')


def test_probes_tell_life_from_readiness() -> None:
    wanted = {
        WorkerStatus.STARTING: (200, 503, 503),
        WorkerStatus.READY: (200, 200, 200),
        WorkerStatus.DRAINING: (200, 503, 200),
    }
    for status, statuses in wanted.items():
        with serve_api(status=status, token="secret") as server:
            found = [
                call(server.url, f"/health/{name}").status for name in ("live", "ready", "startup")
            ]
            assert tuple(found) == statuses, status
            assert call(server.url, "/", method="HEAD").status == 200


def test_metrics_count_what_was_done() -> None:
    with serve_api() as server:

        def value(name: str) -> float:
            found = [
                match
                for line in call(server.url, "/metrics").text.splitlines()
                if (match := LINE.fullmatch(line)) and line.rpartition(" ")[0] == name
            ]
            return float(found[0][4]) if found else 0.0

        for _ in range(3):
            assert call(server.url, "/execute", ASK).status == 200
        assert call(server.url, "/execute", {}).status == 400
        assert call(server.url, "/no/such/place").status == 404
        eventually(lambda: value("llorch_request_output_tokens_count") == 3)
        assert value("llorch_request_output_tokens_sum") == 12
        assert value("llorch_time_to_first_token_seconds_count") == 3
        assert value('llorch_time_to_first_token_seconds_bucket{le="+Inf"}') == 3
        route = 'llorch_http_requests_total{method="POST",route="/execute",status='
        assert (value(route + '"200"}'), value(route + '"400"}')) == (3, 1)
        assert value('llorch_http_requests_total{method="",route="",status="404"}') == 1
        assert value("llorch_ready") == 1 and value("llorch_requests_total") == 3
        assert value("llorch_prompt_tokens_total") > 0


def test_metrics_are_in_prometheus_own_form() -> None:
    with serve_api() as server:
        answer = call(server.url, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    typed = set()
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert kind in ("counter", "gauge", "histogram") and name not in typed
            assert (kind == "counter") == name.endswith("_total")
            typed.add(name)
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
    assert len(typed) >= 15


def test_metrics_are_there_before_the_model_is() -> None:
    with serve_api(status=WorkerStatus.STARTING) as server:
        assert "llorch_ready 0" in call(server.url, "/metrics").text


def test_buckets_add_up_and_labels_are_escaped() -> None:
    histogram = Histogram((1, 2.5))
    for value in (0, 1, 2.5, 99):
        histogram.note(value)
    assert list(histogram.lines("x")) == [
        'x_bucket{le="1"} 2',
        'x_bucket{le="2.5"} 3',
        'x_bucket{le="+Inf"} 4',
        "x_sum 102.5",
        "x_count 4",
    ]
    assert sample("x", 1, {"a": 'b"\\\n'}) == r'x{a="b\"\\\n"} 1'
