"""Lists: filters from the query, and cursors that hold them.

A cursor is the filters of its list and the place of the last item shown, as opaque text. It is taken with those
filters or without any; other filters beside it are refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from app.api.schemas import AnyText, Moment, StorableText, TaskId
from app.api.words import AttentionWord, TaskOrder, Verdict
from app.core.public import time_text
from app.core.recording import Attention, FileStatus, Outcome, Status, Tracking
from app.errors import InvalidRequest
from app.store.callbacks import CallbackFilter
from app.store.listing import FileFilter, TaskFilter

P = TypeVar("P")


def _split(value: Any) -> Any:
    values = [value] if isinstance(value, str) else value
    if isinstance(values, (list, tuple)) and all(isinstance(one, str) for one in values):
        return tuple(dict.fromkeys(word for one in values for word in one.split(",")))
    return values


def _label(value: str) -> str:
    key, colon, _ = value.partition(":")
    if not colon or not key:
        raise ValueError("takes key:value")
    return value


Split = BeforeValidator(_split)
Ids = Annotated[tuple[TaskId, ...], Split, Field(max_length=100)]
Limit = Annotated[int, Field(ge=1, le=500, description="Items on a page.")]
Cursor = Annotated[
    str | None, Field(max_length=65536, description="`next_cursor` of the page before; it holds its filters.")
]
AppId = Annotated[int | None, Field(ge=0, le=2**63 - 1, description="Of this app alone.")]
LabelFilters = Annotated[
    tuple[Annotated[StorableText, AfterValidator(_label), Field(json_schema_extra={"pattern": "^[^:]+:"})], ...],
    Field(max_length=16, description="`key:value`; repeat it for several, all must match."),
]
WITH_FILES = 50
"""Tasks on a page that shows their files, at most."""

# These read the place of a page's last item from a cursor. Their shapes differ, so a cursor of one list is none of
# another.
TASK_PLACE = TypeAdapter(tuple[Moment, TaskId]).validate_python
FILE_PLACE = TypeAdapter(tuple[Moment, TaskId, AnyText]).validate_python
TASK_FILE_PLACE = TypeAdapter(tuple[AnyText]).validate_python
EVENT_PLACE = TypeAdapter(tuple[Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]]).validate_python
CALLBACK_PLACE = TypeAdapter(
    tuple[Literal["callback"], Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]]
).validate_python
SUBSCRIPTION_PLACE = TypeAdapter(tuple[Literal["subscription"], StorableText]).validate_python
AUDIT_PLACE = TypeAdapter(
    tuple[Literal["audit"], Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]]
).validate_python
DELIVERY_PLACE = TypeAdapter(
    tuple[Literal["delivery"], Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]]
).validate_python

AFTER, BEFORE, ANY = "Only later than this.", "Only earlier than this.", "Any of these, by commas."


_NO_FILTERS = {"limit", "cursor"}


class ListQuery(BaseModel):
    """What every list takes. An unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Limit = 100
    cursor: Cursor = None

    def filters(self) -> dict[str, Any]:
        """The filters given, as they go into a cursor."""
        given = self.model_fields_set - _NO_FILTERS
        return self.model_dump(mode="json", include=given, exclude_defaults=True) if given else {}

    def given(self, *but: str) -> dict[str, Any]:
        """The filters given, as they are."""
        return {name: getattr(self, name) for name in self.model_fields_set - _NO_FILTERS - {*but}}


Q = TypeVar("Q", bound=ListQuery)


