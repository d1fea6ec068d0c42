"""Callbacks hurry polls and leave what only they can tell; what polls tell they never touch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.hearing import (
    CHATTER_EVERY,
    HURRIES_AT_ONCE,
    NOTICES_KEPT,
    PLAYLISTS_KEPT,
    Callback,
    hear,
    hurry,
    last_callback,
    weigh,
)
from app.core.merging import apply, expired, tracked, untracked
from app.core.recording import (
    File,
    FileStatus,
    Observation,
    Outcome,
    Polling,
    SeenFile,
    Status,
    Task,
    Tracking,
)
from app.core.told import CallbackEvent, LastCallback, Notice, Playlist
from tests.core.test_convergence import recordings

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
RECORDING, UPLOADING, UPLOADED = FileStatus.RECORDING, FileStatus.UPLOADING, FileStatus.UPLOADED
BACKUP, LOST, UNKNOWN = FileStatus.UPLOADED_TO_BACKUP, FileStatus.LOST, FileStatus.UNKNOWN
CLOSED = NOW + timedelta(days=3)
CHATTER = [
    CallbackEvent.IMAGE_DOWNLOAD_FAILED,
    CallbackEvent.ROOM_EMPTY,
    CallbackEvent.STREAM_MISSING,
    CallbackEvent.LIVE_PLAYLIST,
]


def a_task(**facts: object) -> Task:
    return replace(Task(task_id="0" * 16, app_id=1, registered_at=NOW, updated_at=NOW), **facts)  # type: ignore[arg-type]


def a_callback(event: CallbackEvent = CallbackEvent.STOPPED, **facts: object) -> Callback:
    return replace(Callback(event=event), **facts)  # type: ignore[arg-type]


def a_file(file_id: str, status: FileStatus = UPLOADED, **facts: object) -> SeenFile:
    return replace(SeenFile(file_id=file_id, status=status), **facts)  # type: ignore[arg-type]


def an_image(file_id: str = "i0", status: FileStatus = UPLOADED, **facts: object) -> SeenFile:
    return a_file(file_id, status, **({"output_file_format": "jpg"} | facts))


def uploads(*files: SeenFile) -> Callback:
    """An event 1 with these files."""
    return a_callback(CallbackEvent.UPLOAD_FINISHED, event_type=1, files=files, is_whole=True)


def uploads_of(*states: FileStatus) -> Callback:
    """An event 1 with files f0, f1, … in these states."""
    return uploads(*(a_file(f"f{number}", status) for number, status in enumerate(states)))


def noticed(code: str, detail: str = "") -> Callback:
    return a_callback(CallbackEvent.ROOM_EMPTY, notice=(code, detail))


def polled(claim_no: int, status: Status, *states: FileStatus, at: float = 0) -> Observation:
    """What a poll tells, asked ``at`` seconds after NOW, of files f0, f1, … in these states."""
    files = tuple(a_file(f"f{number}", state) for number, state in enumerate(states))
    return Observation(claim_no=claim_no, asked_at=NOW + at * SECOND, status=status, files=files)


def after_polls(*seen: Observation, task: Task | None = None) -> Task:
    task = task or a_task()
    for observation in seen:
        task = apply(task, observation, now=observation.asked_at)
    return task


def heard(*callbacks: tuple[float, Callback], task: Task | None = None) -> Task:
    """The task after callbacks, each so many seconds after NOW."""
    task = task or a_task()
    for at, callback in callbacks:
        task = hear(task, callback, at=NOW + at * SECOND)
    return task


def unresolved(*seen: Observation) -> Task:
    """A task whose window closed after these polls."""
    task = expired(after_polls(*seen), now=CLOSED)
    assert (task.outcome, task.outcome_basis) == (Outcome.UNRESOLVED, "poll")
    return task


def concluded(task: Task) -> tuple[Outcome | None, str | None]:
    return task.outcome, task.outcome_basis


# -- what is kept beside


def test_the_newest_callback_is_shown_whatever_the_order() -> None:
    times = [(0.0, a_callback(event_type=7)), (5.0, a_callback(CallbackEvent.ENDED, event_type=5))]
    newest = LastCallback(event_type=5, event=CallbackEvent.ENDED, received_at=NOW + 5 * SECOND)
    assert heard(*times).told.last == heard(*reversed(times)).told.last == newest
    assert last_callback(times[1][1], at=NOW + 5 * SECOND) == newest


def test_the_reason_of_an_abnormal_end_is_kept() -> None:
    ended = a_callback(CallbackEvent.ENDED_ABNORMALLY, event_type=2, quit_reason_code=3)
    assert heard((0, ended)).told.quit_reason_code == 3
    assert heard((0, ended), (5, a_callback())).told.quit_reason_code == 3


def test_of_two_reasons_the_newest_counts_whatever_the_order() -> None:
    times = [(at, a_callback(CallbackEvent.ENDED_ABNORMALLY, quit_reason_code=code)) for at, code in ((0, 3), (5, 6))]
    for order in permutations(times):
        assert heard(*order).told.quit_reason_code == 6


def test_a_reason_that_comes_late_is_better_than_none() -> None:
    late = a_callback(CallbackEvent.ENDED_ABNORMALLY, quit_reason_code=1004)
    assert heard((5, a_callback()), (0, late)).told.quit_reason_code == 1004


def test_an_unknown_callback_is_carried() -> None:
    told = heard((0, a_callback(CallbackEvent.UNKNOWN, event_type=999))).told
    assert told.last == LastCallback(event_type=999, event=CallbackEvent.UNKNOWN, received_at=NOW)


def test_notices_of_one_kind_and_content_are_one_with_its_times_and_count() -> None:
    told = [(0, noticed("room_empty")), (30, noticed("room_empty")), (60, noticed("room_empty"))]
    one = Notice(code="room_empty", detail="", first_at=NOW, last_at=NOW + MINUTE, count=3)
    for order in permutations(told):
        assert heard(*order).told.notices == (one,)


def test_notices_of_other_contents_stand_side_by_side_in_the_order_they_began() -> None:
    told = [
        (2, noticed("stream_missing", "b")),
        (1, noticed("stream_missing", "a")),
        (0, noticed("room_empty")),
        (9, noticed("room_empty")),
    ]
    for order in permutations(told):
        notices = heard(*order).told.notices
        assert [(one.code, one.detail, one.count) for one in notices] == [
            ("room_empty", "", 2),
            ("stream_missing", "a", 1),
            ("stream_missing", "b", 1),
        ]


def test_of_many_notices_the_newest_are_kept() -> None:
    many = NOTICES_KEPT + 30
    task = heard((-1, noticed("room_empty")), *((at, noticed("stream_missing", f"s{at}")) for at in range(many)))
    assert [one.detail for one in task.told.notices] == [f"s{at}" for at in range(30, many)]
    task = heard((many, noticed("room_empty")), task=task)
    assert len(task.told.notices) == NOTICES_KEPT == 50
    assert task.told.notices[-1].code == "room_empty"


def test_an_old_notice_that_comes_again_is_kept() -> None:
    others = [(at, noticed("stream_missing", f"s{at}")) for at in range(1, NOTICES_KEPT)]
    task = heard((0, noticed("room_empty")), *others, (99, noticed("room_empty")), (100, noticed("x")))
    assert task.told.notices[0] == Notice(
        code="room_empty", detail="", first_at=NOW, last_at=NOW + 99 * SECOND, count=2
    )


def live(url: str, stream_id: str | None = "s", file_id: str | None = "f", kind: int | None = 3) -> Callback:
    playlist = Playlist(url=url, stream_id=stream_id, file_id=file_id, media_track_type_code=kind)
    return a_callback(CallbackEvent.LIVE_PLAYLIST, event_type=102, playlist=playlist)


def test_a_playlist_replaces_the_one_of_its_stream_and_file() -> None:
    task = heard((0, live("https://a.example/1")), (1, live("https://a.example/2", kind=1)))
    assert task.told.playlists == (
        Playlist(url="https://a.example/2", stream_id="s", file_id="f", media_track_type_code=1),
    )


@pytest.mark.parametrize(("stream_id", "file_id"), [("s", "other"), ("other", "f"), (None, None)])
def test_playlists_of_other_streams_and_files_stand_side_by_side(stream_id: str | None, file_id: str | None) -> None:
    task = heard((0, live("https://a.example/1")), (1, live("https://a.example/2", stream_id, file_id)))
    assert [one.url for one in task.told.playlists] == ["https://a.example/1", "https://a.example/2"]


def test_of_many_playlists_the_newest_are_kept() -> None:
    many = PLAYLISTS_KEPT + 10
    task = heard(*((at, live(f"https://a.example/{at}", f"s{at}")) for at in range(many)))
    assert [one.url for one in task.told.playlists] == [f"https://a.example/{at}" for at in range(10, many)]


# -- files that only callbacks tell of


def test_an_image_becomes_a_file_that_shows_where_it_comes_from() -> None:
    task = heard((5, uploads(an_image("i0", file_size=9))))
    at = NOW + 5 * SECOND
    assert task.files == {
        "i0": File(
            seen=an_image("i0", file_size=9),
            claim_no=0,
            first_seen_at=at,
            updated_at=at,
            reached_end_at=at,
            source="callback",
        )
    }
    assert task.file_counts == {"uploaded": 1}


def test_an_image_that_is_under_way_has_not_reached_its_end() -> None:
    task = heard((0, uploads(an_image("i0", UPLOADING))))
    assert task.files["i0"].reached_end_at is None
    task = heard((5, uploads(an_image("i0", BACKUP))), task=task)
    assert task.files["i0"].reached_end_at == NOW + 5 * SECOND
    assert task.files["i0"].first_seen_at == NOW
    assert task.file_counts == {"uploaded_to_backup": 1}


def test_an_image_told_of_twice_is_the_same_file() -> None:
    once = heard((0, uploads(an_image())))
    assert heard((9, uploads(an_image())), task=once).files == once.files


def test_an_image_that_is_described_anew_keeps_the_time_of_its_end() -> None:
    task = heard((0, uploads(an_image(file_size=1))), (9, uploads(an_image(file_size=2))))
    file = task.files["i0"]
    assert (file.seen.file_size, file.first_seen_at, file.reached_end_at) == (2, NOW, NOW)
    assert file.updated_at == NOW + 9 * SECOND
    assert task.file_counts == {"uploaded": 1}


def test_files_that_were_left_out_are_counted_all_the_same() -> None:
    """A screenshot task has thousands of files; only those that a callback names are at hand."""
    task = a_task(file_counts={"uploaded": 4000, "lost": 1}, files={})
    assert heard((0, uploads(an_image("i4001"))), task=task).file_counts == {"uploaded": 4001, "lost": 1}


def test_media_files_of_a_callback_are_left_to_the_polls() -> None:
    task = heard((0, uploads(a_file("f0"), a_file("f1", output_file_format="mp4"), an_image("i0"))))
    assert task.files.keys() == {"i0"}


def test_images_neither_settle_a_task_nor_keep_it_from_settling() -> None:
    running = heard((0, uploads(an_image())), task=after_polls(polled(1, Status.ONGOING)))
    assert (running.tracking, running.outcome) == (Tracking.ACTIVE, None)
    under_way = heard((0, uploads(an_image(status=UPLOADING))), task=running)
    over = after_polls(polled(2, Status.COMPLETED, UPLOADED), task=under_way)
    assert (over.tracking, over.outcome) == (Tracking.SETTLED, Outcome.UPLOADED)
    assert over.file_counts == {"uploaded": 1, "uploading": 1}


def test_a_screenshot_task_settles_without_files_and_keeps_its_images() -> None:
    task = heard((0, uploads(an_image("i0"))), (1, uploads(an_image("i1", LOST))))
    task = after_polls(polled(1, Status.COMPLETED, at=0), polled(2, Status.COMPLETED, at=61), task=task)
    assert (task.tracking, task.outcome, task.attention.words) == (Tracking.SETTLED, Outcome.NO_FILES, [])
    assert task.files.keys() == {"i0", "i1"}
    assert task.file_counts == {"uploaded": 1, "lost": 1}


@pytest.mark.parametrize("status", FileStatus)
def test_a_callback_never_touches_a_polled_file(status: FileStatus) -> None:
    task = after_polls(polled(1, Status.ONGOING, RECORDING))
    after = heard((9, uploads(an_image("f0", status, file_size=1))), task=task)
    assert (after.files, after.file_counts) == (task.files, task.file_counts)


@pytest.mark.parametrize("status", [RECORDING, UPLOADING, UPLOADED])
def test_a_poll_takes_over_a_callbacks_file(status: FileStatus) -> None:
    """Whatever the callback said of it counts for nothing beside an answer, not even a higher rank."""
    task = heard((0, uploads(an_image("f0", LOST))))
    task = after_polls(polled(1, Status.ONGOING, status, at=7), task=task)
    file = task.files["f0"]
    assert (file.source, file.claim_no, file.seen) == ("poll", 1, a_file("f0", status))
    assert file.first_seen_at == NOW
    assert file.reached_end_at == (NOW + 7 * SECOND if status is UPLOADED else None)
    assert task.file_counts == {status.value: 1}
    assert heard((9, uploads(an_image("f0", LOST))), task=task).files == task.files


# -- how many polls callbacks may ask for


@dataclass
class Queue:
    """A followed task and its place in the queue, as time goes by. ``planned`` anew for ``routine`` after a poll."""

    task: Task = field(default_factory=a_task)
    routine: timedelta = timedelta(hours=6)
    polls: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan(NOW + self.routine)

    def plan(self, at: datetime) -> None:
        self.task = replace(self.task, polling=replace(self.task.polling, next_poll_at=at))

    def pass_until(self, now: datetime) -> None:
        """Poll whenever a poll is due until then."""
        while (due := self.task.polling.next_poll_at) is not None and due <= now:
            self.polls.append(due)
            self.task = replace(self.task, polling=Polling(last_polled_at=due, next_poll_at=due + self.routine))

    def hear(self, callback: Callback | None, seconds: float) -> timedelta | None:
        """How long a callback that comes so many seconds after NOW asks to wait; None: it asks for nothing."""
        now = NOW + seconds * SECOND
        self.pass_until(now)
        self.task, at = hurry(self.task, callback, now=now)
        planned = self.task.polling.next_poll_at
        if at is not None and (planned is None or at < planned):
            self.plan(at)
        return at - now if at is not None else None


NONE = timedelta(0)


@pytest.mark.parametrize(
    "callback",
    [
        *(a_callback(event) for event in CallbackEvent if event not in CHATTER),
        uploads_of(UPLOADED),
        uploads(a_file("f0"), an_image()),
        None,
    ],
    ids=lambda one: one.event.value if one else "one that counts for nothing",
)
def test_a_callback_asks_for_a_poll_at_once_five_times_and_then_once_a_minute(callback: Callback | None) -> None:
    queue = Queue()
    assert [queue.hear(callback, number) for number in range(HURRIES_AT_ONCE)] == [NONE] * 5
    queue.pass_until(NOW + 5 * SECOND)
    assert queue.hear(callback, 10) == 50 * SECOND
    assert [queue.hear(callback, at) for at in range(11, 60)] == [None] * 49
    assert queue.hear(callback, 60) is not None


def test_what_was_asked_for_becomes_due_once() -> None:
    queue = Queue()
    for at in range(30):
        queue.hear(a_callback(), at * 0.1)
    queue.pass_until(NOW + HOUR)
    assert queue.polls[-1] == NOW + MINUTE
    assert len(queue.polls) == 6


def test_a_flood_delays_the_next_callback_by_a_minute_at_most() -> None:
    task, at = a_task(), None
    for _ in range(1000):
        task, at = hurry(task, a_callback(), now=NOW)
    assert at == NOW + MINUTE
    assert [hurry(task, a_callback(), now=NOW + minute * MINUTE)[1] for minute in range(4)] == [
        NOW + minute * MINUTE for minute in (1, 2, 2, 3)
    ]


def test_after_some_quiet_a_burst_is_free_again() -> None:
    queue = Queue()
    for at in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0):
        queue.hear(a_callback(), at)
    assert [queue.hear(a_callback(), 600 + number) for number in range(5)] == [NONE] * 5


@settings(max_examples=200, deadline=None)
@given(gaps=st.lists(st.floats(0, 90), min_size=1, max_size=60))
def test_however_callbacks_come_they_cost_five_polls_and_one_a_minute(gaps: list[float]) -> None:
    queue, now = Queue(), 0.0
    for gap in gaps:
        now += gap
        waiting = queue.hear(a_callback(), now)
        assert waiting is None or NONE <= waiting <= MINUTE
        planned = queue.task.polling.next_poll_at
        assert planned is not None
        assert planned <= NOW + now * SECOND + MINUTE + timedelta(microseconds=1)
    queue.pass_until(NOW + now * SECOND + 2 * MINUTE)
    for first, start in enumerate(queue.polls):
        for later, end in enumerate(queue.polls[first:], 1):
            assert later <= HURRIES_AT_ONCE + (end - start) / MINUTE + 1.01


def test_a_poll_that_is_planned_sooner_serves_a_callback_that_has_to_wait() -> None:
    queue = Queue()
    for number in range(6):
        queue.hear(a_callback(), number * 0.1)
    queue.pass_until(NOW + SECOND)
    queue.plan(NOW + 20 * SECOND)
    before = queue.task
    assert queue.hear(a_callback(), 2) is None
    assert queue.task == before


def test_a_task_that_is_not_planned_at_all_is_polled_when_it_may_be() -> None:
    task = a_task(polling=Polling(next_poll_at=None))
    waits = []
    for _ in range(7):
        task, at = hurry(task, a_callback(), now=NOW)
        assert at is not None
        waits.append(at - NOW)
    assert waits == [NONE] * 5 + [MINUTE] * 2


# -- chatter


CHATTERING = [*(a_callback(event) for event in CHATTER), uploads(an_image())]


@pytest.mark.parametrize("callback", CHATTERING, ids=lambda one: one.event.value)
def test_chatter_asks_for_a_poll_ten_minutes_after_the_last(callback: Callback) -> None:
    task = a_task(polling=Polling(last_polled_at=NOW, next_poll_at=NOW + HOUR))
    for minutes in (0, 3, 9):
        assert hurry(task, callback, now=NOW + minutes * MINUTE)[1] == NOW + CHATTER_EVERY
    assert hurry(task, callback, now=NOW + 25 * MINUTE)[1] == NOW + 25 * MINUTE


@pytest.mark.parametrize("callback", CHATTERING, ids=lambda one: one.event.value)
@pytest.mark.parametrize("planned", [10 * MINUTE, 5 * MINUTE, 2 * SECOND])
def test_chatter_asks_for_nothing_where_a_poll_is_planned_sooner(callback: Callback, planned: timedelta) -> None:
    task = a_task(polling=Polling(last_polled_at=NOW, next_poll_at=NOW + planned))
    assert hurry(task, callback, now=NOW + SECOND) == (task, None)


@pytest.mark.parametrize("callback", CHATTERING, ids=lambda one: one.event.value)
def test_chatter_about_a_task_that_was_never_polled_does_not_press_either(callback: Callback) -> None:
    assert hurry(a_task(polling=Polling(next_poll_at=NOW + HOUR)), callback, now=NOW)[1] == NOW + 10 * MINUTE


def test_chatter_uses_up_no_polls_that_others_may_ask_for() -> None:
    queue = Queue(a_task(polling=Polling(last_polled_at=NOW)))
    for at in range(0, 30 * 60, 30):
        queue.hear(noticed("room_empty"), at)
    assert [poll - NOW for poll in queue.polls] == [10 * MINUTE, 20 * MINUTE]
    assert [queue.hear(a_callback(), 1800 + number) for number in range(5)] == [NONE] * 5


# -- what callbacks are worth when nothing can be asked any more


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        ([UPLOADED], Outcome.UPLOADED),
        ([UPLOADED, UPLOADED], Outcome.UPLOADED),
        ([BACKUP], Outcome.UPLOADED_TO_BACKUP),
        ([UPLOADED, BACKUP], Outcome.UPLOADED_TO_BACKUP),
        ([LOST], Outcome.LOST),
        ([LOST, LOST], Outcome.LOST),
        ([UPLOADED, LOST], Outcome.PARTIALLY_LOST),
        ([BACKUP, LOST, UPLOADED], Outcome.PARTIALLY_LOST),
        ([], Outcome.NO_FILES),
    ],
)
@pytest.mark.parametrize("seen", [(), (polled(1, Status.ONGOING),)], ids=["never seen", "last seen running"])
def test_an_event_1_resolves_what_polls_left_open(
    seen: tuple[Observation, ...], states: list[FileStatus], outcome: Outcome
) -> None:
    before = unresolved(*seen)
    task = weigh(before, [uploads_of(*states)])
    assert concluded(task) == (outcome, "callback")
    assert (task.status, task.tracking, task.closed_at) == (before.status, Tracking.EXPIRED, CLOSED)
    assert {file_id: (file.seen.status, file.source) for file_id, file in task.files.items()} == {
        f"f{number}": (status, "callback") for number, status in enumerate(states)
    }
    assert {file.first_seen_at for file in task.files.values()} <= {CLOSED}
    assert sum(task.file_counts.values()) == len(states)


@pytest.mark.parametrize(
    "callbacks",
    [
        [],
        [a_callback(CallbackEvent.ENDED, event_type=5)],
        [a_callback(CallbackEvent.STOPPED), a_callback(CallbackEvent.ENDED_ABNORMALLY, quit_reason_code=3)],
        [a_callback(CallbackEvent.UNKNOWN, event_type=999)],
        [uploads(an_image()), uploads(an_image("i1"))],
        [uploads(an_image()), a_callback(CallbackEvent.ENDED)],
        [uploads_of(UPLOADED, UPLOADING)],
        [uploads_of(UNKNOWN)],
        [live("https://a.example/1"), noticed("room_empty")],
    ],
    ids=[
        "nothing",
        "ended",
        "stopped, quit",
        "unknown",
        "images",
        "images, ended",
        "uploading",
        "new status",
        "chatter",
    ],
)
def test_nothing_less_resolves_it(callbacks: list[Callback]) -> None:
    task = unresolved(polled(1, Status.ONGOING))
    assert weigh(task, callbacks) == task


def test_what_came_with_an_event_1_counts_with_it() -> None:
    task = unresolved(polled(1, Status.ONGOING))
    told = [uploads(an_image()), uploads(a_file("f0")), uploads(a_file("f1", BACKUP))]
    assert concluded(weigh(task, told)) == (Outcome.UPLOADED_TO_BACKUP, "callback")


def test_of_one_file_the_newest_callback_counts() -> None:
    task = unresolved()
    assert weigh(task, [uploads_of(BACKUP), uploads_of(UPLOADED)]).outcome is Outcome.UPLOADED
    assert weigh(task, [uploads_of(UPLOADED), uploads_of(BACKUP)]).outcome is Outcome.UPLOADED_TO_BACKUP


def test_polled_files_at_their_end_stay_as_polled() -> None:
    before = unresolved(polled(1, Status.ONGOING, UPLOADED, UPLOADING))
    task = weigh(before, [uploads_of(LOST, UPLOADED)])
    assert concluded(task) == (Outcome.UPLOADED, "callback")
    assert task.files == before.files


@pytest.mark.parametrize("known", [RECORDING, UPLOADING, UNKNOWN])
@pytest.mark.parametrize(
    ("told", "outcome"),
    [(UPLOADED, Outcome.UPLOADED), (BACKUP, Outcome.UPLOADED_TO_BACKUP), (LOST, Outcome.LOST)],
)
def test_of_a_polled_file_under_way_a_callbacks_word_counts_and_the_file_stays_as_it_is(
    known: FileStatus, told: FileStatus, outcome: Outcome
) -> None:
    before = unresolved(polled(1, Status.COMPLETED, known))
    task = weigh(before, [uploads_of(told)])
    assert concluded(task) == (outcome, "callback")
    assert (task.files, task.file_counts) == (before.files, before.file_counts)


def test_a_polled_file_under_way_of_which_no_callback_tells_leaves_it_open() -> None:
    before = unresolved(polled(1, Status.ONGOING, UPLOADING, UPLOADING))
    assert weigh(before, [uploads_of(UPLOADED)]) == before
    assert weigh(before, [uploads()]) == before


def test_callbacks_add_the_files_that_polls_never_saw() -> None:
    before = unresolved(polled(1, Status.ONGOING, UPLOADING))
    task = weigh(before, [uploads_of(UPLOADED, LOST)])
    assert concluded(task) == (Outcome.PARTIALLY_LOST, "callback")
    assert {name: file.source for name, file in task.files.items()} == {"f0": "poll", "f1": "callback"}
    assert task.file_counts == {"uploading": 1, "lost": 1}


@pytest.mark.parametrize(
    ("states", "outcome"),
    [((LOST, UPLOADING), Outcome.PARTIALLY_LOST), ((BACKUP, UPLOADING), Outcome.UPLOADED_TO_BACKUP)],
)
def test_what_polls_resolved_stays_resolved(states: tuple[FileStatus, ...], outcome: Outcome) -> None:
    before = expired(after_polls(polled(1, Status.ONGOING, *states)), now=CLOSED)
    assert concluded(before) == (outcome, "poll")
    assert weigh(before, [uploads_of(UPLOADED, UPLOADED, UPLOADED)]) == before


def test_weighing_twice_changes_nothing_and_later_callbacks_may_correct_it() -> None:
    first = [uploads_of(BACKUP)]
    task = weigh(unresolved(), first)
    assert weigh(task, first) == task
    assert weigh(task, []) == task
    assert concluded(weigh(task, [*first, uploads_of(UPLOADED)])) == (Outcome.UPLOADED, "callback")


def test_only_expired_tasks_are_weighed() -> None:
    running = after_polls(polled(1, Status.ONGOING))
    for task in (running, untracked(running, now=NOW), after_polls(polled(1, Status.COMPLETED, UPLOADED))):
        assert weigh(task, [uploads_of(LOST)]) == task


def test_an_answer_outweighs_what_callbacks_said() -> None:
    task = weigh(unresolved(), [uploads_of(LOST)])
    settled = apply(task, polled(1, Status.COMPLETED, UPLOADED), now=CLOSED + HOUR)
    assert (settled.tracking, *concluded(settled)) == (Tracking.SETTLED, Outcome.UPLOADED, "poll")


def test_an_answer_that_resolves_nothing_leaves_the_callbacks_word() -> None:
    task = weigh(unresolved(), [uploads_of(BACKUP)])
    later = apply(task, polled(1, Status.ONGOING), now=CLOSED + HOUR)
    assert (later.status, *concluded(later)) == (Status.ONGOING, Outcome.UPLOADED_TO_BACKUP, "callback")


def test_a_task_that_is_followed_again_starts_without_an_outcome() -> None:
    task = tracked(weigh(unresolved(), [uploads_of(LOST)]), now=CLOSED + HOUR)
    assert concluded(task) == (None, None)
    assert concluded(expired(task, now=CLOSED + 2 * HOUR)) == (Outcome.UNRESOLVED, "poll")


# -- whatever callbacks say


FILES = st.builds(
    a_file,
    st.sampled_from(["f0", "f1", "f2", "i0", "i1"]),
    st.sampled_from(FileStatus),
    output_file_format=st.sampled_from(["mp4", "jpg", None]),
    file_size=st.none() | st.integers(0, 9),
)
PLAYLISTS = st.builds(
    Playlist, url=st.just("https://a.example/"), stream_id=st.sampled_from("ab"), file_id=st.sampled_from(["f0", None])
)
CALLBACKS = st.builds(
    Callback,
    event=st.sampled_from(CallbackEvent),
    event_type=st.none() | st.integers(0, 300),
    quit_reason_code=st.none() | st.integers(1, 6),
    files=st.lists(FILES, max_size=4).map(tuple),
    is_whole=st.booleans(),
    notice=st.none() | st.tuples(st.sampled_from("ab"), st.sampled_from("xy")),
    playlist=st.none() | PLAYLISTS,
)


def of_polls(task: Task) -> object:
    """All that only polls may decide."""
    files = {name: (f.seen, f.claim_no, f.reached_end_at) for name, f in task.files.items() if f.polled}
    facts = (task.status, task.status_code, task.tracking, task.claim_no, task.outcome, task.outcome_basis)
    times = (task.began_at, task.ended_at, task.end_first_asked_at, task.end_last_asked_at, task.settled_at)
    return facts, times, task.attention, task.room_id, task.window, files


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Observation], list[Observation | Callback]]:
    """Answers as they arrive, and the same with callbacks in between."""
    seen = draw(st.permutations(draw(recordings())))
    mixed: list[Observation | Callback] = list(seen)
    for callback in draw(st.lists(CALLBACKS, max_size=8)):
        mixed.insert(draw(st.integers(0, len(mixed))), callback)
    return seen, mixed


def lived(steps: Iterable[Observation | Callback]) -> Task:
    """The task after answers and callbacks; time passes with the answers."""
    task, now = a_task(), NOW + HOUR
    for step in steps:
        if isinstance(step, Callback):
            task, _ = hurry(hear(task, step, at=now), step, now=now)
            task = weigh(task, [step])
        else:
            now += SECOND
            task = apply(task, step, now=now)
    return task


@settings(max_examples=100, deadline=None)
@given(lives())
def test_no_callbacks_change_what_polls_tell(life: tuple[list[Observation], list[Observation | Callback]]) -> None:
    seen, mixed = life
    task = lived(mixed)
    assert of_polls(task) == of_polls(lived(seen))
    assert task.file_counts == {
        status.value: count
        for status in FileStatus
        if (count := sum(file.seen.status is status for file in task.files.values()))
    }


@st.composite
def endings(draw: st.DrawFn) -> Task:
    """A task after some polls, in any tracking."""
    task = lived(draw(recordings())[: draw(st.integers(0, 9))])
    close = draw(st.sampled_from([untracked, expired, None]))
    return close(task, now=CLOSED) if close and task.tracking is Tracking.ACTIVE else task


@settings(max_examples=100, deadline=None)
@given(task=endings(), callbacks=st.lists(CALLBACKS, max_size=6))
def test_forged_callbacks_move_nothing_but_the_outcome_of_an_expired_task_that_nobody_knew(
    task: Task, callbacks: list[Callback]
) -> None:
    after = task
    for second, callback in enumerate(callbacks):
        after = hear(after, callback, at=CLOSED + second * SECOND)
        after, _ = hurry(after, callback, now=CLOSED + second * SECOND)
    after = weigh(after, callbacks)
    known = replace(after, outcome=task.outcome, outcome_basis=task.outcome_basis)
    assert of_polls(known) == of_polls(task)
    if concluded(after) != concluded(task):
        assert (task.tracking, *concluded(task)) == (Tracking.EXPIRED, Outcome.UNRESOLVED, "poll")
        assert after.outcome_basis == "callback"


@settings(max_examples=200, deadline=None)
@given(callbacks=st.lists(CALLBACKS, max_size=5), order=st.randoms(use_true_random=False))
def test_the_order_of_callbacks_makes_no_difference_to_notices_and_the_newest(
    callbacks: Sequence[Callback], order: Random
) -> None:
    times = list(enumerate(callbacks))
    shuffled = order.sample(times, len(times))
    one, other = heard(*times).told, heard(*shuffled).told
    assert (one.notices, one.last) == (other.notices, other.last)
