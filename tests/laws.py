"""The laws as checks on what stands in the database, between one look at it and the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import select

from app.core.public import SILENT, Json, file_json, task_json
from app.core.recording import File, Task, Tracking
from app.provider.wire import read_envelope, read_task
from app.store import callbacks as callback_store
from app.store import rows as rows_of
from app.store import tasks as task_store
from app.store.engine import Database
from app.store.events import StoredEvent, stored
from app.store.tables import ANSWERS, CALLBACKS, EVENTS, POLLS
from app.tracking.callbacks import KEPT_OF_ONE_SIGNATURE
from app.tracking.hearing import REMEMBER

LONGEST_WAIT = timedelta(minutes=11)
"""No plan for a task that is still being followed lies farther ahead: ten minutes and the jitter."""

TOLD_BY_CALLBACKS = {"quit_reason", "quit_reason_code", "live_playlists", "notices", "file_counts"}


@dataclass(frozen=True, slots=True)
class Sight:
    """All there is at one moment; of the events those that are new."""

    tasks: dict[str, Task]
    polls: dict[str, Any]
    answers: dict[str, Any]
    callbacks: list[Any]
    events: list[StoredEvent]


async def look(database: Database, *, after: int = 0) -> Sight:
    async with database.read() as connection:
        rows = (await connection.execute(select(*rows_of.TASK_COLUMNS).select_from(rows_of.TASKS_AND_POLLS))).all()
        files = await task_store.files_of(connection, [row.task_id for row in rows])
        events = select(*stored(EVENTS.c)).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq)
        return Sight(
            tasks={row.task_id: rows_of.to_task(row, files[row.task_id]) for row in rows},
            polls={row.task_id: row for row in await connection.execute(select(POLLS))},
            answers={row.task_id: row for row in await connection.execute(select(ANSWERS))},
            callbacks=list(await connection.execute(select(CALLBACKS).order_by(CALLBACKS.c.id))),
            events=[StoredEvent(**row._mapping) for row in await connection.execute(events)],
        )


@dataclass(slots=True)
class Reader:
    """What somebody knows of a task who reads its events alone."""

    version: int
    task: Json = field(default_factory=dict)
    files: dict[str, Json] = field(default_factory=dict)
    callbacks: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """A callback that was answered with 200."""

    task_id: str
    signed: str
    said: str
    at: datetime
    known: bool


TELL_ALONE = {"callback.received", "file.backup_expiring", "file.backup_expired"}
"""Events of something that changes nothing by itself."""


class Laws:
    """Watches a database. ``registered`` and ``receipts`` are what was acknowledged and has to be there."""

    def __init__(self) -> None:
        self.registered: set[str] = set()
        self.receipts: list[Receipt] = []
        self.sight = Sight({}, {}, {}, [], [])
        self._owed: dict[str, tuple[int, datetime]] = {}
        """Tasks that a poll was asked for: the claim they had then, and when the next is due at the latest."""
        self._readers: dict[str, Reader] = {}
        self._seq = 0

    async def check(self, database: Database, *, now: datetime) -> Sight:
        """Look, and raise AssertionError if a law was broken since the last look."""
        sight = await look(database, after=self._seq)
        self._nothing_is_forgotten(sight, now=now)
        self._debts_are_paid(sight)
        self._nothing_goes_back(sight)
        self._callbacks_decide_nothing(sight.events)
        self._follow(sight.events)
        self._readers_know(sight)
        self._answers_are_believed(sight)
        self.sight = sight
        return sight

    def hurried(self, task_id: str, *, by: datetime) -> None:
        """Somebody asked for a poll of the task and was told that it will be made."""
        task, poll = self.sight.tasks.get(task_id), self.sight.polls.get(task_id)
        if task and poll and task.tracking is Tracking.ACTIVE and by < task.window[0]:
            self._owed[task_id] = poll.claim_no, by

    def deleted(self, task_id: str) -> None:
        """The task was erased, and what came of it with it."""
        self.registered.discard(task_id)
        self.receipts = [receipt for receipt in self.receipts if receipt.task_id != task_id]

    # -- law 3

    def _nothing_is_forgotten(self, sight: Sight, *, now: datetime) -> None:
        assert self.registered <= sight.tasks.keys(), "an acknowledged task is gone"
        for task_id, task in sight.tasks.items():
            if task.tracking is Tracking.ACTIVE:
                assert task_id in sight.polls, f"nobody will ever ask about {task_id}"
                assert sight.polls[task_id].next_poll_at <= now + LONGEST_WAIT, f"{task_id} stays claimed"
            elif task.tracking is not Tracking.UNTRACKED:
                assert task.polling.poll_count, f"{task_id} ended and was never asked about"
            else:
                assert task_id not in sight.polls, f"{task_id} is untracked, and polled"
        self.receipts = [one for one in self.receipts if one.known or now - one.at < REMEMBER]
        wanted = Counter((one.signed, one.said) for one in self.receipts)
        there = Counter((row.signed, row.said) for row in sight.callbacks)
        of_signature = Counter(row.signed for row in sight.callbacks)
        for key, times in wanted.items():
            assert there[key] >= times or of_signature[key[0]] >= KEPT_OF_ONE_SIGNATURE, "a callback is gone"

    # -- law 4

    def _callbacks_decide_nothing(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            if event.source != "callback" or not event.data:
                continue
            if event.type == "file.updated":
                assert event.data["file"]["source"] == "callback", "a callback changed a polled file"
            elif event.type not in ("task.registered", "callback.received"):
                expired = event.data["task"]["tracking"] == "expired"
                may = TOLD_BY_CALLBACKS | ({"outcome", "outcome_basis"} if expired else set())
                assert event.data["previous"].keys() <= may, f"a callback changed {event.data['previous']}"

    def _debts_are_paid(self, sight: Sight) -> None:
        for task_id, (claim_no, by) in list(self._owed.items()):
            task, poll = sight.tasks.get(task_id), sight.polls.get(task_id)
            if task is None or task.tracking is not Tracking.ACTIVE or (poll and poll.claim_no > claim_no):
                del self._owed[task_id]
            else:
                assert poll, f"nobody asks about {task_id} any more"
                assert poll.next_poll_at <= by, f"{task_id} was hurried in vain"

    # -- law 5

    def _nothing_goes_back(self, sight: Sight) -> None:
        for task_id, before in self.sight.tasks.items():
            after = sight.tasks.get(task_id)
            if after is None or after.registered_at != before.registered_at:  # deleted meanwhile
                continue
            assert after.version >= before.version, "a version fell"
            assert after.claim_no >= before.claim_no, "an older claim won"
            assert before.files.keys() <= after.files.keys(), "a file vanished"
            for file_id, old in before.files.items():
                _file_goes_on(old, after.files[file_id])

    # -- law 6

    def _follow(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            assert event.seq > self._seq, "seq did not rise"
            self._seq = event.seq
            assert event.task_id is not None
            if event.type in ("callback.received", "task.registered"):
                reader = self._readers.setdefault(event.task_id, Reader(version=0))
                reader.callbacks = reader.callbacks + 1 if event.type == "callback.received" else 0
        told = sorted(
            (event for event in events if event.type not in TELL_ALONE),
            key=lambda event: (event.task_id or "", event.seq),
        )
        for (task_id, version), group in groupby(told, key=lambda event: (event.task_id, event.task_version)):
            self._take_in(task_id, version, list(group))

    def _take_in(self, task_id: str, version: int, group: list[StoredEvent]) -> None:
        """The events of one version."""
        reader = self._readers.setdefault(task_id, Reader(version=0))
        assert version == reader.version + 1, f"{task_id} went from version {reader.version} to {version}"
        reader.version = version
        about_task = [event for event in group if event.type.startswith("task.")]
        assert len(about_task) <= 1, f"one change, several events: {[event.type for event in group]}"
        if any(not event.data for event in group):  # deleted, or erased by a deletion to come
            reader.task, reader.files = {}, {}
            return
        if group[0].type == "task.registered":
            reader.task, reader.files = group[0].data["task"], {}
            return
        _tells_what_changed(reader, group, about_task)
        reader.task = group[0].data["task"]
        assert all(event.data["task"] == reader.task for event in group)
        for event in group:
            if event.type == "file.updated":
                _tells_what_changed_of_a_file(reader.files, event.data)

    def _readers_know(self, sight: Sight) -> None:
        counted = (row for row in sight.callbacks if row.verdict == callback_store.ACCEPTED and row.forget_at is None)
        heard = Counter(row.task_id for row in counted if row.body is not None)
        for task_id, task in sight.tasks.items():
            reader = self._readers[task_id]
            assert reader.version == task.version, f"{task_id}: version {task.version} without an event"
            assert _told(reader.task) == _told(task_json(task)), f"{task_id} changed without an event"
            files = {file_id: _file_told(file_json(task, file)) for file_id, file in task.files.items()}
            assert {file_id: _file_told(file) for file_id, file in reader.files.items()} == files
            assert reader.callbacks == heard[task_id], "a callback counted not once"

    # -- what polls said counts

    def _answers_are_believed(self, sight: Sight) -> None:
        for task_id, row in sight.answers.items():
            task = sight.tasks[task_id]
            answer = read_task(
                read_envelope(row.body.encode(), 200), task_id, claim_no=row.claim_no, asked_at=row.asked_at
            )
            assert (task.claim_no, task.status) == (row.claim_no, answer.status), "the last answer is not believed"
            for told in answer.files:
                file = task.files[told.file_id]
                assert file.polled
                assert file.seen.status.rank >= told.status.rank
                assert file.seen.status.rank > told.status.rank or file.seen == told


def _file_goes_on(old: File, new: File) -> None:
    assert new.polled or not old.polled, "a polled file became a rumour"
    if old.polled:
        assert new.seen.status.rank >= old.seen.status.rank, "a file's rank fell"
        assert new.claim_no >= old.claim_no or new.seen.status.rank > old.seen.status.rank
        assert new.first_seen_at <= old.first_seen_at


def _tells_what_changed(reader: Reader, group: list[StoredEvent], about_task: list[StoredEvent]) -> None:
    new = group[0].data["task"]
    changed = {name: was for name, was in reader.task.items() if name not in SILENT and new[name] != was}
    if about_task:
        assert about_task[0].data["previous"] == changed, "an event does not tell what changed"
    else:
        assert changed.keys() <= {"file_counts"}, "a change without an event"


def _tells_what_changed_of_a_file(known: dict[str, Json], told: Json) -> None:
    file, was = told["file"], known.get(told["file"]["file_id"])
    if was is None:
        assert told["previous"] is None
    else:
        changed = {name: value for name, value in _file_told(was).items() if file[name] != value}
        assert _file_told(told["previous"]) == changed, "an event does not tell what changed of a file"
    known[file["file_id"]] = file


def _told(task: Json) -> Json:
    return {name: value for name, value in task.items() if name not in SILENT}


def _file_told(file: Json) -> Json:
    """A file but for what tells no news of it: the room is the task's."""
    return {name: value for name, value in file.items() if name not in ("updated_at", "room_id")}


def decided(task: Task) -> Task:
    """What only polls, time and callers may change of a task."""
    files = {file_id: file for file_id, file in task.files.items() if file.polled}
    nothing_told = replace(task, told=type(task.told)(), files=files, file_counts={}, version=0)
    polling = replace(task.polling, next_poll_at=None)
    return replace(nothing_told, polling=polling, updated_at=task.registered_at)
