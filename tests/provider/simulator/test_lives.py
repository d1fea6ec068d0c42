import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.provider.simulator.lives import LIVES, FileStatus, Life, Pace, TaskStatus, files, task_status

PACE = Pace.of(duration=60, upload=10)
LONG_AFTER = 1_000.0
T, F = TaskStatus, FileStatus

ENDS: dict[str, tuple[TaskStatus, list[FileStatus]]] = {
    "normal": (T.ENDED, [F.UPLOADED]),
    "paused": (T.ENDED, [F.UPLOADED]),
    "idle_end": (T.ENDED_ABNORMALLY, [F.UPLOADED]),
    "abnormal": (T.ENDED_ABNORMALLY, [F.UPLOADED]),
    "backup": (T.ENDED, [F.IN_BACKUP]),
    "backup_then_late_upload": (T.ENDED, [F.UPLOADED]),
    "lost_file": (T.ENDED, [F.UPLOADED, F.LOST]),
    "no_files": (T.ENDED, []),
    "screenshots": (T.ENDED, []),
    "growing": (T.ENDED, [F.UPLOADED] * 4),
}
TASK_STEPS = {
    T.INITIALISING: {T.IN_PROGRESS},
    T.IN_PROGRESS: {T.PAUSED, T.ENDED, T.ENDED_ABNORMALLY},
    T.PAUSED: {T.IN_PROGRESS},
}
FILE_STEPS = {
    F.RECORDING: {F.UPLOADING},
    F.UPLOADING: {F.UPLOADED, F.IN_BACKUP, F.LOST},
    F.IN_BACKUP: {F.UPLOADED},
}
any_life = pytest.mark.parametrize("life", LIVES.values(), ids=LIVES.keys())


def test_every_life_has_an_end_that_is_tested() -> None:
    assert ENDS.keys() == LIVES.keys()


@pytest.mark.parametrize("name", LIVES)
def test_a_life_ends_as_it_should(name: str) -> None:
    listed = [file.status for file in files(LIVES[name], PACE, LONG_AFTER)]
    assert (task_status(LIVES[name], PACE, LONG_AFTER), listed) == ENDS[name]


@any_life
def test_statuses_only_take_the_steps_the_provider_takes(life: Life) -> None:
    for (before, status), (after, following) in zip(life.statuses, life.statuses[1:], strict=False):
        assert before < after
        assert following in TASK_STEPS[status]
    for file in life.files:
        for (start, was), (end, becomes) in zip(file.statuses, file.statuses[1:], strict=False):
            assert start < end
            assert becomes in FILE_STEPS[was]


@any_life
@given(earlier=st.floats(0, 200), later=st.floats(0, 200))
def test_files_never_vanish_and_their_content_never_shrinks(life: Life, earlier: float, later: float) -> None:
    before, after = (files(life, PACE, at) for at in sorted((earlier, later)))
    assert [file.life for file in before] == [file.life for file in after[: len(before)]]
    assert all(old.recorded <= new.recorded for old, new in zip(before, after, strict=False))
    assert all(old.status <= new.status or old.status is F.IN_BACKUP for old, new in zip(before, after, strict=False))


def test_no_file_uploads_before_its_task_has_ended() -> None:
    for life in LIVES.values():
        just_before = files(life, PACE, 59.99)
        assert {file.status for file in just_before} <= {F.RECORDING}


def test_a_normal_recording_goes_through_its_stages_in_the_seconds_it_was_given() -> None:
    life = LIVES["normal"]
    seen = {at: [task_status(life, PACE, at), *(f.status for f in files(life, PACE, at))] for at in (0, 3, 61, 71)}
    assert seen == {
        0: [T.INITIALISING],
        3: [T.IN_PROGRESS, F.RECORDING],
        61: [T.ENDED, F.UPLOADING],
        71: [T.ENDED, F.UPLOADED],
    }


def test_a_paused_task_pauses_resumes_and_records_nothing_meanwhile() -> None:
    life, recording = LIVES["paused"], 58.0
    seen = [task_status(life, PACE, 2 + part * recording) for part in (0.3, 0.5, 0.7)]
    assert seen == [T.IN_PROGRESS, T.PAUSED, T.IN_PROGRESS]
    assert files(life, PACE, LONG_AFTER)[0].recorded == pytest.approx(0.8 * recording)


def test_a_growing_task_lists_more_files_as_it_goes() -> None:
    counts = [len(files(LIVES["growing"], PACE, at)) for at in (1, 10, 20, 35, 50)]
    assert counts == [0, 1, 2, 3, 4]


def test_a_late_upload_leaves_the_backup_store_after_three_more_uploads_worth_of_time() -> None:
    statuses = [files(LIVES["backup_then_late_upload"], PACE, at)[0].status for at in (71, 99, 101)]
    assert statuses == [F.IN_BACKUP, F.IN_BACKUP, F.UPLOADED]


@given(duration=st.floats(0, 1e6), upload=st.floats(0, 1e4), speed=st.floats(0.1, 1e4))
def test_speed_divides_every_length(duration: float, upload: float, speed: float) -> None:
    plain, fast = Pace.of(duration, upload), Pace.of(duration, upload, speed)
    for point in (0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 4.0):
        assert fast.seconds(point) * speed == pytest.approx(plain.seconds(point))
    assert plain.seconds(2.0) == pytest.approx(duration)
    assert plain.seconds(3.0) == pytest.approx(duration + upload)
