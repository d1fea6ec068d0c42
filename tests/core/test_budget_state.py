from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.budget import (
    HALVE_EVERY,
    PAUSE_AFTER,
    PROBE_EVERY,
    REFUSED_PROBE_EVERY,
    REGAIN_EVERY,
    AppState,
    Result,
    after,
)

LIMIT = 10
START = 1000.0


def state_after(*results: tuple[Result, float], state: AppState | None = None, limit: int = LIMIT) -> AppState:
    """The state after calls that ended so many seconds after START."""

    def step(state: AppState, told: tuple[Result, float]) -> AppState:
        return after(state, told[0], reason="signature_wrong", limit=limit, now=START + told[1])

    return reduce(step, results, state or AppState())


def throttled(*at: float, state: AppState | None = None, limit: int = LIMIT) -> AppState:
    return state_after(*((Result.THROTTLED, second) for second in at), state=state, limit=limit)


def allowed(state: AppState, at: float, limit: int = LIMIT) -> int:
    return state.allowed(limit, now=START + at)


# -- throttling


@pytest.mark.parametrize("limit", [1, 2, 10, 100])
def test_an_app_that_was_never_throttled_has_all_its_permits(limit: int) -> None:
    assert AppState().allowed(limit, now=0) == limit


@pytest.mark.parametrize(
    ("refusals", "left"),
    [
        ([0], 5),
        ([0, 0, 0, 0, 0], 5),
        ([0, 0.5, 1, 1.5, 1.99], 5),
        ([0, 2], 2),
        ([0, 2, 4], 1),
        ([0, 2, 4, 6, 8], 1),
        ([0, 1.9, 2.1], 2),
        ([0, 1.9, 2.1, 3.9], 2),
    ],
)
def test_refusals_halve_the_permits_at_most_once_in_two_seconds(refusals: list[float], left: int) -> None:
    assert allowed(throttled(*refusals), refusals[-1]) == left


@pytest.mark.parametrize(
    ("seconds", "permits"), [(0, 5), (9.99, 5), (10, 6), (19.99, 6), (20, 7), (50, 10), (60, 10), (1e6, 10)]
)
def test_one_permit_comes_back_for_every_ten_seconds_without_refusal(seconds: float, permits: int) -> None:
    assert allowed(throttled(0), seconds) == permits


def test_a_refusal_starts_the_ten_seconds_anew() -> None:
    state = throttled(0, 1)
    assert [allowed(state, at) for at in (10, 10.99, 11)] == [5, 5, 6]


def test_a_later_refusal_halves_what_had_come_back() -> None:
    assert allowed(throttled(0, 35), 35) == 4


def test_a_small_limit_bounds_what_comes_back() -> None:
    assert allowed(throttled(0), 1000, limit=3) == 3


@pytest.mark.parametrize("step", [-3600.0, -1.0])
def test_a_clock_that_steps_back_leaves_at_least_one_permit(step: float) -> None:
    assert 1 <= allowed(throttled(0), step) <= LIMIT
    assert 1 <= allowed(throttled(0, step), step) <= LIMIT


def test_a_refusal_for_too_many_calls_is_an_answer_and_ends_a_pause() -> None:
    paused = state_after(*[(Result.UNAVAILABLE, 0.0)] * PAUSE_AFTER)
    state = throttled(1, state=paused)
    assert (state.paused, state.misses) == (None, 0)


def test_a_refusal_that_is_told_late_gives_nothing_back() -> None:
    """Answers are recorded in another order than they came in."""
    state = throttled(0, 1, 0.5)
    assert [allowed(state, at) for at in (0.5, 1, 10)] == [5, 5, 5]


@pytest.mark.parametrize(
    ("cap", "cut_to", "permits"),
    [(None, None, 10), (3, None, 3), (99, None, 10), (0, None, 0), (3, 5, 3), (7, 5, 5), (None, 5, 5)],
)
def test_operators_and_throttling_each_bound_the_permits(cap: int | None, cut_to: int | None, permits: int) -> None:
    assert AppState(cap=cap, cut_to=cut_to).allowed(LIMIT, now=1) == permits


