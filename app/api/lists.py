"""Lists: filters from the query, and cursors that hold them.

A cursor is the filters of its list and the place of the last item shown, as opaque text. It is taken with those
filters or without any; other filters beside it are refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.api.schemas import Moment, StorableText, TaskId
from app.core.public import time_text
from app.core.recording import Attention, FileStatus, Outcome, Status, Tracking
from app.errors import Fault, InvalidRequest
from app.store.listing import FileFilter, TaskFilter

AttentionWord = Literal["failing", "not_found", "expiring", "lost", "backup_expiring"]
T = TypeVar("T")


def _split(value: Any) -> Any:
    values = [value] if isinstance(value, str) else value
    if isinstance(values, (list, tuple)) and all(isinstance(one, str) for one in values):
        return tuple(dict.fromkeys(word for one in values for word in one.split(",") if word))
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
    str | None, Field(max_length=8192, description="`next_cursor` of the page before; it holds its filters.")
]
AppId = Annotated[int | None, Field(ge=0, le=2**63 - 1)]
AFTER, BEFORE = "Only later than this.", "Only earlier than this."


class ListQuery(BaseModel):
    """What every list takes. An unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Limit = 100
    cursor: Cursor = None

    def filters(self) -> dict[str, Any]:
        """The filters given, as they go into a cursor."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_defaults=True)


Q = TypeVar("Q", bound=ListQuery)


class TaskQuery(ListQuery):
    """Filters of GET /v1/tasks. Sets are comma-separated."""

    task_id: Annotated[Ids, Field(description="At most 100; unknown ones are listed in `missing`.")] = ()
    tracking: Annotated[tuple[Tracking, ...], Split] = ()
    status: Annotated[tuple[Status, ...], Split] = ()
    outcome: Annotated[tuple[Outcome, ...], Split] = ()
    attention: Annotated[tuple[AttentionWord, ...], Split, Field(description="Any of these.")] = ()
    app_id: AppId = None
    room_id: StorableText | None = None
    user_id: Annotated[StorableText | None, Field(description="Of one of its files.")] = None
    stream_id: Annotated[StorableText | None, Field(description="Of one of its files.")] = None
    file_status: Annotated[tuple[FileStatus, ...], Split, Field(description="Of one of its files.")] = ()
    label: Annotated[
        tuple[Annotated[StorableText, AfterValidator(_label)], ...],
        Field(max_length=16, description="`key:value`; repeat it for several, all must match."),
    ] = ()
    registered_after: Annotated[Moment | None, Field(description=AFTER)] = None
    registered_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    updated_after: Annotated[Moment | None, Field(description=AFTER)] = None
    updated_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    settled_after: Annotated[Moment | None, Field(description=AFTER)] = None
    settled_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    deadline_before: Annotated[Moment | None, Field(description="The query window closes earlier than this.")] = None
    order: Annotated[
        Literal["registered_at", "updated_at"],
        Field(description="By registration newest first, or by update oldest first."),
    ] = "registered_at"
    include: Annotated[Literal["files"] | None, Field(description="With files; then `limit` ≤ 50.")] = None

    def to_filter(self) -> TaskFilter:
        given = self.model_dump(
            exclude={"limit", "cursor", "order", "include", "label", "attention"}, exclude_defaults=True
        )
        flags = Attention(0)
        for word in self.attention:
            flags |= Attention[word.upper()]
        labels = dict(one.split(":", 1) for one in self.label)
        return TaskFilter(**given, attention=int(flags), labels=labels)


class FileQuery(ListQuery):
    """Filters of GET /v1/files. Sets are comma-separated."""

    status: Annotated[tuple[FileStatus, ...], Split] = ()
    task_id: Annotated[Ids, Field(description="At most 100.")] = ()
    app_id: AppId = None
    room_id: StorableText | None = None
    user_id: StorableText | None = None
    stream_id: StorableText | None = None
    updated_after: Annotated[Moment | None, Field(description=AFTER)] = None
    updated_before: Annotated[Moment | None, Field(description=BEFORE)] = None
    backup_expires_before: Annotated[
        Moment | None, Field(description="The provider's backup copy goes earlier than this.")
    ] = None

    def to_filter(self) -> FileFilter:
        return FileFilter(**self.model_dump(exclude={"limit", "cursor"}, exclude_defaults=True))


def resume(query: Q, read: Callable[[list[Any]], T]) -> tuple[Q, T | None]:
    """The query with the filters of its cursor, and where to go on, as ``read`` reads it. Raises InvalidRequest."""
    if query.cursor is None:
        return query, None
    try:
        held, place = json.loads(base64.urlsafe_b64decode(query.cursor.encode()))
        resumed = type(query).model_validate({**held, "limit": query.limit})
        position = read(place)
    except (ValueError, TypeError, KeyError, ValidationError, RecursionError):
        raise InvalidRequest.at("cursor", "is not a cursor of this list") from None
    if query.filters() and query.filters() != resumed.filters():
        raise InvalidRequest.at("cursor", "holds other filters than those beside it; leave them out")
    return resumed, position


def next_cursor(query: ListQuery, place: list[Any]) -> str:
    """A cursor that goes on after ``place``."""
    text = json.dumps([query.filters(), place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def check_page_size(query: TaskQuery) -> None:
    """Files make items large."""
    if query.include == "files" and query.limit > 50:
        raise InvalidRequest("limit: with include=files 50 is the most", [Fault("limit", "at most 50 with files")])


def read_text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise TypeError("text expected")
    return value


def read_time(value: Any) -> datetime:
    return datetime.fromisoformat(read_text(value))


def time_place(moment: datetime) -> str:
    return time_text(moment) or ""
