"""Every error raised on purpose, as one tree.

RecorderError
├── Misconfigured            a setting is wrong: the start stops, exit code 2
├── Refusal                  the caller's fault, or the state forbids it; ``code`` is the problem code of the API
│   ├── InvalidRequest       invalid_request
│   ├── TaskNotFound         not_found
│   ├── NoSuchSubscription   not_found: no such subscription, or delivery of it
│   ├── NameConflict         name_conflict
│   ├── AppConflict          app_conflict
│   ├── NotPollable          not_pollable
│   ├── PreconditionFailed   precondition_failed
│   ├── CallbackRefused      unauthenticated: a callback whose signature, time or app is wrong
│   └── CallbackUnreadable   unreadable_body: neither JSON nor an older form of a callback
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


class TaskNotFound(Refusal):
    """No task is registered under this id."""

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


class ProviderError(RecorderError):
    """A call to the provider that told nothing about its task.

    ``code`` is ours, stable, and shown in ``last_error``; ``request_id`` is the provider's RequestId where it gave one.
    """

    def __init__(self, code: str, message: str, *, request_id: str | None = None, reached: Reached = "yes") -> None:
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
