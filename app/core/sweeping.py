"""What the provider's list of running tasks tells beside what we know. Pure.

The list only hurries polls. It is compared with what it showed the last time: so one that contradicts the query for
good, leaves tasks out, or shows another selection than we take it to show costs one poll a task, not one a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

MARGIN = timedelta(minutes=1)
"""The list refuses a span that begins more than 3 days ago, by the provider's clock."""

SLICE = 40
"""Tasks in a slice as far as known; a page has 50, and what fits a page cannot shift between pages."""

NARROWEST = timedelta(seconds=1)
"""A slice is not cut finer: more tasks than a page holds are then read page by page."""

LEFT = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A followed task that was seen and has not ended. ``listed``: as in app.core.recording.Polling."""

    status_code: int
    listed: int | None
    claim_no: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A task as the list shows it."""

    task_id: str
    status_code: int | None
    began_at: datetime | None = None
    room_id: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the window, by the start of tasks; both ends belong to it."""

    start: datetime
    end: datetime

    def halves(self) -> tuple[Span, Span] | None:
        """Both halves, or None if it is too narrow."""
        middle = self.start + (self.end - self.start) / 2
        middle = middle.replace(microsecond=middle.microsecond // 1000 * 1000)
        return (Span(self.start, middle), Span(middle, self.end)) if self.end - self.start > NARROWEST else None


def slices(starts: Sequence[datetime], *, window: Span) -> list[Span]:
    """The window in parts of about a page each, as far as the tasks' starts are known from the last sweep."""
    cuts = [window.start]
    for start in sorted(starts)[SLICE::SLICE]:
        if start - cuts[-1] > NARROWEST and window.end - start > NARROWEST:
            cuts.append(start)
    return [Span(start, end) for start, end in pairwise([*cuts, window.end])]


@dataclass(frozen=True, slots=True)
class Findings:
    """``marks``: what the list shows anew; ``hurry``: tasks to poll now; ``unknown``: tasks we do not follow."""

    marks: dict[str, int]
    hurry: list[str]
    unknown: list[Listed]


def compare(known: Mapping[str, Known], listed: Mapping[str, Listed]) -> Findings:
    """What a whole list of running tasks means for the tasks known before it was asked for."""
    marks: dict[str, int] = {}
    hurry = []
    for task_id, task in known.items():
        shown = listed.get(task_id)
        if shown is None:
            if task.listed:  # it stood there before: it left
                marks[task_id] = LEFT
                hurry.append(task_id)
        elif shown.status_code is not None and shown.status_code != task.listed:
            marks[task_id] = shown.status_code
            if shown.status_code != task.status_code:
                hurry.append(task_id)
    return Findings(marks, hurry, [one for task_id, one in listed.items() if task_id not in known])
