import base64
import json
import struct
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.provider.simulator import LIVES, Simulator
from tests.provider.simulator.caller import APP, NOW, OTHER_APP, SECRET, Caller, Clock

DAY = 86400


def test_a_running_task_is_described_in_the_provider_s_words(caller: Caller, clock: Clock) -> None:
    task_id = caller.simulator.start(room_id="room-42", duration=60)
    clock.now += 12
    answer = caller.describe(task_id)
    file_id = f"{task_id}_room-42_user_1_stream_1_VA_20260102030407678.mp4"
    assert answer.pop("RequestId")
    assert answer == {
        "Code": 0,
        "Message": "succeed",
        "Data": {
            "RoomId": "room-42",
            "RecordMode": 1,
            "StreamType": 3,
            "RecordBeginTimestamp": 1767323045678,
            "RecordEndTimestamp": 0,
            "Status": 2,
            "RecordFiles": [
                {
                    "UserId": "user_1",
                    "UserName": "User 1",
                    "StreamId": "stream_1",
                    "FileId": file_id,
                    "VideoId": "",
                    "FileUrl": "",
                    "OutputFileFormat": "mp4",
                    "FileSize": 1490000,
                    "Duration": 10000,
                    "ResolutionWidth": 1280,
                    "ResolutionHeight": 720,
                    "MediaTrackType": 3,
                    "BeginTimestamp": 1767323047678,
                    "Status": 1,
                }
            ],
        },
    }


def test_an_ended_task_tells_its_end_and_where_its_file_is(caller: Caller, clock: Clock) -> None:
    task_id = caller.simulator.start(duration=60, upload=10)
    clock.now += 70
    data = caller.describe(task_id)["Data"]
    (file,) = data["RecordFiles"]
    assert (data["Status"], data["RecordEndTimestamp"]) == (3, 1767323105678)
    assert (file["Status"], file["Duration"]) == (3, 58000)
    assert file["FileUrl"] == f"https://bucket.example/record/{file['FileId']}"


@pytest.mark.parametrize("life", ["no_files", "screenshots"])
def test_a_task_without_files_has_no_member_for_them(caller: Caller, clock: Clock, life: str) -> None:
    task_id = caller.simulator.start(life)
    for _ in range(8):
        clock.now += 10
        assert "RecordFiles" not in caller.describe(task_id)["Data"]
    assert caller.describe(task_id)["Data"]["Status"] == 3


def test_files_of_a_mixed_task_are_named_after_the_mixed_stream(caller: Caller, clock: Clock) -> None:
    task_id = caller.simulator.start("paused", room_id="r")
    clock.now += 10
    data = caller.describe(task_id)["Data"]
    assert data["RecordMode"] == 2
    assert data["RecordFiles"][0]["FileId"].startswith(f"{task_id}_r_mix_VA_")


def test_files_of_one_stream_have_ids_of_their_own(caller: Caller, clock: Clock) -> None:
    task_id = caller.simulator.start("growing")
    clock.now += 100
    files = caller.describe(task_id)["Data"]["RecordFiles"]
    assert len({file["FileId"] for file in files}) == 4
    assert {file["StreamId"] for file in files} == {"stream_1"}


def test_task_ids_are_base64url_and_begin_with_the_second_of_their_start(simulator: Simulator) -> None:
    raw = base64.urlsafe_b64decode(simulator.start(began_at=1637753762.084))
    assert len(raw) == 12
    assert struct.unpack(">I", raw[:4]) == (1637753762,)


def test_the_same_seed_gives_the_same_ids_and_another_seed_others(clock: Clock) -> None:
    first, same, other = (Simulator({1: "s"}, seed=seed, time=clock).start() for seed in (7, 7, 8))
    assert first == same != other


