"""Whatever order and however often observations arrive, the task comes out the same."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.merging import apply
from app.core.public import Json, changes, events, task_with_files_json, versioned
from app.core.recording import FileStatus, Observation, SeenFile, Status, Task

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NEW_TASK = Task(task_id="0" * 16, app_id=1, registered_at=NOW, updated_at=NOW)

MOMENTS = 9
ENDS = [
    (FileStatus.UPLOADED,),
    (FileStatus.UPLOADED_TO_BACKUP,),
    (FileStatus.LOST,),
    (FileStatus.UPLOADED_TO_BACKUP, FileStatus.UPLOADED),
    (FileStatus.UPLOADED_TO_BACKUP, FileStatus.LOST),
]
"""What becomes of a file; a copy in the backup store may be delivered late, or lost."""

TELLS_WHEN_WE_HEARD = {"polling", "version", "updated_at", "settled_at"}
"""What depends on when and how often answers were recorded, and may."""


def a_file(name: str, status: FileStatus, moment: int) -> SeenFile:
    """Its size grows with every moment, so that each answer describes it differently."""
    return SeenFile(file_id=name, status=status, file_size=1000 * moment or None, began_at=NOW)


@st.composite
def statuses(draw: st.DrawFn) -> list[Status]:
    """A task's status at each moment: initialized, ongoing and paused in turns, and perhaps ended one way."""
    initialized, lasts = draw(st.integers(0, 2)), draw(st.integers(0, MOMENTS))
    running = draw(st.lists(st.sampled_from([Status.ONGOING, Status.PAUSED]), min_size=MOMENTS, max_size=MOMENTS))
    end = draw(st.sampled_from([Status.COMPLETED, Status.ENDED_ABNORMALLY]))
    life = [Status.INITIALIZED] * initialized + running[:lasts] + [end] * MOMENTS
    return life[:MOMENTS]


@st.composite
def file_lives(draw: st.DrawFn) -> list[FileStatus | None]:
    """A file's status at each moment; None before it is listed."""
    steps = [None, FileStatus.RECORDING, FileStatus.UPLOADING, *draw(st.sampled_from(ENDS))]
    lasts = [draw(st.integers(0, 4)) for _ in steps]
    life = [step for step, times in zip(steps, lasts, strict=True) for _ in range(times)]
    return (life + [life[-1] if life else None] * MOMENTS)[:MOMENTS]


@st.composite
def recordings(draw: st.DrawFn) -> list[Observation]:
    """What true answers tell of a recording's life, one for each moment, in the order they were asked for."""
    told, lives = draw(statuses()), draw(st.lists(file_lives(), max_size=4))
    gaps = draw(st.lists(st.integers(0, 200), min_size=MOMENTS, max_size=MOMENTS))
    return [
        Observation(
            claim_no=moment + 1,
            asked_at=NOW + timedelta(seconds=sum(gaps[: moment + 1])),
            status=status,
            status_code=list(Status).index(status),
            room_id="room" if moment else None,
            record_mode_code=1,
            began_at=NOW if moment else None,
            ended_at=NOW + timedelta(seconds=sum(gaps[: told.index(status)])) if status.ended else None,
            files=tuple(
                a_file(f"f{number}", state, moment)
                for number, life in enumerate(lives)
                if (state := life[moment]) is not None
            ),
        )
        for moment, status in enumerate(told)
    ]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Observation], list[Observation]]:
    """A recording's answers as they were asked for, and as they arrive: in any order, some repeatedly."""
    asked = draw(recordings())
    repeated = draw(st.lists(st.sampled_from(asked), max_size=6))
    return asked, draw(st.permutations(asked + repeated))


def steps(observations: Sequence[Observation]) -> Iterable[tuple[Task, Task]]:
    """The task before and after each observation."""
    task = NEW_TASK
    for second, observation in enumerate(observations):
        now = NOW + timedelta(hours=1, seconds=second)
        before, task = task, versioned(task, apply(task, observation, now=now), now=now)
        yield before, task


def last(observations: Sequence[Observation]) -> Task:
    return [after for _, after in steps(observations)][-1]


def shown(task: Task) -> Json:
    """What readers see of a task, but for what tells when we heard of it."""
    seen = {name: value for name, value in task_with_files_json(task).items() if name not in TELLS_WHEN_WE_HEARD}
    files = [{name: file[name] for name in file if name != "updated_at"} for file in seen["files"]]
    return seen | {"files": files, "claim_no": task.claim_no}


@settings(max_examples=200, deadline=None)
@given(deliveries())
def test_the_order_and_the_repetition_of_observations_make_no_difference(
    delivered: tuple[list[Observation], list[Observation]],
) -> None:
    asked, arrived = delivered
    assert shown(last(arrived)) == shown(last(asked))


@settings(max_examples=100, deadline=None)
@given(deliveries())
def test_an_observation_changes_nothing_the_second_time(
    delivered: tuple[list[Observation], list[Observation]],
) -> None:
    _, arrived = delivered
    later = NOW + timedelta(days=1)
    for (_, task), observation in zip(steps(arrived), arrived, strict=True):
        again = apply(task, observation, now=later)
        assert again == task
        assert changes(task, again) == ({}, [])
        assert events(task, again) == []


@settings(max_examples=100, deadline=None)
@given(deliveries())
def test_no_file_is_ever_lost_sight_of_and_no_rank_ever_falls(
    delivered: tuple[list[Observation], list[Observation]],
) -> None:
    asked, arrived = delivered
    for before, after in steps(arrived):
        assert before.files.keys() <= after.files.keys()
        assert all(after.files[name].seen.status.rank >= old.seen.status.rank for name, old in before.files.items())
    listed = {file.file_id for observation in asked for file in observation.files}
    assert last(arrived).files.keys() == listed


@settings(max_examples=100, deadline=None)
@given(deliveries())
def test_every_change_raises_at_most_one_event_of_the_task_and_one_of_each_file(
    delivered: tuple[list[Observation], list[Observation]],
) -> None:
    _, arrived = delivered
    for before, after in steps(arrived):
        told = [event.type for event in events(before, after)]
        assert sum(kind.startswith("task.") for kind in told) <= 1
        assert told.count("file.updated") <= len(after.files)
        assert bool(told) is (after.version > before.version)