# -- pausing


def test_five_calls_in_a_row_without_a_good_answer_pause_the_app() -> None:
    state = state_after(*[(Result.UNAVAILABLE, 0.0)] * (PAUSE_AFTER - 1))
    assert state.paused is None
    state = state_after((Result.UNAVAILABLE, 7.0), state=state)
    assert (state.paused, state.probe_at, state.misses) == ("unavailable", START + 7 + PROBE_EVERY, PAUSE_AFTER)
    assert state.probe_interval() == PROBE_EVERY


@pytest.mark.parametrize("good", [Result.GOOD, Result.THROTTLED])
def test_an_answer_between_starts_the_count_anew(good: Result) -> None:
    misses = [(Result.UNAVAILABLE, 0.0)] * (PAUSE_AFTER - 1)
    state = state_after(*misses, (good, 0.0), *misses)
    assert (state.paused, state.misses) == (None, PAUSE_AFTER - 1)


def test_more_misses_do_not_put_off_the_probe_of_a_paused_app() -> None:
    paused = state_after(*[(Result.UNAVAILABLE, 0.0)] * PAUSE_AFTER)
    assert state_after((Result.UNAVAILABLE, 5.0), state=paused).probe_at == paused.probe_at


def test_a_good_answer_ends_a_pause_and_leaves_the_throttling() -> None:
    paused = state_after((Result.THROTTLED, 0.0), *[(Result.UNAVAILABLE, 0.0)] * PAUSE_AFTER)
    state = state_after((Result.GOOD, 1.0), state=paused)
    assert (state.paused, state.misses, allowed(state, 1)) == (None, 0, 5)


def test_a_refusal_that_no_retry_mends_pauses_at_once_with_its_code() -> None:
    state = state_after((Result.UNAVAILABLE, 2.0), (Result.REFUSED, 3.0))
    assert (state.paused, state.probe_at, state.misses) == ("signature_wrong", START + 3 + REFUSED_PROBE_EVERY, 0)
    assert state.probe_interval() == REFUSED_PROBE_EVERY


def test_misses_do_not_hide_why_an_app_was_refused() -> None:
    refused = state_after((Result.REFUSED, 0.0))
    state = state_after(*[(Result.UNAVAILABLE, 0.0)] * (PAUSE_AFTER + 1), state=refused)
    assert state.paused == "signature_wrong"


# -- whatever happens

STEPS = st.lists(st.tuples(st.sampled_from(Result), st.floats(0, 30)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 1000), later=st.floats(-100, 10_000))
def test_the_permits_always_lie_between_one_and_the_limit(
    steps: list[tuple[Result, float]], limit: int, later: float
) -> None:
    state, now = AppState(), 0.0
    for result, wait in steps:
        now += wait
        state = state_after((result, now), state=state, limit=limit)
        assert 1 <= allowed(state, now, limit) <= limit
    assert 1 <= allowed(state, now + later, limit) <= limit


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_the_permits_never_fall_by_half_twice_in_two_seconds_nor_rise_faster_than_one_in_ten(
    steps: list[tuple[Result, float]],
) -> None:
    state, now, halved_at, known = AppState(), 0.0, -HALVE_EVERY, LIMIT
    for result, wait in steps:
        now += wait
        before = allowed(state, now)
        assert known <= before <= known + wait // REGAIN_EVERY + 1
        state = state_after((result, now), state=state)
        known = allowed(state, now)
        assert known in ({before, max(1, before // 2)} if result is Result.THROTTLED else {before})
        if known < before:
            assert now - halved_at >= HALVE_EVERY - 1e-9
            halved_at = now


def test_permits_come_back_when_the_clock_starts_anew() -> None:
    long_ago = after(AppState(), Result.THROTTLED, reason="", limit=LIMIT, now=2_000_000.0)
    assert long_ago.allowed(LIMIT, now=600.0) == LIMIT


def test_the_first_throttling_halves_even_just_after_the_clock_began() -> None:
    assert after(AppState(), Result.THROTTLED, reason="", limit=LIMIT, now=1.0).allowed(LIMIT, now=1.0) == LIMIT // 2
