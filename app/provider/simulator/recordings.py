"""The recordings of the simulated provider, and its words for them. Times are Unix seconds unless `_ms`."""

import base64
import random
import re
import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypedDict

from app.provider.simulator import lives
from app.provider.simulator.lives import STOPPED, FileMoment, FileStatus, Life, Pace, TaskStatus

BYTES_PER_SECOND = 149_000
TASK_ID = re.compile(r"[A-Za-z0-9_-]{16}")
_LATEST_BEGIN = 2.0**32
_LONGEST = 1e9
_STOPPED = int(STOPPED)

# Where a file can be fetched from is documented for uploaded files only; that a backup copy has another
# address, and that there is none before, is inferred.
_URL = {
    FileStatus.UPLOADED: "https://bucket.example/record/",
    FileStatus.IN_BACKUP: "https://backup.example/record/",
}


class FileTruth(TypedDict):
    """A file that is listed by now."""

    file_id: str
    status: int


class Truth(TypedDict):
    """What is so; times are Unix seconds.

    `status` and those of the files are the provider's numbers. `ended` is about the task only: files may
    still be uploading. `quit_reason` is None unless it ended abnormally. `final_at` is when the last change
    happens.
    """

    task_id: str
    app_id: int
    room_id: str
    life: str
    status: int
    ended: bool
    quit_reason: int | None
    began_at: float
    final_at: float
    files: list[FileTruth]


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording task: a life, played at a pace from `began_at` on."""

    app_id: int
    task_id: str
    room_id: str
    life_name: str
    life: Life
    pace: Pace
    began_at: float

    def has_ended(self, now: float) -> bool:
        """Tell whether the task is over (its files may still be uploading)."""
        # Every list asks this of every task in its window; `Pace.seconds` would take five times as long.
        return now - self.began_at >= self.pace.begins[_STOPPED]

    def moment(self, point: float) -> float:
        """Return when this point of the life is reached."""
        return self.began_at + self.pace.seconds(point)

    def status(self, now: float) -> TaskStatus:
        """Return the task's status."""
        return lives.task_status(self.life, self.pace, now - self.began_at)

    def described(self, now: float) -> dict[str, object]:
        """Return `Data` of DescribeRecordStatus (docs/provider.md 2.1); no RecordFiles while there is no file."""
        listed = [self._file(moment) for moment in self._files(now - self.began_at)]
        data: dict[str, object] = {
            "RoomId": self.room_id,
            "RecordMode": 2 if self.life.mixed else 1,
            "StreamType": 3,
            "RecordBeginTimestamp": _ms(self.began_at),
            "RecordEndTimestamp": _ms(self.moment(STOPPED)) if self.has_ended(now) else 0,
            "Status": self.status(now),
        }
        return {**data, "RecordFiles": listed} if listed else data

    def listed(self, now: float) -> dict[str, object]:
        """Return this task as an item of DescribeTasks (docs/provider.md 3)."""
        return {
            "RecordBeginTimestamp": _ms(self.began_at),
            "TaskId": self.task_id,
            "RoomId": self.room_id,
            "Status": self.status(now),
        }

    def truth(self, now: float) -> "Truth":
        """Return what is so now, to compare with what a client found out."""
        return {
            "task_id": self.task_id,
            "app_id": self.app_id,
            "room_id": self.room_id,
            "life": self.life_name,
            "status": int(self.status(now)),
            "ended": self.has_ended(now),
            "quit_reason": self.life.quit_reason if self.has_ended(now) else None,
            "began_at": self.began_at,
            "final_at": self.moment(self.life.last_change),
            "files": [
                {"file_id": self._file_id(file), "status": int(file.status)}
                for file in self._files(now - self.began_at)
            ],
        }

    def files_at(self, point: float) -> list[dict[str, object]]:
        """Return `RecordFiles` as it is when this point of the life is reached."""
        return [self._file(moment) for moment in self._files(self.pace.seconds(point))]

    def image(self, point: float) -> dict[str, object]:
        """Return the image taken at this point of a screenshot task, in the words of `RecordFiles`."""
        taken_ms = _ms(self.moment(point))
        file_id = f"{self.task_id}_{self.room_id}_user_1_stream_1_{_compact_utc(taken_ms)}.jpg"
        return {
            "UserId": "user_1",
            "UserName": "User 1",
            "StreamId": "stream_1",
            "FileId": file_id,
            "VideoId": "",
            "FileUrl": f"{_URL[FileStatus.UPLOADED]}{file_id}",
            "OutputFileFormat": "jpg",
            "FileSize": BYTES_PER_SECOND,
            "Duration": 0,
            "ResolutionWidth": 1280,
            "ResolutionHeight": 720,
            "MediaTrackType": 2,
            "BeginTimestamp": taken_ms,
            "Status": FileStatus.UPLOADED,
        }

    def _files(self, elapsed: float) -> list[FileMoment]:
        return lives.files(self.life, self.pace, elapsed)

    def _names(self, moment: FileMoment) -> tuple[str, str, str]:
        if self.life.mixed:
            return ("mix", "mix", "mix")
        number = moment.life.publisher
        return (f"user_{number}", f"User {number}", f"stream_{number}")

    def _opened_ms(self, moment: FileMoment) -> int:
        return _ms(self.moment(moment.life.opens))

    def _file_id(self, moment: FileMoment) -> str:
        user, _, stream = self._names(moment)
        source = stream if self.life.mixed else f"{user}_{stream}"
        return f"{self.task_id}_{self.room_id}_{source}_VA_{_compact_utc(self._opened_ms(moment))}.mp4"

    def _file(self, moment: FileMoment) -> dict[str, object]:
        user_id, user_name, stream_id = self._names(moment)
        file_id = self._file_id(moment)
        return {
            "UserId": user_id,
            "UserName": user_name,
            "StreamId": stream_id,
            "FileId": file_id,
            "VideoId": "",
            "FileUrl": f"{_URL[moment.status]}{file_id}" if moment.status in _URL else "",
            "OutputFileFormat": "mp4",
            "FileSize": round(moment.recorded * BYTES_PER_SECOND),
            "Duration": round(moment.recorded * 1000),
            "ResolutionWidth": 1280,
            "ResolutionHeight": 720,
            "MediaTrackType": 3,
            "BeginTimestamp": self._opened_ms(moment),
            "Status": moment.status,
        }


