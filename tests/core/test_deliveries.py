"""The bodies of webhooks are under 20 KiB, whatever an event holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.deliveries import BODY_LIMIT, body


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
