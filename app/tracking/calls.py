"""Counts the calls to the provider: by what they came to, and status queries by what made them due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from app import metrics
from app.clock import Clock
from app.core.schedule import Urgency
from app.errors import (
    AnswerUnknown,
    AppRefused,
    NeverSent,
    ProviderError,
    ProviderThrottled,
    ProviderUnavailable,
    TaskRefused,
    TaskUnknown,
)
from app.provider.client import Call
from app.store import counts
from app.store.connection import Connection
from app.store.engine import Database

PROBE = "probe"
"""Counted apart from other calls of its action."""

_RESULTS: tuple[tuple[type[ProviderError], str], ...] = (
    (NeverSent, "never_sent"),
    (ProviderUnavailable, "unavailable"),
    (ProviderThrottled, "throttled"),
    (AppRefused, "app_refused"),
    (TaskRefused, "task_refused"),
    (TaskUnknown, "task_unknown"),
    (AnswerUnknown, "answer_unknown"),
)
_ANSWERED = "answered"

_REFUSED = ("answer_too_large", "garbled", "other_task", "too_many_files", "unknown_code")
_IGNORED = ("text", "time")


def begin_counting(app_id: int, action: str) -> None:
    """Begin at 0 with every result."""
    for result in (_ANSWERED, *(word for _, word in _RESULTS)):
        metrics.CALLS.labels(app_id, action, result)
    for code in _REFUSED:
        metrics.ANSWERS_REFUSED.labels(app_id, code)
    for kind in _IGNORED:
        metrics.ANSWERS_IGNORED.labels(app_id, kind)


def count(app_id: int, action: str, call: Call, error: ProviderError | None) -> None:
    """A call is over."""
    result = next((word for kind, word in _RESULTS if isinstance(error, kind)), _ANSWERED)
    metrics.CALLS.labels(app_id, action, result).inc()
    if isinstance(error, AnswerUnknown):
        metrics.ANSWERS_REFUSED.labels(app_id, error.code).inc()
    if call.sent_at is not None and call.answered_at is not None:
        metrics.CALL_SECONDS.labels(app_id, action).observe(call.answered_at - call.sent_at)


STEP = timedelta(seconds=10)
FLUSH_EVERY = timedelta(seconds=5)
KEPT = timedelta(minutes=70)


class Spending:
    """What the budget goes to: status queries by class, of all processes together.

    A process writes its own down every few seconds; a crash loses those, and nothing else depends on them.
    """

    def __init__(self, database: Database, clock: Clock, app_ids: Iterable[int]) -> None:
        self._database, self._clock = database, clock
        self._unwritten: Counter[tuple[int, datetime, Urgency]] = Counter()
        for app_id in app_ids:
            for urgency in Urgency:
                metrics.POLLS.labels(app_id, word(urgency))

    def count(self, app_id: int, urgency: Urgency) -> None:
        """A query was sent."""
        metrics.POLLS.labels(app_id, word(urgency)).inc()
        self._unwritten[app_id, _step(self._clock.now()), urgency] += 1

    async def run_once(self) -> int:
        """Write down what was counted since the last time; how many calls."""
        made, self._unwritten = self._unwritten, Counter()
        if made:
            try:
                async with self._database.write(durable=False) as connection:
                    await counts.add_calls(connection, made)
                    await counts.forget_calls(connection, before=self._clock.now() - KEPT)
            except BaseException:
                self._unwritten.update(made)
                raise
        return made.total()

    async def lately(self, connection: Connection, app_id: int, span: timedelta) -> dict[Urgency, int]:
        """Calls in a span that ended a few seconds ago, when every process had written down its own."""
        until = _step(self._clock.now() - FLUSH_EVERY)
        return await counts.calls(connection, app_id, since=until - span, until=until)


def word(urgency: Urgency) -> str:
    """The class as people read it."""
    return urgency.name.lower()


def _step(moment: datetime) -> datetime:
    seconds = moment.timestamp() // STEP.total_seconds() * STEP.total_seconds()
    return datetime.fromtimestamp(seconds, UTC)
