from __future__ import annotations

from pool_core.download.retry import Patience, Transient
from pool_core.download.settings import DownloadSettings
from pool_core.meter import Meter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_waits_double_up_to_a_limit_and_end() -> None:
    patience = Patience(DownloadSettings(), Clock())
    waits = [patience.next_wait(Transient("x")) for _ in range(6)]
    assert waits == [0.5, 1, 2, 4, 8, None]


def test_progress_forgives_everything() -> None:
    clock = Clock()
    patience = Patience(DownloadSettings(), clock)
    for _ in range(20):
        clock.now += 29
        assert patience.next_wait(Transient("x")) == 0.5
        patience.progressed()


def test_time_without_a_byte_is_bounded() -> None:
    clock = Clock()
    patience = Patience(DownloadSettings(), clock)
    clock.now = 29
    assert patience.next_wait(Transient("x")) == 0.5
    clock.now = 30
    assert patience.next_wait(Transient("x")) is None


def test_a_wait_that_was_asked_for_costs_no_patience() -> None:
    clock = Clock()
    patience = Patience(DownloadSettings(), clock)
    assert patience.next_wait(Transient("x", retry_after=60)) == 60
    clock.now = 60
    assert patience.next_wait(Transient("x")) == 1
    assert patience.next_wait(Transient("x", retry_after=600)) is None


def test_meter_speaks_ten_times_a_second_and_smooths_the_rate() -> None:
    clock = Clock()
    meter = Meter("m", 1000, clock)
    spoken = []
    for step in range(1, 101):
        clock.now = step / 100
        if event := meter.tick(step * 10):
            spoken.append(event)
    assert len(spoken) == 10
    assert abs(spoken[-1].rate - 1000) < 1
    clock.now = 2
    back = meter.now(0)
    assert (back.done, back.rate) == (0, 0)
