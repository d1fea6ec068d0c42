"""Reads the JSON bodies of the two actions (docs/provider.md 2, §3); what is wrong is refused by 300000004."""

import json
from dataclasses import dataclass

from app.provider.simulator.answers import INVALID_PARAMETER, RefusalError

LARGEST_PAGE = 50
RUNNING, OVER = 2, 3
_LISTING_KEYS = frozenset({"Status", "RoomId", "StartTime", "EndTime", "PageOffset", "PageSize"})


@dataclass(frozen=True, slots=True)
class Listing:
    """What DescribeTasks was asked for: times are Unix ms of a task's start, `page` counts from 1."""

    over: bool
    room_id: str | None
    start_ms: int
    end_ms: int
    page: int
    page_size: int


def described_task(body: bytes) -> str:
    """Return the TaskId DescribeRecordStatus asks for: the body's only member, a string of 16 characters."""
    members = _object(body)
    task_id = members.get("TaskId")
    _require(isinstance(task_id, str) and len(task_id) == 16, "TaskId must be a string of 16 characters")
    _require(len(members) == 1, f"unknown parameter {_others(members, frozenset({'TaskId'}))}")
    return str(task_id)


def listing(body: bytes, *, now: float, window: float) -> Listing:
    """Return what DescribeTasks asks for. `now` is Unix seconds; it may look back `window` seconds."""
    members = _object(body)
    _require(members.keys() <= _LISTING_KEYS, f"unknown parameter {_others(members, _LISTING_KEYS)}")
    status = _integer(members, "Status")
    start, end = _integer(members, "StartTime"), _integer(members, "EndTime")
    page, page_size = _integer(members, "PageOffset", 1), _integer(members, "PageSize", LARGEST_PAGE)
    room_id = members.get("RoomId")
    _require(status in (RUNNING, OVER), "Status must be 2 or 3")
    _require(start >= (now - window) * 1000, "StartTime is too far back")
    _require(end > start, "EndTime must be later than StartTime")
    _require(end - start <= window * 1000, "StartTime and EndTime are too far apart")
    _require(page >= 0, "PageOffset must be a page number from 1")
    _require(1 <= page_size <= LARGEST_PAGE, f"PageSize must be 1 to {LARGEST_PAGE}")
    _require(room_id is None or isinstance(room_id, str), "RoomId must be a string")
    return Listing(status == OVER, str(room_id) if room_id else None, start, end, page or 1, page_size)


def _object(body: bytes) -> dict[str, object]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise RefusalError(INVALID_PARAMETER, "the body must be a JSON object")
    return members


def _integer(members: dict[str, object], name: str, default: int | None = None) -> int:
    value = members.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RefusalError(INVALID_PARAMETER, f"{name} must be an integer")
    return value


def _others(members: dict[str, object], known: frozenset[str]) -> str:
    return ", ".join(repr(name) for name in sorted(members.keys() - known))


def _require(fine: bool, message: str) -> None:
    if not fine:
        raise RefusalError(INVALID_PARAMETER, message)
