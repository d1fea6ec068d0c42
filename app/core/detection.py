"""How soon we knew that a recording was over, and what told us to ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.core.hearing import CHATTER
from app.core.recording import Task, Tracking


class FoundBy(StrEnum):
    """What had the poll made that found the end."""

    CALLBACK = "callback"
    SWEEP = "sweep"
    ROUTINE = "routine"
    REGISTRATION = "registration"
    """It was the task's first."""


def found_by(before: Task) -> FoundBy:
    """What had this task polled; ``before``: the task as it was then."""
    last_polled_at, heard = before.polling.last_polled_at, before.told.last
    if last_polled_at is None:
        return FoundBy.REGISTRATION
    if heard is not None and heard.event not in CHATTER and heard.received_at >= last_polled_at:
        return FoundBy.CALLBACK
    if before.polling.listed is not None and before.polling.listed != before.status_code:
        return FoundBy.SWEEP
    return FoundBy.ROUTINE


def detection_delay(before: Task, after: Task, *, now: datetime) -> float | None:
    """Seconds for which a recording was over without our knowing it; None if this is not the change that tells it."""
    return _since_end(after, now=now) if after.status.ended and not before.status.ended else None


def settling_delay(before: Task, after: Task, *, now: datetime) -> float | None:
    """Seconds from a recording's end to its settling; None if it does not settle by this change."""
    settles = before.tracking is Tracking.ACTIVE and after.tracking is Tracking.SETTLED
    return _since_end(after, now=now) if settles else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a recording's end came to be known.

    ``knowable_at``: its end, or its registration if that was later; ``asked_at``: when the poll that first told of it
    was made. ``end_called``, ``upload_called``: whether callbacks told of the end, and of its files.
    """

    knowable_at: datetime
    asked_at: datetime
    has_files: bool
    end_called: bool
    upload_called: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """How ``ended`` recordings came to be known: the delays that half and 95 in a hundred stayed within, in seconds;
    and the changes of which polls told and no callback."""

    ended: int
    median: float | None
    p95: float | None
    ends_uncalled: int
    uploads_uncalled: int


def noticed(endings: Sequence[Ending]) -> Noticed:
    """All of them together."""
    delays = sorted(max(0.0, (one.asked_at - one.knowable_at).total_seconds()) for one in endings)

    def within(share: float) -> float | None:
        return delays[math.ceil(share * len(delays)) - 1] if delays else None

    return Noticed(
        ended=len(endings),
        median=within(0.5),
        p95=within(0.95),
        ends_uncalled=sum(not one.end_called for one in endings),
        uploads_uncalled=sum(one.has_files and not one.upload_called for one in endings),
    )


def _since_end(task: Task, *, now: datetime) -> float | None:
    """We can know of an end from the task's registration on."""
    if task.ended_at is None:
        return None
    return max(0.0, (now - max(task.ended_at, task.registered_at)).total_seconds())
