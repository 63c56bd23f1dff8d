from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.engine.cache.kit import snapshot
from worker.engine.cache.ram import Held, RamTier


def held(name: str, size: int) -> Held:
    return Held(snapshot(name, state=b"x" * (size - 12)), durable=False, written=False)


PUT = st.tuples(st.sampled_from("abcdefgh"), st.integers(12, 70))
OTHER = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["use", "peek", "pop"]))


@settings(deadline=None)
@given(st.lists(st.one_of(PUT, OTHER), max_size=80))
def test_the_least_recently_used_fall_out_and_the_budget_holds(
    actions: list[tuple[str, int | str]],
) -> None:
    tier, model = RamTier(60), dict[str, int]()  # a dict in the order of use
    for name, action in actions:
        key = f"agent/{name}"
        if isinstance(action, int):
            fallen = [each.snapshot.key for each in tier.put(held(name, action))]
            model.pop(key, None)
            expected = [key] if action > 60 else []
            if action <= 60:
                model[key] = action
                while sum(model.values()) > 60:
                    expected.append(next(iter(model)))
                    del model[expected[-1]]
            assert fallen == expected
        else:
            found = {"use": tier.use, "peek": tier.peek, "pop": tier.pop}[action](key)
            assert (found is not None) == (key in model)
            size = model.pop(key, None) if action != "peek" else None
            if size is not None and action == "use":
                model[key] = size
        assert tier.num_bytes == sum(model.values()) <= 60
        assert [each.snapshot.key for each in tier] == list(model)
        assert len(tier) == len(model)


def test_use_saves_from_falling_out() -> None:
    tier = RamTier(60)
    for name in "ab":
        tier.put(held(name, 30))
    tier.use("agent/a")
    assert [each.snapshot.key for each in tier.put(held("c", 30))] == ["agent/b"]
