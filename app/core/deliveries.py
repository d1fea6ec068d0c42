"""What is sent to whom, when it is tried again, and what its body says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, get_args

Json = dict[str, Any]

EventType = Literal[
    "task.settled", "task.reopened", "task.expired", "task.expiring", "task.ended", "task.untracked", "task.deleted",
    "task.registered", "task.updated", "file.updated", "file.backup_expiring", "file.backup_expired",
    "subscription.disabled", "delivery.failed",
]  # fmt: skip
"""What the feed tells of."""

EVENT_TYPES = get_args(EventType)
"""What can be subscribed to; `callback.received` stands in a task's own history only."""

TASK_EVENTS = tuple(one for one in EVENT_TYPES if one.startswith("task."))
OTHER_EVENTS = tuple(one for one in EVENT_TYPES if not one.startswith(("task.", "file.")))
DEFAULT_TYPES = (*(one for one in TASK_EVENTS if one != "task.registered"), "file.backup_expiring")

SCHEDULE = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
"""How long after each failed attempt the next is made; after the last, none."""

JITTER = 0.2
LONGEST_RETRY_AFTER = timedelta(hours=12)
LONGEST_WAIT = max(LONGEST_RETRY_AFTER, max(SCHEDULE) * (1 + JITTER))
"""Between two attempts, whatever the subscriber asks for."""

FAILING_FOR = timedelta(days=5)
"""A subscription that has had no success for so long is disabled at its next failure."""

LEASE = timedelta(seconds=60)
"""How long a claimed delivery is left to its process: longer than an attempt and its recording take."""

BODY_LIMIT = 20 * 1024
EXCERPT = 2048

GONE, FAILING, CALLER = "gone", "failing", "caller"
DisabledReason = Literal["caller", "gone", "failing"]


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a subscription wants to be told."""

    types: frozenset[str]
    app_id: int | None = None
    labels: Mapping[str, str]

    def matches(self, type_: str, app_id: int | None, labels: Mapping[str, str]) -> bool:
        """Whether an event of this type, about a task of this app with these labels, is to be sent."""
        return (
            type_ in self.types
            and (self.app_id is None or app_id == self.app_id)
            and self.labels.items() <= labels.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who is told what, where. ``secrets``: newest first, each sealed, with the time until which it still signs."""

    subscription_id: str
    name: str
    url: str = field(repr=False)
    types: tuple[str, ...]
    app_id: int | None
    labels: Mapping[str, str]
    max_in_flight: int
    description: str | None
    secrets: tuple[tuple[str, datetime | None], ...] = field(repr=False)
    created_at: datetime
    updated_at: datetime
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None

    @property
    def wanted(self) -> Wanted:
        return Wanted(types=frozenset(self.types), app_id=self.app_id, labels=self.labels)

    def signing(self, now: datetime) -> list[str]:
        """The sealed secrets that sign now."""
        return [sealed for sealed, until in self.secrets if until is None or now < until]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, and what came of it. ``error`` says what kept an answer away."""

    at: datetime
    status_code: int | None
    duration_ms: int
    error: str | None
    response_excerpt: str | None
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery after an attempt; ``next_attempt_at`` stands while it is pending."""

    status: DeliveryStatus
    next_attempt_at: datetime | None = None


def judge(attempt: Attempt, *, tries: int, now: datetime, jitter: float) -> Verdict:
    """After the attempt that was number ``tries`` (from 1) of the schedule."""
    if attempt.succeeded:
        return Verdict(DeliveryStatus.DELIVERED)
    if tries > len(SCHEDULE):
        return Verdict(DeliveryStatus.FAILED)
    wait = SCHEDULE[tries - 1] * (1 - JITTER + 2 * JITTER * jitter)
    if attempt.status_code in (429, 503) and attempt.retry_after is not None:
        asked = min(attempt.retry_after, LONGEST_RETRY_AFTER.total_seconds())
        wait = max(wait, timedelta(seconds=asked))
    return Verdict(DeliveryStatus.PENDING, now + wait)


def disabling(attempt: Attempt, *, failing_since: datetime | None, now: datetime) -> DisabledReason | None:
    """Why a subscription is to be disabled after an attempt; None: it is not."""
    if attempt.status_code == 410:
        return "gone"
    if not attempt.succeeded and failing_since is not None and now - failing_since >= FAILING_FOR:
        return "failing"
    return None


# -- bodies


def body(event: Json, *, public_url: str | None) -> bytes:
    """The body of an event's delivery, under 20 KiB: what does not fit is left out, and a link put in its place."""
    data = event["data"]
    text = _body(event, data)
    if len(text) >= BODY_LIMIT and "files" in data:
        kept = _fitting(data["files"], BODY_LIMIT - len(_body(event, _with_files(event, [], public_url))))
        data = _with_files(event, kept, public_url)
        text = _body(event, data)
    if len(text) >= BODY_LIMIT:
        text = _body(event, _cut(event, public_url))
    return text


def task_url(task_id: str, public_url: str | None) -> str:
    return f"{public_url or ''}/v1/tasks/{task_id}"


def settled_files(files: list[Json], used: int) -> list[Json]:
    """As many of the files as fit into an event that has ``used`` bytes without them."""
    return _fitting(files, BODY_LIMIT - RESERVED - used)


RESERVED = 1024
"""Bytes left for what stands around an event's data in a body."""


def size(value: Any) -> int:
    """Bytes of it as JSON."""
    return len(_dump(value))


def _body(event: Json, data: Json) -> bytes:
    return _dump({"type": event["type"], "timestamp": event["occurred_at"], "data": {**event, "data": data}})


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _fitting(files: list[Json], room: int) -> list[Json]:
    kept: list[Json] = []
    for file in files:
        room -= size(file) + 1
        if room <= 0:
            break
        kept.append(file)
    return kept


def _with_files(event: Json, files: list[Json], public_url: str | None) -> Json:
    link = task_url(event["task_id"], public_url) + "/files"
    return {**event["data"], "files": files, "files_truncated": True, "files_url": link}


CORE_FIELDS = ("task_id", "app_id", "status", "status_code", "tracking", "outcome", "outcome_basis", "version")


def _cut(event: Json, public_url: str | None) -> Json:
    """The least that is worth telling."""
    task = event["data"].get("task") or {}
    file = event["data"].get("file") or {}
    told: Json = {"task": {name: task[name] for name in CORE_FIELDS if name in task}, "truncated": True}
    if file:
        told["file"] = {name: file[name] for name in ("task_id", "file_id", "status") if name in file}
    if event["task_id"]:
        told["task_url"] = task_url(event["task_id"], public_url)
    return told
