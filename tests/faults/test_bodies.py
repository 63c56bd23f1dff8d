from __future__ import annotations

import random

from tests.faults.bodies import VALID, make_body, send_bodies
from tests.rigs.worker import WorkerProcess


def test_no_body_is_a_fault_of_the_workers() -> None:
    with WorkerProcess("--ctx", "2048", "--slots", "4", "--ram-cache", "1M") as worker:
        outcome = send_bodies(worker.wait_ready().url, count=300, seed=7, probes=5)
        assert outcome.faults == []
        assert outcome.statuses.keys() <= {200, 400, 404}
        assert outcome.statuses[200] and outcome.statuses[400]
        # As tightly as few bodies allow; `python -m tests.faults.bodies` says it of 20,000.
        assert outcome.after.memory < 1.3 * outcome.before.memory
        assert '"level": "error"' not in worker.log


def test_the_same_seed_makes_the_same_bodies() -> None:
    def bodies(seed: int) -> list[bytes]:
        draw = random.Random(seed)
        return [make_body(draw, VALID["/execute"]) for _ in range(50)]

    assert bodies(1) == bodies(1) != bodies(2)
