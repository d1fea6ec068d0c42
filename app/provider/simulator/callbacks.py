"""The callbacks of a recording's life, as data (docs/provider.md 4). Their order is inferred, not documented."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from heapq import merge
from itertools import pairwise
from operator import itemgetter

from app.provider.simulator.lives import DELIVERED, OPEN, STOPPED, FileStatus, TaskStatus
from app.provider.simulator.recordings import Recording

EMPTY_EVERY = 30.0
# A task waits for a stream for a day at most (MaxIdleTime).
_MOST_EMPTY = 2880
_WORD = re.compile(r"(?<!^)(?=[A-Z])")

_Message = tuple[float, "Event", dict[str, object]]


class Event(IntEnum):
    """`event_type` of the callbacks that recordings send of themselves."""

    UPLOAD_FINISHED = 1
    ENDED_ABNORMALLY = 2
    ROOM_EMPTY = 4
    COMPLETED = 5
    STOPPED = 7
    PAUSED = 201
    RESUMED = 202


@dataclass(frozen=True, slots=True)
class Callback:
    """One message about a task, due at `moment` (Unix seconds). `sequence` counts the task's messages from 0."""

    app_id: int
    task_id: str
    room_id: str
    moment: float
    event_type: int
    sequence: int
    detail: Mapping[str, object]

    def body(self, secret: str, nonce: str, timestamp: str) -> bytes:
        """Return it as JSON, signed. `nonce` is decimal digits, `timestamp` the Unix second of sending."""
        content = {
            "app_id": self.app_id,
            "task_id": self.task_id,
            "room_id": self.room_id,
            "event_type": int(self.event_type),
            "message": "",
            "nonce": nonce,
            "timestamp": timestamp,
            "signature": callback_signature(secret, timestamp, nonce),
            "sequence": self.sequence,
            "detail": self.detail,
        }
        return json.dumps(content, separators=(",", ":")).encode()


def callback_signature(secret: str, timestamp: str, nonce: str) -> str:
    """Return the lower-case hexadecimal SHA1 of the three texts, sorted as texts and joined (docs/provider.md 4.5)."""
    joined = "".join(sorted([secret, timestamp, nonce])).encode()
    return hashlib.sha1(joined, usedforsecurity=False).hexdigest()


def callbacks(recording: Recording) -> Iterator[Callback]:
    """Yield all callbacks of a recording's life, by moment. A late upload from the backup store sends none."""
    for sequence, (moment, event, detail) in enumerate(_messages(recording)):
        yield Callback(recording.app_id, recording.task_id, recording.room_id, moment, event, sequence, detail)


def _messages(recording: Recording) -> Iterator[_Message]:
    yield from merge(_pauses(recording), _empty_room(recording), _images(recording), key=itemgetter(0))
    reason, end = recording.life.quit_reason, recording.moment(STOPPED)
    if reason is not None:
        yield end, Event.ENDED_ABNORMALLY, {"quit_reason": reason}
    yield end, Event.STOPPED, {}
    if reason is None:
        yield end, Event.COMPLETED, {}
    # The images of a screenshot task have been told one by one.
    if not recording.life.images:
        yield recording.moment(DELIVERED), Event.UPLOAD_FINISHED, _uploaded(recording.files_at(DELIVERED))


def _pauses(recording: Recording) -> Iterator[_Message]:
    for (_, before), (point, after) in pairwise(recording.life.statuses):
        if after is TaskStatus.PAUSED:
            yield recording.moment(point), Event.PAUSED, {}
        elif before is TaskStatus.PAUSED:
            yield recording.moment(point), Event.RESUMED, {}


def _empty_room(recording: Recording) -> Iterator[_Message]:
    empty_from = max((file.closes for file in recording.life.files), default=STOPPED)
    first, end = recording.moment(empty_from), recording.moment(STOPPED)
    for number in range(_MOST_EMPTY):
        moment = first + number * EMPTY_EVERY / recording.pace.speed
        if moment >= end:
            return
        yield moment, Event.ROOM_EMPTY, {}


def _images(recording: Recording) -> Iterator[_Message]:
    for number in range(1, recording.life.images + 1):
        point = OPEN + number / (recording.life.images + 1)
        yield recording.moment(point), Event.UPLOAD_FINISHED, _uploaded([recording.image(point)])


def _uploaded(files: list[dict[str, object]]) -> dict[str, object]:
    is_whole = all(file["Status"] == FileStatus.UPLOADED for file in files)
    return {"upload_status": 1 if is_whole else 2, "file_info": [_snake_case(file) for file in files]}


def _snake_case(file: Mapping[str, object]) -> dict[str, object]:
    return {_WORD.sub("_", name).lower(): value for name, value in file.items()}
