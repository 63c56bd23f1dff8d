"""Many more clients at once than there is room for: an answer or a 429, each exactly once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from tests.rigs.http import Answer, call, eventually
from tests.rigs.worker import WorkerProcess

CLIENTS, QUEUE, SLOTS, TOKENS = 64, 16, 4, 24


def test_of_64_clients_each_gets_an_answer_or_a_429() -> None:
    options = ["--queue", str(QUEUE), "--slots", str(SLOTS), "--ctx", "4096"]
    with WorkerProcess(*options) as worker:
        url = worker.wait_ready().url
        together = Barrier(CLIENTS)

        def ask(number: int) -> Answer:
            together.wait()
            body = {
                "job_id": f"c{number}",
                "prompt": f"Client {number} says",
                "max_tokens": TOKENS,
                "ignore_eos": True,
                "reproducible": False,
                "metrics": True,
            }
            return call(url, "/execute", body, headers={"x-request-id": f"r{number}"}, timeout=120)

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(ask, range(CLIENTS)))

        statuses = Counter(answer.status for answer in answers)
        assert statuses.keys() <= {200, 429} and statuses[200] >= QUEUE + SLOTS
        assert statuses[429] > 0, "they came at once"
        for number, answer in enumerate(answers):
            assert answer.headers["x-request-id"] == f"r{number}"
            if answer.status == 429:
                assert 1 <= int(answer.headers["retry-after"]) <= 120
                assert answer.json()["error"]["code"] == "BUSY"
                continue
            events = answer.events
            assert events[0] == {"type": "started", "job_id": f"c{number}"}
            assert sum(event["type"] == "token" for event in events) >= TOKENS
            assert [event["type"] for event in events].count("end") == 1
            assert events[-1] == {"type": "end", "tokens_out": TOKENS, "stop_reason": "LENGTH"}

        def is_idle() -> bool:
            health = call(url, "/health").json()
            return bool(health["running"] == health["waiting"] == 0)

        eventually(is_idle)
        assert call(url, "/health").json()["tokens_total"] == TOKENS * statuses[200]
