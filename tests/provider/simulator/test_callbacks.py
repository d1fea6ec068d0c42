import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.provider.simulator import LIVES, Callback, Event, callback_signature, callbacks
from app.provider.simulator.lives import DELIVERED, Pace
from app.provider.simulator.recordings import Recording
from tests.provider.simulator.caller import APP, NOW

TASK = "aaBBccDDeeFF_-01"
LONG_SECRET = "f9c1a2b3c4d5e6f708192a3b4c5d6e7f"
TOLD = {
    "normal": [(60, 7), (60, 5), (70, 1)],
    "paused": [(25.2, 201), (36.8, 202), (60, 7), (60, 5), (70, 1)],
    "idle_end": [(42.6, 4), (60, 2), (60, 7), (70, 1)],
    "abnormal": [(60, 2), (60, 7), (70, 1)],
    "backup": [(60, 7), (60, 5), (70, 1)],
    "backup_then_late_upload": [(60, 7), (60, 5), (70, 1)],
    "lost_file": [(60, 7), (60, 5), (70, 1)],
    "no_files": [(60, 7), (60, 5), (70, 1)],
    "screenshots": [(16.5, 1), (31, 1), (45.5, 1), (60, 7), (60, 5)],
    "growing": [(60, 7), (60, 5), (70, 1)],
}
any_life = pytest.mark.parametrize("life", LIVES)


def recording(life: str, duration: float = 60, upload: float = 10, speed: float = 1) -> Recording:
    return Recording(APP, TASK, "room-42", life, LIVES[life], Pace.of(duration, upload, speed), NOW)


def told(one: Recording) -> list[tuple[float, int]]:
    """Return the seconds after the start and the events of a recording's callbacks."""
    return [(round(callback.moment - NOW, 3), callback.event_type) for callback in callbacks(one)]


def details(one: Recording, event: Event) -> list[Any]:
    return [callback.detail for callback in callbacks(one) if callback.event_type == event]


@pytest.mark.parametrize(
    ("secret", "timestamp", "nonce", "right"),
    [
        ("secret", "1470820198", "123412", "5bd59fd62953a8059fb7eaba95720f66d19e4517"),
        (LONG_SECRET, "1637753949", "100480", "45f63cb9f6c85aea1977820e2dd9300f5df2f5b4"),
        (LONG_SECRET, "1637753949", "987654", "81b772ecfcf61a1e943364e9cfc5d16c8c281ebe"),
        ("0a1b2c3d4e5f60718293a4b5c6d7e8f9", "1637753949", "100480", "c8035f99ed2558fe8691b5968b305928b0ff002d"),
        ("12ab34cd56ef", "1637753949", "100480", "b16eab0685063ff194c4986b0dd780d153d26658"),
        ("zz", "1637753949", "99", "f0c06eeff7b00954e0c2c579e3d3d348e5f5d2e9"),
    ],
)
def test_signatures_match_the_vectors_of_the_provider(secret: str, timestamp: str, nonce: str, right: str) -> None:
    assert callback_signature(secret, timestamp, nonce) == right


def test_a_body_is_the_provider_s_sample() -> None:
    callback = Callback(1234567890, TASK, "room-42", NOW, Event.ENDED_ABNORMALLY, 1, {"quit_reason": 3})
    assert json.loads(callback.body("cb-secret-for-tests-0001", "200001", "1767323250")) == {
        "app_id": 1234567890,
        "task_id": "aaBBccDDeeFF_-01",
        "room_id": "room-42",
        "event_type": 2,
        "message": "",
        "nonce": "200001",
        "timestamp": "1767323250",
        "signature": "e90234a5d2a07f31ac3e6e5296823abd2170deb4",
        "sequence": 1,
        "detail": {"quit_reason": 3},
    }


def test_every_life_has_callbacks_that_are_tested() -> None:
    assert TOLD.keys() == LIVES.keys()


@any_life
def test_a_life_is_told_by_its_callbacks(life: str) -> None:
    assert told(recording(life)) == TOLD[life]


