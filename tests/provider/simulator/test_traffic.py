from hypothesis import given
from hypothesis import strategies as st

from app.provider.simulator import DESCRIBE, LIST, Simulator
from app.provider.simulator.traffic import ARRIVALS_KEPT, Tally
from tests.provider.simulator.caller import APP, OTHER_APP, OTHER_SECRET, SECRET, Caller, Clock

# Sixty-fourths of a second are exact in binary, so that "exactly one second apart" means just that.
steps = st.lists(st.integers(0, 100).map(lambda n: n / 64), max_size=120)


def arrivals_in_second_ending(at: float, stamps: list[float]) -> int:
    return sum(at - 1 < stamp <= at for stamp in stamps)


@given(steps)
def test_the_busiest_second_is_what_counting_every_window_finds(gaps: list[float]) -> None:
    tally, stamps = Tally(), [1000 + sum(gaps[:end]) for end in range(1, len(gaps) + 1)]
    for stamp in stamps:
        tally.arrive(stamp)
    every_window = (arrivals_in_second_ending(start + shift, stamps) for start in stamps for shift in (0, 1 / 128, 0.5))
    assert tally.busiest_second == max(every_window, default=0)


@given(steps, st.integers(1, 10))
def test_a_call_is_refused_exactly_when_its_second_holds_more_than_the_limit(gaps: list[float], limit: int) -> None:
    clock = Clock(1_767_323_045.0)
    simulator = Simulator({APP: SECRET}, limit=limit, time=clock, monotonic=clock)
    caller, stamps = Caller(simulator, clock), []
    for gap in gaps:
        clock.now += gap
        stamps.append(clock.now)
        refused = caller.describe("A" * 16)["Code"] == 300000003
        assert refused == (arrivals_in_second_ending(clock.now, stamps) > limit)


def test_ten_calls_a_second_pass_and_the_eleventh_is_refused_until_the_first_is_a_second_old(
    caller: Caller, clock: Clock
) -> None:
    task_id = caller.simulator.start()
    assert [caller.describe(task_id)["Code"] for _ in range(11)] == [0] * 10 + [300000003]
    clock.now += 0.999
    assert caller.describe(task_id)["Code"] == 300000003
    clock.now += 0.001
    assert caller.describe(task_id)["Code"] == 0


def test_refused_calls_count_as_arrivals_too(caller: Caller, clock: Clock) -> None:
    for _ in range(40):
        clock.now += 1 / 16
        caller.describe("A" * 16)
    counts = caller.simulator.stats()["apps"][str(APP)][DESCRIBE]
    assert (counts["calls"], counts["busiest_second"], counts["refused_throttled"]) == (40, 16, 30)
    assert counts["errors"] == {"300000003": 30, "300001000": 10}


def test_wrongly_signed_calls_count_as_arrivals_too(caller: Caller) -> None:
    for _ in range(10):
        caller.ask({}, Signature="0" * 32)
    assert caller.describe("A" * 16)["Code"] == 300000003


def test_each_app_and_each_action_has_its_own_limit(caller: Caller) -> None:
    for _ in range(10):
        caller.describe("A" * 16)
    assert caller.ask({}, LIST)["Code"] == 300000004
    other = caller.query(app_id=OTHER_APP, secret=OTHER_SECRET)
    assert caller.ask({"TaskId": "A" * 16}, **other)["Code"] == 300001000


def test_calls_of_no_known_app_or_action_are_counted_apart(caller: Caller) -> None:
    caller.ask({}, AppId="999")
    caller.ask({}, Action="StartRecord")
    assert caller.simulator.stats()["unattributed"]["errors"] == {"100000007": 1, "100000011": 1}


def test_a_reset_restarts_the_counts_but_not_the_limit(caller: Caller) -> None:
    for _ in range(10):
        caller.describe("A" * 16)
    caller.simulator.reset_stats()
    assert caller.describe("A" * 16)["Code"] == 300000003
    counts = caller.simulator.stats()["apps"][str(APP)][DESCRIBE]
    assert (counts["calls"], counts["busiest_second"]) == (1, 1)


def test_arrivals_are_kept_with_their_stamps_for_an_hour_at_twenty_a_second(caller: Caller, clock: Clock) -> None:
    caller.describe("A" * 16)
    assert caller.simulator.arrivals(APP) == (clock.now,)
    assert ARRIVALS_KEPT == 3600 * 20
