"""The token bucket of each caller, and the fair share of places to wait."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.limits import RateLimit, may_wait


def test_a_caller_may_ask_the_rate_at_once_and_not_once_more() -> None:
    limit = RateLimit(200)
    assert [limit.take("a", now=7.0) for _ in range(201)] == [*range(199, -1, -1), None]


def test_a_refused_request_costs_nothing() -> None:
    limit = RateLimit(4)
    for _ in range(100):
        limit.take("a", now=0.0)
    assert limit.take("a", now=0.25) == 0
    assert limit.take("a", now=0.25) is None


def test_requests_come_free_one_by_one_and_are_saved_for_a_second_at_most() -> None:
    limit = RateLimit(4)
    for _ in range(4):
        limit.take("a", now=0.0)
    assert limit.take("a", now=0.2) is None
    assert limit.take("a", now=0.25) == 0
    assert limit.take("a", now=0.75) == 1  # two came free
    assert limit.take("a", now=1000.0) == 3


def test_callers_do_not_touch_each_others_buckets() -> None:
    limit = RateLimit(1)
    assert limit.take("a", now=0.0) == 0
    assert limit.take("a", now=0.0) is None
    assert limit.take("b", now=0.0) == limit.take(None, now=0.0) == 0


@pytest.mark.parametrize(
    ("held", "may"), [({"a": 1, "b": 1, "c": 8}, False), ({"a": 1, "b": 0, "c": 7}, True), ({"a": 0, "c": 8}, True)]
)
def test_beyond_the_own_share_there_is_room_while_others_have_not_taken_the_rest(
    held: dict[str | None, int], may: bool
) -> None:
    """Of 10 places each of 3 callers has 1 for certain; 7 are for whoever comes first."""
    assert may_wait(held, "a", callers=3, most=10) is may


@given(
    rate=st.integers(1, 50),
    waits=st.lists(st.floats(0, 2, allow_subnormal=False), min_size=1, max_size=200),
)
def test_no_second_sees_more_than_twice_the_rate_nor_any_time_more_than_its_share(
    rate: int, waits: list[float]
) -> None:
    limit, now, passed = RateLimit(rate), 0.0, []
    for wait in waits:
        now += wait
        left = limit.take("a", now=now)
        if left is not None:
            assert 0 <= left < rate
            passed.append(now)
    for first, start in enumerate(passed):
        for count, end in enumerate(passed[first:], start=1):
            assert count <= rate + (end - start) * rate + 1e-6


@given(rate=st.integers(1, 50), moments=st.lists(st.floats(0, 20, allow_subnormal=False), max_size=100))
def test_whoever_keeps_to_the_policy_is_never_refused(rate: int, moments: list[float]) -> None:
    limit, asked = RateLimit(rate), list[float]()
    for now in sorted(moments):
        if len([one for one in asked if now - one <= 1.0 + 1e-9]) < rate:
            asked.append(now)
            assert limit.take("a", now=now) is not None


@pytest.mark.parametrize(
    ("held", "caller", "callers", "may"),
    [
        ({None: 99}, None, 1, True),
        ({None: 100}, None, 1, False),  # alone: all of them
        ({"a": 74}, "a", 2, True),
        ({"a": 75}, "a", 2, False),  # of two: a quarter, and the half that is nobody's
        ({"a": 75, "b": 24}, "b", 2, True),  # the other's quarter is left whatever the one does
        ({"a": 75, "b": 25}, "b", 2, False),
        ({"a": 10, "b": 60}, "a", 5, False),
        ({"a": 9, "b": 60}, "a", 5, True),
        ({"a": 0}, "a", 1000, True),  # more callers than places: who comes first
    ],
)
def test_places_are_shared_fairly(held: dict[str | None, int], caller: str | None, callers: int, may: bool) -> None:
    assert may_wait(Counter(held), caller, callers=callers, most=100) is may


@given(names=st.integers(1, 12), comes=st.lists(st.integers(0, 11), max_size=300))
def test_each_has_its_share_whoever_came_before_and_no_place_is_given_twice(names: int, comes: list[int]) -> None:
    places = Counter[str | None]()
    for one in comes:
        name = str(one % names)
        may = may_wait(places, name, callers=names, most=100)
        assert may or places[name] >= 50 // names
        places[name] += may
    assert places.total() <= 100
