"""What told us to ask when an end was found, and how late it was."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.detection import Ending, FoundBy, Noticed, detection_delay, found_by, noticed, settling_delay
from app.core.recording import Polling, Status, Task, Tracking
from app.core.told import CallbackEvent, LastCallback, Told

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LAST_POLL = NOW - 5 * MINUTE


def a_task(**facts: object) -> Task:
    task = Task(task_id="0" * 16, app_id=1, registered_at=NOW - 60 * MINUTE, updated_at=NOW)
    return replace(task, **facts)  # type: ignore[arg-type]


def heard(event: CallbackEvent, at: datetime) -> Told:
    return Told(last=LastCallback(event_type=None, event=event, received_at=at))


STOPPED, CHATTER = CallbackEvent.STOPPED, CallbackEvent.ROOM_EMPTY


@pytest.mark.parametrize(
    ("event", "heard_at", "listed", "what"),
    [
        (STOPPED, LAST_POLL + MINUTE, None, FoundBy.CALLBACK),
        (STOPPED, LAST_POLL, None, FoundBy.CALLBACK),
        (STOPPED, LAST_POLL - MINUTE, None, FoundBy.ROUTINE),
        (CHATTER, LAST_POLL + MINUTE, None, FoundBy.ROUTINE),
        (STOPPED, LAST_POLL + MINUTE, 0, FoundBy.CALLBACK),
        (STOPPED, LAST_POLL - MINUTE, 0, FoundBy.SWEEP),
        (CHATTER, LAST_POLL + MINUTE, 0, FoundBy.SWEEP),
        (None, NOW, 0, FoundBy.SWEEP),
        (None, NOW, 3, FoundBy.SWEEP),
        (None, NOW, 2, FoundBy.ROUTINE),
        (None, NOW, None, FoundBy.ROUTINE),
    ],
)
def test_an_end_is_found_by_what_came_since_the_last_poll(
    event: CallbackEvent | None, heard_at: datetime, listed: int | None, what: FoundBy
) -> None:
    polling = Polling(last_polled_at=LAST_POLL, listed=listed)
    told = heard(event, heard_at) if event else Told()
    assert found_by(a_task(status=Status.ONGOING, status_code=2, polling=polling, told=told)) is what


def test_the_first_poll_of_a_task_is_its_registrations_whatever_was_heard_before() -> None:
    assert found_by(a_task(polling=Polling(listed=0), told=heard(STOPPED, NOW))) is FoundBy.REGISTRATION


@pytest.mark.parametrize(
    ("ended_at", "seconds"),
    [
        (NOW - 2 * MINUTE, 120.0),
        (NOW - 90 * MINUTE, 3600.0),  # it was registered later than it ended
        (NOW + MINUTE, 0.0),  # the provider's clock is ahead of ours
        (None, None),
    ],
)
def test_delays_count_from_the_end_but_not_from_before_the_registration(
    ended_at: datetime | None, seconds: float | None
) -> None:
    before = a_task(status=Status.ONGOING)
    after = a_task(status=Status.COMPLETED, tracking=Tracking.SETTLED, ended_at=ended_at)
    assert detection_delay(before, after, now=NOW) == seconds
    assert settling_delay(before, after, now=NOW) == seconds


ONGOING, COMPLETED = Status.ONGOING, Status.COMPLETED
ACTIVE, SETTLED, EXPIRED = Tracking.ACTIVE, Tracking.SETTLED, Tracking.EXPIRED


@pytest.mark.parametrize(
    ("before", "after", "tells"),
    [(ONGOING, ONGOING, False), (ONGOING, COMPLETED, True), (COMPLETED, COMPLETED, False), (COMPLETED, ONGOING, False)],
)
def test_only_the_change_to_ended_tells_how_late_it_was_found(before: Status, after: Status, tells: bool) -> None:
    delay = detection_delay(a_task(status=before), a_task(status=after, ended_at=NOW - MINUTE), now=NOW)
    assert delay == (60.0 if tells else None)


@pytest.mark.parametrize(
    ("before", "after", "tells"),
    [(ACTIVE, ACTIVE, False), (ACTIVE, SETTLED, True), (EXPIRED, SETTLED, False), (SETTLED, SETTLED, False)],
)
def test_only_the_change_from_active_to_settled_tells_how_late_it_settled(
    before: Tracking, after: Tracking, tells: bool
) -> None:
    delay = settling_delay(a_task(tracking=before), a_task(tracking=after, ended_at=NOW - MINUTE), now=NOW)
    assert delay == (60.0 if tells else None)


# -- all endings together


def an_ending(seconds: float = 0, *, has_files: bool = False, ended: bool = True, uploaded: bool = True) -> Ending:
    """Known so many seconds after it could be; ``ended``, ``uploaded``: whether a callback told of it."""
    asked_at = NOW + timedelta(seconds=seconds)
    return Ending(knowable_at=NOW, asked_at=asked_at, has_files=has_files, end_called=ended, upload_called=uploaded)


def test_without_endings_there_are_no_delays() -> None:
    assert noticed([]) == Noticed(ended=0, median=None, p95=None, ends_uncalled=0, uploads_uncalled=0)


def test_half_and_95_in_a_hundred_were_known_within_these_delays() -> None:
    found = noticed([an_ending(seconds) for seconds in range(100, 0, -1)])
    assert (found.ended, found.median, found.p95) == (100, 50.0, 95.0)
    assert (noticed([an_ending(7)]).median, noticed([an_ending(7)]).p95) == (7.0, 7.0)


def test_a_provider_whose_clock_is_ahead_makes_no_delay_less_than_none() -> None:
    assert noticed([an_ending(-5)]).median == 0.0
    assert noticed([an_ending(0.5)]).median == 0.5


def test_ends_and_files_of_which_no_callback_told_are_counted() -> None:
    endings = [
        an_ending(ended=False),
        an_ending(ended=False, has_files=True),
        an_ending(has_files=True, uploaded=False),
        an_ending(uploaded=False),  # there was no file to tell of
        an_ending(has_files=True),
    ]
    found = noticed(endings)
    assert (found.ended, found.ends_uncalled, found.uploads_uncalled) == (5, 2, 1)
