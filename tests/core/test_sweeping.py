"""The provider's list of running tasks hurries polls: once for each thing it shows anew, however it is to be read."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.sweeping import LEFT, NARROWEST, SLICE, Findings, Known, Listed, Span, compare, slices

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)
WINDOW = Span(NOW - timedelta(days=3) + MINUTE, NOW)
PAGE = 50

INITIALIZED, ONGOING, COMPLETED, ENDED_ABNORMALLY, PAUSED = 1, 2, 3, 4, 5
RUNNING = (INITIALIZED, ONGOING, PAUSED)


def starts_every(gap: timedelta, count: int) -> list[datetime]:
    return [WINDOW.start + number * gap for number in range(1, count + 1)]


def inside(span: Span, starts: Collection[datetime]) -> int:
    return sum(span.start <= start <= span.end for start in starts)


# -- slices


def test_a_window_of_which_nothing_is_known_is_one_slice() -> None:
    assert slices([], window=WINDOW) == [WINDOW]


@pytest.mark.parametrize("count", [1, 39, SLICE])
def test_a_window_with_a_page_of_tasks_is_one_slice(count: int) -> None:
    assert slices(starts_every(MINUTE, count), window=WINDOW) == [WINDOW]


def test_a_slice_holds_about_forty_tasks() -> None:
    starts = starts_every(MINUTE, 1000)
    cut = slices(starts, window=WINDOW)
    assert len(cut) == 25
    assert all(SLICE <= inside(span, starts) <= SLICE + 1 for span in cut)


def test_the_order_in_which_starts_are_known_makes_no_difference() -> None:
    starts = starts_every(MINUTE, 200)
    assert slices(starts[::-1], window=WINDOW) == slices(starts, window=WINDOW)


def test_starts_outside_the_window_cut_nothing() -> None:
    outside = [WINDOW.start - MINUTE] * 100 + [WINDOW.end + MINUTE] * 100 + [WINDOW.start] * 100 + [WINDOW.end] * 100
    assert slices(outside, window=WINDOW) == [WINDOW]


def test_tasks_that_started_together_stay_together() -> None:
    together = [NOW - MINUTE] * 1000
    cut = slices(together, window=WINDOW)
    assert cut == [Span(WINDOW.start, NOW - MINUTE), Span(NOW - MINUTE, WINDOW.end)]


def test_tasks_that_started_within_a_second_are_not_cut_apart() -> None:
    burst = [NOW - MINUTE + number * MILLISECOND for number in range(900)]
    assert all(span.end - span.start > NARROWEST for span in slices(burst, window=WINDOW))
    assert len(slices(burst, window=WINDOW)) == 2


def test_no_slice_at_the_windows_edges_is_too_narrow() -> None:
    early = [WINDOW.start + number * MILLISECOND for number in range(1, 200)]
    late = [WINDOW.end - number * MILLISECOND for number in range(1, 200)]
    assert slices(early + late, window=WINDOW) == [WINDOW]


@pytest.mark.parametrize(("seconds", "cuts"), [(0.999, 0), (1, 0), (1.001, 1)])
def test_a_cut_lies_more_than_a_second_from_either_edge(seconds: float, cuts: int) -> None:
    for start in (WINDOW.start + seconds * SECOND, WINDOW.end - seconds * SECOND):
        assert len(slices([start] * (SLICE + 1), window=WINDOW)) == 1 + cuts


OFFSETS = st.integers(-5_000, 3 * 86_400_000 + 5_000) | st.sampled_from([1_000_000, 1_000_400, 1_002_000])


@settings(max_examples=200, deadline=None)
@given(offsets=st.lists(OFFSETS, max_size=400))
def test_slices_cover_the_whole_window_without_gaps(offsets: list[int]) -> None:
    cut = slices([WINDOW.start + offset * MILLISECOND for offset in offsets], window=WINDOW)
    assert (cut[0].start, cut[-1].end) == (WINDOW.start, WINDOW.end)
    assert all(one.end == other.start for one, other in pairwise(cut))
    assert len(cut) == 1 or all(span.end - span.start > NARROWEST for span in cut)


# -- halves


@pytest.mark.parametrize("width", [timedelta(0), MILLISECOND, SECOND])
def test_a_narrow_span_is_not_cut(width: timedelta) -> None:
    assert Span(NOW, NOW + width).halves() is None


@settings(max_examples=200, deadline=None)
@given(start=st.integers(0, 10**6), width=st.integers(1_000_001, 3 * 86_400 * 10**6))
def test_the_halves_of_a_span_cover_it_and_are_smaller(start: int, width: int) -> None:
    """In microseconds; the provider counts in milliseconds, so a cut lies on one."""
    span = Span(NOW + timedelta(microseconds=start), NOW + timedelta(microseconds=start + width))
    halves = span.halves()
    assert halves is not None
    first, second = halves
    assert (first.start, first.end, second.end) == (span.start, second.start, span.end)
    assert first.end.microsecond % 1000 == 0
    assert all(half.end - half.start <= (span.end - span.start) / 2 + MILLISECOND for half in halves)
    assert all(half.end > half.start for half in halves)


def test_a_span_is_cut_until_it_is_narrow() -> None:
    left, narrow = [WINDOW], 0
    while left and narrow < 10:
        halves = left.pop().halves()
        left.extend(halves or ())
        narrow += halves is None
    assert narrow == 10
    assert len(left) < 30


# -- what a list means


def listed(task_id: str = "t", status_code: int | None = ONGOING) -> Listed:
    return Listed(task_id, status_code, NOW, "room")


def known(status_code: int = ONGOING, was_listed: int | None = None) -> Known:
    return Known(status_code=status_code, listed=was_listed, claim_no=1)


def found(task: Known, shown: Listed | None) -> Findings:
    return compare({"t": task}, {"t": shown} if shown else {})


NOTHING = Findings({}, [], [])


@pytest.mark.parametrize("status", RUNNING)
def test_a_task_that_is_listed_as_we_know_it_is_marked_once(status: int) -> None:
    assert found(known(status), listed(status_code=status)) == Findings({"t": status}, [], [])
    assert found(known(status, status), listed(status_code=status)) == NOTHING


@pytest.mark.parametrize("status", [ONGOING, PAUSED, COMPLETED, ENDED_ABNORMALLY, 99])
@pytest.mark.parametrize("was", [None, LEFT, INITIALIZED])
def test_a_task_that_is_listed_otherwise_is_polled_once(status: int, was: int | None) -> None:
    assert found(known(INITIALIZED, was), listed(status_code=status)) == Findings({"t": status}, ["t"], [])
    assert found(known(INITIALIZED, status), listed(status_code=status)) == NOTHING


def test_a_task_that_left_the_list_is_polled_once() -> None:
    assert found(known(ONGOING, ONGOING), None) == Findings({"t": LEFT}, ["t"], [])
    assert found(known(ONGOING, LEFT), None) == NOTHING


def test_a_task_that_never_stood_in_the_list_has_not_left_it() -> None:
    assert found(known(), None) == NOTHING


def test_a_task_that_comes_back_to_the_list_can_leave_it_again() -> None:
    assert found(known(ONGOING, LEFT), listed()) == Findings({"t": ONGOING}, [], [])


@pytest.mark.parametrize("was", [None, LEFT, ONGOING])
def test_an_item_without_a_readable_status_shows_nothing_anew(was: int | None) -> None:
    assert found(known(ONGOING, was), listed(status_code=None)) == NOTHING


def test_what_we_do_not_follow_is_reported_as_it_is_listed() -> None:
    strangers = {name: listed(name, status) for name, status in (("a", ONGOING), ("b", None), ("c", 99))}
    told = compare({"t": known()}, {"t": listed(), **strangers})
    assert told == Findings({"t": ONGOING}, [], list(strangers.values()))


def test_each_task_is_judged_by_itself() -> None:
    tasks = {"same": known(2, 2), "left": known(2, 2), "other": known(2, 2), "new": known(2), "gone": known(2, 0)}
    told = compare(tasks, {name: listed(name, code) for name, code in (("same", 2), ("other", 5), ("new", 2))})
    assert told == Findings({"left": 0, "other": 5, "new": 2}, ["left", "other"], [])


# -- sweep after sweep, whatever the list is taken to show

Reading = Callable[[int], int | None]
"""The status under which the list shows a task of this status, if it does."""

READINGS: Mapping[str, Reading] = {
    "all that run": lambda status: status if status in RUNNING else None,
    "ongoing alone": lambda status: status if status == ONGOING else None,
    "all that run, as ongoing": lambda status: ONGOING if status in RUNNING else None,
    "none at all": lambda status: None,
    "all for ever": lambda status: status,
    "ended ones as ongoing": lambda status: ONGOING,
}


@dataclass
class World:
    """A followed task, its list, and the polls that sweeps asked for; each poll tells the truth, or ``lie`` says."""

    reading: Reading
    status: int = ONGOING
    query: Callable[[int], int] = lambda status: status
    task: Known = field(default_factory=lambda: known(INITIALIZED))
    polls: int = 0

    @property
    def followed(self) -> bool:
        return self.task.status_code not in (COMPLETED, ENDED_ABNORMALLY)

    def sweep(self) -> int:
        """The polls that one more sweep asks for."""
        shown = self.reading(self.status)
        told = compare({"t": self.task} if self.followed else {}, {"t": listed("t", shown)} if shown else {})
        self.task = replace(self.task, listed=told.marks.get("t", self.task.listed))
        for _ in told.hurry:
            self.task = replace(self.task, status_code=self.query(self.status))
        return len(told.hurry)

    def live(self, *statuses: int, sweeps_each: int = 3) -> list[int]:
        """The polls that all sweeps ask for in each of these statuses, polled once at first."""
        self.task = replace(self.task, status_code=self.query(statuses[0]))
        asked = []
        for self.status in statuses:
            asked.append(sum(self.sweep() for _ in range(sweeps_each)))
        return asked


LIFE = (INITIALIZED, ONGOING, PAUSED, ONGOING, COMPLETED)


@pytest.mark.parametrize(
    ("reading", "asked"),
    [
        ("all that run", [0, 1, 1, 1, 1]),
        ("ongoing alone", [0, 1, 1, 1, 1]),
        ("all that run, as ongoing", [1, 0, 0, 0, 1]),
        ("none at all", [0, 0, 0, 0, 0]),
        ("all for ever", [0, 1, 1, 1, 1]),
        ("ended ones as ongoing", [1, 0, 0, 0, 0]),
    ],
)
def test_a_change_costs_one_poll_at_most_however_the_list_is_to_be_read(reading: str, asked: list[int]) -> None:
    assert World(READINGS[reading]).live(*LIFE) == asked


@pytest.mark.parametrize("reading", ["all that run", "ongoing alone", "all that run, as ongoing"])
@pytest.mark.parametrize("end", [COMPLETED, ENDED_ABNORMALLY])
def test_an_end_is_noticed_by_the_first_sweep_after_it(reading: str, end: int) -> None:
    world = World(READINGS[reading])
    world.live(INITIALIZED, ONGOING)
    world.status = end
    assert world.sweep() == 1
    assert world.task.status_code == end


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("query", [ONGOING, PAUSED, 99])
def test_a_list_that_contradicts_the_query_for_good_costs_one_poll_alone(reading: str, query: int) -> None:
    for status in (INITIALIZED, ONGOING, PAUSED, COMPLETED):
        world = World(READINGS[reading], query=lambda _: query)
        assert world.live(ONGOING, status, sweeps_each=20)[1] <= 1


@settings(max_examples=200, deadline=None)
@given(
    reading=st.sampled_from(list(READINGS.values())),
    statuses=st.lists(st.sampled_from(RUNNING), min_size=1, max_size=12),
    times=st.integers(1, 4),
)
def test_sweeps_never_cost_more_polls_than_the_list_showed_changes(
    reading: Reading, statuses: list[int], times: int
) -> None:
    shown = [reading(status) for status in statuses]
    changes = sum(one != other for one, other in pairwise([None, *shown]))
    assert sum(World(reading).live(*statuses, sweeps_each=times)) <= changes
