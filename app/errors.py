"""Every error raised on purpose, as one tree.

RecorderError
├── Misconfigured            a setting is wrong: the start stops, exit code 2
├── Refusal                  the caller's fault, or the state forbids it; ``code`` is the problem code of the API
│   ├── InvalidRequest       invalid_request
│   │   └── TargetRefused    a webhook's address that can never be sent to
│   ├── TaskNotFound         not_found
│   ├── AppNotFound          not_found
│   ├── NoSuchSubscription   not_found: no such subscription, or delivery of it
│   ├── NameConflict         name_conflict
│   ├── AppConflict          app_conflict
│   ├── NotPollable          not_pollable
│   ├── PreconditionFailed   precondition_failed
│   ├── FeedPositionLost     feed_position_lost: older than what the feed keeps, or not of this history
│   ├── TooManyWaiting       rate_limited
│   ├── CallbackRefused      unauthenticated: a callback whose signature, time or app is wrong
│   └── CallbackUnreadable   unreadable_body: neither JSON nor an older form of a callback
├── SecretUnreadable         a subscription's secret that no configured key opens
├── DatabaseUnavailable      locked, gone or out of date for now: try again later
└── ProviderError            what a call to the provider came to instead of an answer about a task
    ├── ProviderUnavailable  no good answer: time-out, reset, 5xx, not JSON, system error. The app's trouble
    │   └── NeverSent        held up in this process until the permit's time was over; no byte left
    ├── ProviderThrottled    over the rate limit, by whomever. The app's trouble
    ├── AppRefused           no call of this app can succeed until somebody acts (signature, service, clock)
    ├── TaskRefused          refused for this task's parameters
    ├── TaskUnknown          the provider does not know this TaskId (mistyped, not visible yet, or out of its window)
    └── AnswerUnknown        an answer that tells nothing we can read: an undocumented code, or garbled data
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


class RecorderError(Exception):
    """Root of everything this project raises on purpose."""


class Misconfigured(RecorderError):
    """The settings cannot work. ``faults`` holds one line per fault, each naming its variable."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


class DatabaseUnavailable(RecorderError):
    """The database is locked, gone, or its schema is not ours; nothing was changed. Trying again later can help."""


class SecretUnreadable(RecorderError):
    """A subscription's secret that cannot be opened: SECRET_KEY lacks the key it was sealed with."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a request: where (an RFC 6901 JSON pointer, or a parameter's name) and what."""

    pointer: str
    detail: str


class Refusal(RecorderError):
    """A request we refuse; nothing was changed."""

    code = "invalid_request"

    def __init__(self, detail: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = list(faults)


class InvalidRequest(Refusal):
    """The request is malformed or breaks a rule of the contract."""

    @classmethod
    def at(cls, pointer: str, detail: str) -> InvalidRequest:
        """One fault at one place."""
        return cls(detail, [Fault(pointer, detail)])


class TargetRefused(InvalidRequest):
    """A URL that no webhook may ever be sent to, whatever its name resolves to."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, [Fault("/url", detail)])


class TaskNotFound(Refusal):
    """No task is registered under this id."""

    code = "not_found"


class AppNotFound(Refusal):
    """No such app is configured."""

    code = "not_found"


class NoSuchSubscription(Refusal):
    """There is no such subscription, or it has no such delivery."""

    code = "not_found"


class NameConflict(Refusal):
    """A subscription of this name has other settings."""

    code = "name_conflict"


class AppConflict(Refusal):
    """The TaskId is registered under another app."""

    code = "app_conflict"


class NotPollable(Refusal):
    """The task is untracked, or its query window has closed."""

    code = "not_pollable"


class PreconditionFailed(Refusal):
    """If-Match names another version than the present one."""

    code = "precondition_failed"


class TooManyWaiting(Refusal):
    """So many requests and streams wait here already that one more might harm them."""

    code = "rate_limited"


class FeedPositionLost(Refusal):
    """The feed cannot go on from this position; it can from ``oldest`` to ``latest``."""

    code = "feed_position_lost"

    def __init__(self, *, oldest: int, latest: int) -> None:
        super().__init__("the feed cannot go on from this position; copy what you follow again")
        self.oldest, self.latest = oldest, latest


class CallbackRefused(Refusal):
    """A callback that its signature does not vouch for; ``reason`` is stable and counted."""

    code = "unauthenticated"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class CallbackUnreadable(Refusal):
    """A callback that is neither JSON nor a form that is known."""

    code = "unreadable_body"


Reached = Literal["no", "yes", "perhaps"]
"""Whether a request reached the provider: not one byte left; it was answered; or nobody knows, it may still arrive."""


MESSAGE_LIMIT = 500
"""Characters of a provider error's message: it is stored with its task and shown."""


class ProviderError(RecorderError):
    """A call to the provider that told nothing about its task.

    ``code`` is ours, stable, and shown in ``last_error``; ``request_id`` is the provider's RequestId where it gave one.
    """

    def __init__(self, code: str, message: str, *, request_id: str | None = None, reached: Reached = "yes") -> None:
        message = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
        super().__init__(f"{code}: {message}" + (f" (RequestId {request_id})" if request_id else ""))
        self.code, self.message, self.request_id, self.reached = code, message, request_id, reached


class ProviderUnavailable(ProviderError):
    """No good answer; the same call can succeed later. Says nothing about the task."""


class NeverSent(ProviderUnavailable):
    """This process was held up until the permit's time was over; not one byte left. Not the provider's fault."""


class ProviderThrottled(ProviderError):
    """Over the provider's rate limit; other programs may share the AppId. Slow down."""


class AppRefused(ProviderError):
    """Refused for the app's configuration: no retry mends it until somebody acts."""


class TaskRefused(ProviderError):
    """Refused for this task; other tasks are not affected."""


class TaskUnknown(ProviderError):
    """The provider does not know this TaskId."""


class AnswerUnknown(ProviderError):
    """An answer that tells nothing we can read: a code nobody documented, or garbled data."""
