"""The bodies of webhooks are under 20 KiB, whatever an event holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.deliveries import BODY_LIMIT, RESERVED, body, settled_files, size


def event(**data: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "seq": 1,
        "type": "task.updated",
        "occurred_at": "2026-01-31T12:00:00.000Z",
        "app_id": 1,
        "task_id": "0" * 16,
        "task_version": 2,
        "source": "poll",
        "data": data,
    }


def test_a_small_event_is_carried_whole() -> None:
    whole = event(task={"a": "ü"}, previous={})
    said = json.loads(body(whole, public_url=None))
    assert said == {"type": "task.updated", "timestamp": whole["occurred_at"], "data": whole}


@pytest.mark.parametrize("letter", ["a", "é", '"', "\x01", "🎥"])
def test_files_that_do_not_fit_give_way_to_a_link(letter: str) -> None:
    files = [{"file_id": letter * 100, "n": n} for n in range(500)]
    text = body(event(task={}, files=files), public_url="https://us.example")
    data = json.loads(text)["data"]["data"]
    assert len(text) < BODY_LIMIT
    assert data["files_url"] == "https://us.example/v1/tasks/0000000000000000/files"
    assert data["files"] == files[: len(data["files"])]
    assert data["files"]


@pytest.mark.parametrize("where", ["task", "previous", "file"])
def test_what_is_too_large_elsewhere_gives_way_to_a_link(where: str) -> None:
    large = {"status": "completed", "file_id": "f", "live_playlists": ["x" * 30_000]}
    text = body(event(**{"task": {"status": "ongoing"}, where: large}), public_url="https://us.example")
    data = json.loads(text)["data"]["data"]
    assert len(text) < BODY_LIMIT
    assert data["truncated"] is True
    assert data["task_url"] == "https://us.example/v1/tasks/0000000000000000"
    assert data["task"]["status"] == ("completed" if where == "task" else "ongoing")


CORE = {
    "task_id": "t",
    "app_id": 7,
    "status": "completed",
    "status_code": 3,
    "tracking": "settled",
    "outcome": "uploaded",
    "outcome_basis": "poll",
    "version": 4,
}


def cut(data: dict[str, Any], **more: Any) -> Any:
    """What is said of an event too large by itself."""
    text = body(event(filling="x" * BODY_LIMIT, **data) | more, public_url="https://us.example")
    return json.loads(text)["data"]["data"]


def test_the_least_that_is_said_of_an_event_is_the_core_of_its_task_and_which_file() -> None:
    file = {"task_id": "t", "file_id": "f", "status": "lost"}
    link = "https://us.example/v1/tasks/0000000000000000"
    assert cut({"task": CORE | {"labels": {}}, "file": file | {"user_id": "u"}}) == {
        "task": CORE,
        "file": file,
        "truncated": True,
        "task_url": link,
    }
    assert cut({"task": {"version": 1}, "file": {"file_id": "f"}}) == {
        "task": {"version": 1},
        "file": {"file_id": "f"},
        "truncated": True,
        "task_url": link,
    }


@pytest.mark.parametrize("task", [{}, {"task": None}])
def test_an_event_of_no_task_has_no_link_to_one(task: dict[str, Any]) -> None:
    assert cut(task, task_id=None) == {"task": {}, "truncated": True}


def test_a_body_is_cut_only_when_it_reaches_the_limit() -> None:
    """And the bytes count, not the letters."""
    room = BODY_LIMIT - len(body(event(filling=""), public_url=None))
    for letter in ("x", "é"):
        longest = letter * ((room - 1) // len(letter.encode()))
        assert json.loads(body(event(filling=longest), public_url=None))["data"]["data"] == {"filling": longest}
        assert "truncated" in json.loads(body(event(filling=longest + letter), public_url=None))["data"]["data"]


def test_files_give_way_when_the_limit_is_reached() -> None:
    room = BODY_LIMIT - len(body(event(files=[""]), public_url=None))
    longest, too_long = "x" * (room - 1), "x" * room
    assert json.loads(body(event(files=[longest]), public_url=None))["data"]["data"] == {"files": [longest]}
    data = json.loads(body(event(files=[too_long]), public_url=None))["data"]["data"]
    assert data == {"files": [], "files_truncated": True, "files_url": "/v1/tasks/0000000000000000/files"}


def test_as_many_files_are_carried_as_fit() -> None:
    files = [{"file_id": f"{n:04}", "filling": "x" * 87} for n in range(500)]
    text = body(event(files=files, task={}), public_url="https://us.example")
    assert json.loads(text)["data"]["data"]["files_truncated"] is True
    assert BODY_LIMIT - len(text) <= len(json.dumps(files[0], separators=(",", ":"))) + 1


def test_size_counts_the_bytes_of_compact_json() -> None:
    assert size({"a": ["ü", 1, None]}) == len('{"a":["ü",1,null]}'.encode())


def test_files_of_a_settled_task_leave_room_for_what_stands_around_them() -> None:
    file = {"f": "x" * 91}  # 100 bytes with the comma
    room = BODY_LIMIT - RESERVED - 50
    assert len(settled_files([file] * 500, used=50)) == (room - 1) // 100
    assert settled_files([file], used=BODY_LIMIT) == []
    assert settled_files([file] * 3, used=BODY_LIMIT - RESERVED - 201) == [file] * 2
    assert settled_files([file] * 3, used=BODY_LIMIT - RESERVED - 200) == [file]