@any_life
@given(duration=st.floats(0, 1e9), upload=st.floats(0, 1e4), speed=st.floats(0.1, 1e4))
def test_callbacks_come_in_order_and_are_counted_from_0(
    life: str, duration: float, upload: float, speed: float
) -> None:
    found = list(callbacks(recording(life, duration, upload, speed)))
    assert [callback.sequence for callback in found] == list(range(len(found)))
    assert all(earlier.moment <= later.moment for earlier, later in pairwise(found))
    assert len(found) <= 2880 + 3


@any_life
def test_the_last_event_1_repeats_what_a_query_lists_in_snake_case(life: str) -> None:
    one = recording(life)
    listed, finished = one.files_at(DELIVERED), details(one, Event.UPLOAD_FINISHED)[-1]["file_info"]
    if not one.life.images:
        assert [list(file.values()) for file in finished] == [list(file.values()) for file in listed]
    assert {file["status"] for file in finished} <= {3, 4, 5}


def test_an_uploaded_file_is_told_with_all_its_members() -> None:
    file_id = f"{TASK}_room-42_user_1_stream_1_VA_20260102030407678.mp4"
    assert details(recording("normal"), Event.UPLOAD_FINISHED) == [
        {
            "upload_status": 1,
            "file_info": [
                {
                    "user_id": "user_1",
                    "user_name": "User 1",
                    "stream_id": "stream_1",
                    "file_id": file_id,
                    "video_id": "",
                    "file_url": f"https://bucket.example/record/{file_id}",
                    "output_file_format": "mp4",
                    "file_size": 8642000,
                    "duration": 58000,
                    "resolution_width": 1280,
                    "resolution_height": 720,
                    "media_track_type": 3,
                    "begin_timestamp": 1767323047678,
                    "status": 3,
                }
            ],
        }
    ]


@pytest.mark.parametrize(
    ("life", "upload_status", "statuses"),
    [
        ("backup", 2, [4]),
        ("backup_then_late_upload", 2, [4]),
        ("lost_file", 2, [3, 5]),
        ("growing", 1, [3, 3, 3, 3]),
        ("no_files", 1, []),
    ],
)
def test_the_upload_is_told_once_and_as_whole_only_if_every_file_arrived(
    life: str, upload_status: int, statuses: list[int]
) -> None:
    (detail,) = details(recording(life), Event.UPLOAD_FINISHED)
    assert (detail["upload_status"], [file["status"] for file in detail["file_info"]]) == (upload_status, statuses)


def test_a_screenshot_task_tells_of_each_image_when_it_is_taken() -> None:
    images = [detail["file_info"] for detail in details(recording("screenshots"), Event.UPLOAD_FINISHED)]
    assert [[file["file_id"] for file in files] for files in images] == [
        [f"{TASK}_room-42_user_1_stream_1_20260102030422178.jpg"],
        [f"{TASK}_room-42_user_1_stream_1_20260102030436678.jpg"],
        [f"{TASK}_room-42_user_1_stream_1_20260102030451178.jpg"],
    ]
    assert {(file["output_file_format"], file["status"]) for files in images for file in files} == {("jpg", 3)}


@pytest.mark.parametrize(("life", "reason"), [("idle_end", 3), ("abnormal", 6)])
def test_only_a_callback_tells_why_a_task_ended_abnormally(life: str, reason: int) -> None:
    assert details(recording(life), Event.ENDED_ABNORMALLY) == [{"quit_reason": reason}]


def test_an_empty_room_is_told_every_30_seconds_until_the_end_at_the_recording_s_speed() -> None:
    slow = [at for at, event in told(recording("idle_end", duration=602)) if event == Event.ROOM_EMPTY]
    fast = [at for at, event in told(recording("idle_end", duration=602, speed=10)) if event == Event.ROOM_EMPTY]
    assert slow == [422, 452, 482, 512, 542, 572]
    assert fast == [at / 10 for at in slow]
