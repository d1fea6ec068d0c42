"""Pages of the provider's task list, in every reading that its documentation leaves open (docs/provider.md 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.core.sweeping import Listed
from app.errors import AnswerUnknown
from app.provider.fields import Integer, Moment, Words, integer
from app.provider.wire import Envelope, Wire


class WireListed(Wire):
    """One entry of the task list (docs/provider.md 3)."""

    task_id: Words = None
    room_id: Words = None
    record_begin_timestamp: Moment = None
    status: Integer = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of the task list. ``total``: of the whole span asked for; None if it was not told."""

    tasks: tuple[Listed, ...]
    total: int | None


_LIST_NAMES = ("taskidlist", "tasklist")
"""The list's name in the samples, and in older tables (docs/provider.md 3); in any case of letters."""


def read_list(envelope: Envelope) -> ListPage:
    """The tasks on a page of the list; raises AnswerUnknown if it cannot be read."""
    try:
        data = envelope.data or {}
        named = {name.lower(): value for name, value in data.items()}
        given: Any = next((named[name] for name in _LIST_NAMES if named.get(name) is not None), ())
        items = [WireListed.model_validate(one) for one in given]
        total = integer(named.get("totalcount"))
    except (AttributeError, TypeError, ValidationError):
        raise AnswerUnknown("garbled", "not a list of tasks", request_id=envelope.request_id) from None
    if any(item.task_id is None for item in items):
        raise AnswerUnknown("garbled", "a list of tasks without their ids", request_id=envelope.request_id)
    tasks = [Listed(item.task_id or "", item.status, item.record_begin_timestamp, item.room_id) for item in items]
    return ListPage(tuple(tasks), total)
