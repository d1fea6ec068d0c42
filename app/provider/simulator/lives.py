"""The lives a simulated recording can lead: data, and the pure functions of elapsed time that read it.

A point in a life is a stage plus a fraction of it: 1.5 is halfway through the recording, 2.0 the moment it
stops. Stages stretch with the lengths that a recording was started with (`Pace`), so one table serves a
recording of ten seconds and one of ten hours. How statuses follow each other is inferred, not documented
(docs/provider.md 6).
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, pairwise

STARTED, OPEN, STOPPED, DELIVERED, LATER = 0.0, 1.0, 2.0, 3.0, 4.0

LONGEST_INITIALISING = 2.0
LATE_UPLOADS = 3.0


class TaskStatus(IntEnum):
    """`Data.Status` of DescribeRecordStatus."""

    INITIALISING = 1
    IN_PROGRESS = 2
    ENDED = 3
    ENDED_ABNORMALLY = 4
    PAUSED = 5


class FileStatus(IntEnum):
    """`RecordFiles[].Status` of DescribeRecordStatus."""

    RECORDING = 1
    UPLOADING = 2
    UPLOADED = 3
    IN_BACKUP = 4
    LOST = 5


@dataclass(frozen=True, slots=True)
class FileLife:
    """One file: its statuses by point (the first is its opening), where its content ends, who publishes."""

    statuses: tuple[tuple[float, FileStatus], ...]
    closes: float = STOPPED
    publisher: int = 1

    @property
    def opens(self) -> float:
        """The point at which the file is first listed."""
        return self.statuses[0][0]


@dataclass(frozen=True, slots=True)
class Life:
    """What a recording goes through.

    Only callbacks tell `quit_reason`, why it ended abnormally, and the `images` of a screenshot task (docs/provider.md
    4.3): how many it takes.
    """

    about: str
    statuses: tuple[tuple[float, TaskStatus], ...]
    files: tuple[FileLife, ...]
    mixed: bool = False
    quit_reason: int | None = None
    images: int = 0

    @property
    def last_change(self) -> float:
        """The point after which nothing changes any more."""
        return max(track[-1][0] for track in (self.statuses, *(file.statuses for file in self.files)))


@dataclass(frozen=True, slots=True)
class Pace:
    """When each stage begins, in seconds after the start. A late upload takes as long as three first ones."""

    begins: tuple[float, ...]
    speed: float = 1.0

    @classmethod
    def of(cls, duration: float, upload: float, speed: float = 1.0) -> "Pace":
        """Share `duration` seconds, start to end, between the first two stages, and divide all by `speed`."""
        initialising = min(LONGEST_INITIALISING, duration / 10)
        stages = (0.0, initialising, duration - initialising, upload, LATE_UPLOADS * upload, 0.0)
        return cls(tuple(accumulate(seconds / speed for seconds in stages)), speed)

    def seconds(self, point: float) -> float:
        """Return how many seconds after the start this point of a life is reached."""
        stage = int(point)
        begin, end = self.begins[stage : stage + 2]
        return begin + (point - stage) * (end - begin)


@dataclass(frozen=True, slots=True)
class FileMoment:
    """One listed file at one moment; `recorded` is the content so far, in seconds."""

    life: FileLife
    status: FileStatus
    recorded: float


def task_status(life: Life, pace: Pace, elapsed: float) -> TaskStatus:
    """Return the task's status `elapsed` seconds after its start."""
    return next(
        (status for point, status in reversed(life.statuses) if pace.seconds(point) <= elapsed),
        life.statuses[0][1],
    )


def files(life: Life, pace: Pace, elapsed: float) -> list[FileMoment]:
    """Return the files listed `elapsed` seconds after the start, in the order in which they were opened."""
    return [
        FileMoment(file, status, _recorded(life, file, pace, elapsed))
        for file in life.files
        if (status := _file_status(file, pace, elapsed)) is not None
    ]


def _file_status(file: FileLife, pace: Pace, elapsed: float) -> FileStatus | None:
    return next((status for point, status in reversed(file.statuses) if pace.seconds(point) <= elapsed), None)


def _recorded(life: Life, file: FileLife, pace: Pace, elapsed: float) -> float:
    opened, until = pace.seconds(file.opens), min(elapsed, pace.seconds(file.closes))
    return sum(
        max(0.0, min(pace.seconds(end), until) - max(pace.seconds(start), opened))
        for (start, status), (end, _) in pairwise(life.statuses)
        if status is TaskStatus.IN_PROGRESS
    )


def _uploaded(*, publisher: int = 1, closes: float = STOPPED) -> FileLife:
    return _kept_as(FileStatus.UPLOADED, publisher=publisher, closes=closes)


def _kept_as(outcome: FileStatus, *, publisher: int = 1, closes: float = STOPPED) -> FileLife:
    steps = ((OPEN, FileStatus.RECORDING), (STOPPED, FileStatus.UPLOADING), (DELIVERED, outcome))
    return FileLife(steps, closes, publisher)


def _republished(part: int, parts: int) -> FileLife:
    steps = (
        (OPEN + part / parts, FileStatus.RECORDING),
        (STOPPED, FileStatus.UPLOADING),
        (STOPPED + (part + 1) / parts, FileStatus.UPLOADED),
    )
    return FileLife(steps, closes=OPEN + (part + 1) / parts)


_BEGINNING = ((STARTED, TaskStatus.INITIALISING), (OPEN, TaskStatus.IN_PROGRESS))
_ENDED = (*_BEGINNING, (STOPPED, TaskStatus.ENDED))
_BROKEN = (*_BEGINNING, (STOPPED, TaskStatus.ENDED_ABNORMALLY))
_PAUSED = (*_BEGINNING, (1.4, TaskStatus.PAUSED), (1.6, TaskStatus.IN_PROGRESS), (STOPPED, TaskStatus.ENDED))
_LATE = FileLife((*_kept_as(FileStatus.IN_BACKUP).statuses, (LATER, FileStatus.UPLOADED)))

LIVES: dict[str, Life] = {
    "normal": Life("recorded, ended, its file uploaded", _ENDED, (_uploaded(),)),
    "paused": Life("paused and resumed (mixed-stream tasks only)", _PAUSED, (_uploaded(),), mixed=True),
    "idle_end": Life(
        "ended as abnormal because nobody published any more; its file is good",
        _BROKEN,
        (_uploaded(closes=1.7),),
        quit_reason=3,
    ),
    "abnormal": Life("the recorder lost its network; the file is good", _BROKEN, (_uploaded(),), quit_reason=6),
    "backup": Life(
        "the upload failed, the file is kept in the backup store", _ENDED, (_kept_as(FileStatus.IN_BACKUP),)
    ),
    "backup_then_late_upload": Life("kept in the backup store, uploaded later after all", _ENDED, (_LATE,)),
    "lost_file": Life("two files, the second one lost", _ENDED, (_uploaded(), _kept_as(FileStatus.LOST, publisher=2))),
    "no_files": Life("nobody published, so no file was made", _ENDED, ()),
    "screenshots": Life("a screenshot task: the query never lists its three images", _ENDED, (), images=3),
    "growing": Life(
        "one stream published four times: four files, uploaded one by one",
        _ENDED,
        tuple(_republished(part, 4) for part in range(4)),
    ),
}