def test_a_recording_may_have_begun_in_the_past_and_run_at_another_speed(clock: Clock) -> None:
    simulator = Simulator({APP: SECRET}, speed=60, time=clock, monotonic=clock)
    task_id = simulator.start(duration=3600, upload=600, began_at=NOW - 65)
    data = Caller(simulator, clock).describe(task_id)["Data"]
    assert (data["Status"], data["RecordFiles"][0]["Status"]) == (3, 2)
    assert data["RecordEndTimestamp"] - data["RecordBeginTimestamp"] == 60_000


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON object"),
        (b"\xff", "JSON object"),
        (b"[" * 100_000, "JSON object"),
        ([], "JSON object"),
        ({}, "TaskId"),
        ({"TaskId": 7}, "TaskId"),
        ({"TaskId": "short"}, "TaskId"),
        ({"TaskId": "A" * 17}, "TaskId"),
        ({"TaskId": "A" * 16, "\ud800": 1}, "unknown parameter"),
    ],
)
def test_a_wrong_body_is_refused_and_the_message_says_what_is_wrong(caller: Caller, body: object, said: str) -> None:
    answer = caller.ask(body)
    assert answer["Code"] == 300000004
    assert said in answer["Message"]


def test_another_app_s_task_does_not_exist(caller: Caller) -> None:
    assert caller.describe(caller.simulator.start(app_id=OTHER_APP))["Code"] == 300001000


def test_a_task_is_forgotten_three_days_after_its_start(caller: Caller, clock: Clock) -> None:
    task_id = caller.simulator.start()
    clock.now += 3 * DAY - 1
    assert caller.describe(task_id)["Code"] == 0
    clock.now += 2
    assert caller.describe(task_id)["Code"] == 300001000


@pytest.mark.parametrize(
    "wrong",
    [
        {"life": "eternal"},
        {"app_id": 1},
        {"task_id": "short"},
        {"task_id": "A" * 15 + "/"},
        {"room_id": "\ud800"},
        {"began_at": -1.0},
        {"began_at": float("nan")},
        {"duration": -1.0},
        {"upload": float("inf")},
    ],
)
def test_a_recording_cannot_be_started_with_nonsense(simulator: Simulator, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        simulator.start(**wrong)


def test_a_task_id_belongs_to_one_recording_of_an_app(simulator: Simulator) -> None:
    simulator.start(task_id="aaBBccDDeeFF_-01")
    simulator.start(task_id="aaBBccDDeeFF_-01", app_id=OTHER_APP)
    with pytest.raises(ValueError, match="already"):
        simulator.start(task_id="aaBBccDDeeFF_-01")


def test_the_truth_about_recordings_agrees_with_what_is_answered(caller: Caller, clock: Clock) -> None:
    for name in LIVES:
        caller.simulator.start(name)
    for _ in range(12):
        clock.now += 10
        for truth in caller.simulator.recordings():
            data = caller.describe(truth["task_id"])["Data"]
            files = [{"file_id": file["FileId"], "status": file["Status"]} for file in data.get("RecordFiles", [])]
            assert (truth["status"], truth["files"]) == (data["Status"], files)
            assert truth["ended"] == (data["RecordEndTimestamp"] > 0)


def test_the_truth_tells_why_a_task_ended_and_when_its_last_change_is(simulator: Simulator, clock: Clock) -> None:
    simulator.start("idle_end", duration=60, upload=10)
    (before,) = simulator.recordings()
    clock.now += 60
    (after,) = simulator.recordings()
    assert (before["quit_reason"], after["quit_reason"]) == (None, 3)
    assert before["final_at"] == pytest.approx(NOW + 70)


async def test_it_can_stand_behind_an_in_process_transport(caller: Caller) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        reply = caller.simulator.answer(dict(request.url.params), request.content, request.method)
        return httpx.Response(reply.status, headers=list(reply.headers), content=reply.body)

    task_id = caller.simulator.start()
    async with httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://provider") as client:
        answer = await client.post("/", params=caller.query(), json={"TaskId": task_id})
    assert answer.json()["Code"] == 0
    assert answer.headers["date"] == f"{datetime.fromtimestamp(NOW, UTC):%a, %d %b %Y %H:%M:%S} GMT"
    assert json.loads(answer.content)["Data"]["Status"] == 1