class TaskQuery(ListQuery):
    """Filters of GET /v1/tasks. Sets are comma-separated."""

    task_id: Annotated[Ids, Field(description="At most 100; unknown ones are listed in `missing`.")] = ()
    tracking: Annotated[tuple[Tracking, ...], Split, Field(description=ANY)] = ()
    status: Annotated[tuple[Status, ...], Split, Field(description=ANY)] = ()
    outcome: Annotated[tuple[Outcome, ...], Split, Field(description=ANY)] = ()
    attention: Annotated[tuple[AttentionWord, ...], Split, Field(description=ANY)] = ()
    app_id: AppId = None
    room_id: Annotated[StorableText | None, Field(description="Of this room alone.")] = None
    user_id: Annotated[StorableText | None, Field(description="Of one of its files.")] = None
    stream_id: Annotated[StorableText | None, Field(description="Of one of its files.")] = None
    file_status: Annotated[tuple[FileStatus, ...], Split, Field(description="Of one of its files.")] = ()
    label: LabelFilters = ()
    registered_after: Annotated[Moment | None, Field(description=AFTER)] = None
    registered_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    updated_after: Annotated[Moment | None, Field(description=AFTER)] = None
    updated_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    settled_after: Annotated[Moment | None, Field(description=AFTER)] = None
    settled_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    deadline_before: Annotated[Moment | None, Field(description="The query window closes earlier than this.")] = None
    order: Annotated[
        TaskOrder,
        Field(description="By registration newest first, or by update oldest first."),
    ] = "registered_at"
    include: Annotated[
        Literal["files"] | None, Field(description="With files; then `limit` is 50 at most, and by default.")
    ] = None

    def to_filter(self) -> TaskFilter:
        given = self.given("order", "include", "label", "attention")
        flags = Attention(0)
        for word in self.attention:
            flags |= Attention[word.upper()]
        return TaskFilter(**given, attention=int(flags), labels=label_pairs(self.label))


class FileQuery(ListQuery):
    """Filters of GET /v1/files. Sets are comma-separated."""

    status: Annotated[tuple[FileStatus, ...], Split, Field(description=ANY)] = ()
    task_id: Annotated[Ids, Field(description="At most 100.")] = ()
    app_id: AppId = None
    room_id: Annotated[StorableText | None, Field(description="Of this room alone.")] = None
    user_id: Annotated[StorableText | None, Field(description="Of this user alone.")] = None
    stream_id: Annotated[StorableText | None, Field(description="Of this stream alone.")] = None
    updated_after: Annotated[Moment | None, Field(description=AFTER)] = None
    updated_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    backup_expires_before: Annotated[
        Moment | None, Field(description="The provider's backup copy goes earlier than this.")
    ] = None

    def to_filter(self) -> FileFilter:
        return FileFilter(**self.given())


class CallbackQuery(ListQuery):
    """Filters of GET /v1/callbacks. Sets are comma-separated."""

    task_id: Annotated[Ids, Field(description="At most 100.")] = ()
    app_id: AppId = None
    verdict: Annotated[tuple[Verdict, ...], Split, Field(description=ANY)] = ()
    known: Annotated[bool | None, Field(description="Whether the task is registered.")] = None
    received_after: Annotated[Moment | None, Field(description=AFTER)] = None
    received_before: Annotated[Moment | None, Field(description=BEFORE)] = None

    def to_filter(self) -> CallbackFilter:
        return CallbackFilter(**self.given())


def label_pairs(labels: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Keys and values of label filters."""
    return tuple((key, value) for key, _, value in (label.partition(":") for label in labels))


def resume(query: Q, read: Callable[[Any], P]) -> tuple[Q, P | None]:
    """The query with the filters of its cursor, and the place to go on after, as ``read`` reads it.

    Raises InvalidRequest.
    """
    if query.cursor is None:
        return query, None
    given = query.model_fields_set - {"cursor"}
    try:
        filters, after = json.loads(base64.urlsafe_b64decode(query.cursor.encode()))
        page = {"limit": query.limit} if "limit" in given else {}
        resumed = type(query).model_validate({**filters, **page})
        position = read(after)
    except (ValueError, TypeError, RecursionError):  # ValidationError is a ValueError
        raise InvalidRequest.at("cursor", "is not a cursor of this list") from None
    if given - {"limit"} and query.filters() != resumed.filters():
        raise InvalidRequest.at("cursor", "holds other filters than those beside it; leave them out")
    return resumed, position


def next_cursor(query: ListQuery, place: Sequence[Any] | None) -> str | None:
    """A cursor that goes on after ``place``; None: there is nothing."""
    if place is None:
        return None
    text = json.dumps([query.filters(), place], separators=(",", ":"), ensure_ascii=False, default=time_text)
    return base64.urlsafe_b64encode(text.encode()).decode()


def page_size(query: TaskQuery) -> int:
    """The tasks on a page. Files make them large: then 50 at most. Raises InvalidRequest."""
    if query.include is None:
        return query.limit
    if query.limit > WITH_FILES and "limit" in query.model_fields_set:
        raise InvalidRequest.at("limit", f"with include=files {WITH_FILES} is the most")
    return min(query.limit, WITH_FILES)
