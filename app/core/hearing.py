"""How what callbacks tell changes a task.

Their bodies are not signed, so they never move a status, a polled file, the settling or the outcome: what only they
can tell is kept beside, and the poll they hurry does the rest. One exception: when the query window has closed and no
poll can confirm any more, they are the best evidence there is (`weigh`), and ``outcome_basis`` says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from app.core.merging import outcome_of
from app.core.recording import File, FileStatus, Outcome, SeenFile, Task, Tracking
from app.core.told import CallbackEvent, LastCallback, Notice, Playlist
from app.core.values import replace, value

NOTICES_KEPT = 50
PLAYLISTS_KEPT = 200

HURRY_EVERY = timedelta(minutes=1)
HURRIES_AT_ONCE = 5
"""Callbacks may hurry a task's polls this often at once, and once a minute from then on."""

CHATTER_EVERY = timedelta(minutes=10)
"""Events that say nothing of a task's state ask for a poll if there was none for so long."""

CHATTER = frozenset(
    {
        CallbackEvent.IMAGE_DOWNLOAD_FAILED,
        CallbackEvent.ROOM_EMPTY,
        CallbackEvent.STREAM_MISSING,
        CallbackEvent.LIVE_PLAYLIST,
    }
)
"""Events that say nothing of a task's state."""


@value
class Callback:
    """What one callback says. None of it is signed: whoever saw one signature could have written it.

    ``event_type`` is the provider's number. ``files`` are those that an upload_finished names;
    ``is_whole``: it names all there are, and all of them could be read.
    """

    event: CallbackEvent
    event_type: int | None = None
    quit_reason_code: int | None = None
    files: tuple[SeenFile, ...] = ()
    is_whole: bool = False
    notice: tuple[str, str] | None = None
    """Code and detail."""
    playlist: Playlist | None = None

    @property
    def images(self) -> tuple[SeenFile, ...]:
        """The screenshots among its files: no query ever lists them."""
        return tuple(file for file in self.files if file.output_file_format == IMAGE)

    @property
    def media(self) -> tuple[SeenFile, ...]:
        """The files that polls tell of too."""
        return tuple(file for file in self.files if file.output_file_format != IMAGE)

    @property
    def is_last_word(self) -> bool:
        """Whether it says what became of all the recording's files: a screenshot's does not."""
        return self.is_whole and (not self.images or bool(self.media))


IMAGE = "jpg"


def hear(task: Task, callback: Callback, *, at: datetime) -> Task:
    """The task after a callback received ``at``; of its files it needs only those that the callback names."""
    told, last = task.told, last_callback(callback, at=at)
    newest = told.last is None or told.last.received_at <= at
    if callback.quit_reason_code is not None and (told.quit_reason_at is None or told.quit_reason_at <= at):
        told = replace(told, quit_reason_code=callback.quit_reason_code, quit_reason_at=at)
    told = replace(
        told,
        playlists=_with_playlist(told.playlists, callback.playlist),
        notices=_with_notice(told.notices, callback.notice, at=at),
        last=last if newest else told.last,
    )
    return _with_files(replace(task, told=told), callback.images, at=at)


def last_callback(callback: Callback, *, at: datetime) -> LastCallback:
    """A callback as a task shows the newest one."""
    return LastCallback(event_type=callback.event_type, event=callback.event, received_at=at)


def _with_playlist(known: tuple[Playlist, ...], told: Playlist | None) -> tuple[Playlist, ...]:
    if told is None:
        return known
    others = [one for one in known if (one.stream_id, one.file_id) != (told.stream_id, told.file_id)]
    return (*others, told)[-PLAYLISTS_KEPT:]


def _with_notice(known: tuple[Notice, ...], told: tuple[str, str] | None, *, at: datetime) -> tuple[Notice, ...]:
    if told is None:
        return known
    notices = {(one.code, one.detail): one for one in known}
    same = notices.get(told)
    notices[told] = (
        replace(same, first_at=min(same.first_at, at), last_at=max(same.last_at, at), count=same.count + 1)
        if same
        else Notice(code=told[0], detail=told[1], first_at=at, last_at=at)
    )
    newest = sorted(notices.values(), key=lambda one: one.last_at)[-NOTICES_KEPT:]
    return tuple(sorted(newest, key=lambda one: (one.first_at, one.code, one.detail)))


def _with_files(task: Task, told: Collection[SeenFile], *, at: datetime) -> Task:
    """With files that only callbacks told of; one that polls told of stays as it is."""
    if not told:
        return task
    files, counts = dict(task.files), Counter(task.file_counts)
    for seen in told:
        old = files.get(seen.file_id)
        if old is not None and (old.polled or old.seen == seen):
            continue
        counts[seen.status.value] += 1
        if old is not None:
            counts[old.seen.status.value] -= 1
        files[seen.file_id] = File(
            seen=seen,
            claim_no=0,
            first_seen_at=old.first_seen_at if old else at,
            updated_at=at,
            reached_end_at=(old.reached_end_at if old else None) or (at if seen.status.at_end else None),
            source="callback",
        )
    return replace(task, files=files, file_counts={word: count for word, count in counts.items() if count > 0})


def hurry(task: Task, callback: Callback | None, *, now: datetime) -> tuple[Task, datetime | None]:
    """When the poll that a callback asks for is due, and the task with that poll used up; None: one is due by then.

    However many callbacks come, they cost a few polls: a burst at once, then one a minute; for chatter one in ten.
    """
    planned, until = task.polling.next_poll_at, task.told.hurries_until
    if callback is not None and (callback.event in CHATTER or (callback.images and not callback.media)):
        last = task.polling.last_polled_at
        at = max(now, min(last or now, now) + CHATTER_EVERY)
    else:
        burst = HURRIES_AT_ONCE * HURRY_EVERY
        until = min(max(now, until or now), now + burst) + HURRY_EVERY
        at = max(now, until - burst)
    if at > now and planned is not None and planned <= at:
        return task, None
    if until == task.told.hurries_until:
        return task, at
    return replace(task, told=replace(task.told, hurries_until=until)), at


def weigh(task: Task, callbacks: Sequence[Callback]) -> Task:
    """An expired task that polls could not resolve, after weighing what callbacks said of it, oldest first."""
    finished = any(callback.is_last_word for callback in callbacks)
    resolved_by_polls = task.outcome is not Outcome.UNRESOLVED and task.outcome_basis == "poll"
    if task.tracking is not Tracking.EXPIRED or resolved_by_polls or not finished:
        return task
    told = {file.file_id: file for callback in callbacks for file in callback.media}
    states = [_best(file, told.get(file.seen.file_id)) for file in task.polled_files]
    states += [file.status for file_id, file in told.items() if not _is_polled(task, file_id)]
    outcome = outcome_of(set(states), over=all(state.at_end for state in states))
    if outcome is Outcome.UNRESOLVED:
        return task
    at = task.closed_at or task.updated_at
    task = _with_files(task, told.values(), at=at)
    return replace(task, outcome=outcome, outcome_basis="callback")


def _is_polled(task: Task, file_id: str) -> bool:
    known = task.files.get(file_id)
    return known is not None and known.polled


def _best(known: File, told: SeenFile | None) -> FileStatus:
    """A polled file's status, unless it was under way and a callback saw its end."""
    return told.status if told is not None and not known.seen.status.at_end else known.seen.status