class Recordings:
    """All recordings, found by id and by time of their start."""

    def __init__(self) -> None:
        self._by_id: dict[tuple[int, str], Recording] = {}
        self._by_start: dict[int, list[Recording]] = {}

    def __iter__(self) -> Iterator[Recording]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, recording: Recording) -> None:
        """Take in a recording; ValueError if this app has one of that id."""
        key = (recording.app_id, recording.task_id)
        if key in self._by_id:
            raise ValueError(f"app {recording.app_id} already has a recording {recording.task_id}")
        self._by_id[key] = recording
        insort(self._by_start.setdefault(recording.app_id, []), recording, key=_began_ms)

    def find(self, app_id: int, task_id: str) -> Recording | None:
        """Return one app's recording, if there is one."""
        return self._by_id.get((app_id, task_id))

    def started_between(self, app_id: int, earliest_ms: int, latest_ms: int) -> Iterable[Recording]:
        """Return one app's recordings which started within these Unix ms, both included, newest first."""
        mine = self._by_start.get(app_id, [])
        first = bisect_left(mine, earliest_ms, key=_began_ms)
        return reversed(mine[first : bisect_right(mine, latest_ms, key=_began_ms)])


def new_task_id(began_at: float, dice: random.Random) -> str:
    """Return 16 base64url characters: 4 bytes of big-endian Unix seconds (docs/provider.md 2), then 8 random ones."""
    return base64.urlsafe_b64encode(struct.pack(">I", int(began_at)) + dice.randbytes(8)).decode()


def check_start(task_id: str | None, room_id: str | None, began_at: float, duration: float, upload: float) -> None:
    """Raise ValueError, saying what is wrong, if a recording cannot be started like this."""
    if task_id is not None and not TASK_ID.fullmatch(task_id):
        raise ValueError("task_id must be 16 characters of A-Z a-z 0-9 _ -")
    if room_id is not None and not room_id.isprintable():
        raise ValueError("room_id must be printable")
    if not 0 <= began_at < _LATEST_BEGIN:
        raise ValueError("began_at must be Unix seconds")
    for name, seconds in (("duration", duration), ("upload", upload)):
        if not 0 <= seconds <= _LONGEST:
            raise ValueError(f"{name} must be seconds, 0 or more")


def _began_ms(recording: Recording) -> int:
    return _ms(recording.began_at)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _compact_utc(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y%m%d%H%M%S}{ms % 1000:03d}"
