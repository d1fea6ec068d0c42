"""Simpler ways to poll, in the same world as the service: each a queue and a rule, simulated call by call."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.recordings import REGISTERED, Found, Recording

ROUND_ROBIN = 0.0
"""Always due: then whoever was asked about the longest ago is next."""


def poll_every(
    interval: float, recordings: Sequence[Recording], *, rate: float, rtt: float, loss: float, until: float
) -> Found:
    """Ask about each task every ``interval`` seconds, the longest overdue first, at ``rate`` calls a second.

    A callback makes its task next. Round robin is an interval of 0.
    """
    found, queue, agenda = Found.nothing(len(recordings)), _Queue(), _agenda(recordings, loss)
    for at in (number / rate for number in range(int(until * rate))):
        while agenda and agenda[0][0] <= at:
            moment, task, is_callback = heapq.heappop(agenda)
            if not is_callback or found.settled[task] == math.inf:
                queue.put(task, -math.inf if is_callback else moment)
        if (asked := queue.take(at)) is not None:
            found.calls += 1
            visible = at + rtt / 2
            if at >= recordings[asked].ended_at:
                found.ended[asked] = min(found.ended[asked], visible)
            if at >= recordings[asked].settled_at:
                found.settled[asked] = visible
            else:
                queue.put(asked, at + interval)
    return found


def _agenda(recordings: Sequence[Recording], loss: float) -> list[tuple[float, int, bool]]:
    """What happens to the queue and when: registrations, and the callbacks that are not lost (True)."""
    agenda = [(max(0.0, one.began_at + REGISTERED), task, False) for task, one in enumerate(recordings)]
    for task, one in enumerate(recordings):
        agenda += [(at, task, True) for at in one.callbacks(loss) if at is not None and at > 0]
    heapq.heapify(agenda)
    return agenda


@dataclass(slots=True)
class _Queue:
    """Tasks by when they are due; putting one again moves it."""

    _due: dict[int, float] = field(default_factory=dict)
    _heap: list[tuple[float, int]] = field(default_factory=list)

    def put(self, task: int, due: float) -> None:
        self._due[task] = due
        heapq.heappush(self._heap, (due, task))

    def take(self, now: float) -> int | None:
        """The task longest overdue; None if nothing is due."""
        while self._heap and self._heap[0][0] <= now:
            due, task = heapq.heappop(self._heap)
            if self._due.get(task) == due:
                del self._due[task]
                return task
        return None
