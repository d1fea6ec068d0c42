"""Counts the calls to the provider by what they came to."""

from __future__ import annotations

from app import metrics
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
