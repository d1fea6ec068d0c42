"""The shapes of requests and answers, for checking and for the API documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.clock import to_milliseconds

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _aware(value: Any) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if not isinstance(value, str):
        raise ValueError('give a time as text with its offset, like "2026-01-31T18:00:00Z"; a number has no unit')
    if not _RFC3339.fullmatch(value):
        hint = "; in a query write + as %2B" if re.search(r"\d \d\d:\d\d$", value) else ""
        raise ValueError(f'give a time with its offset, like "2026-01-31T18:00:00Z" (RFC 3339){hint}')
    try:
        return to_milliseconds(datetime.fromisoformat(value.upper()).astimezone(UTC))
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None


def _storable(value: str) -> str:
    if _UNSTORABLE.search(value):
        raise ValueError("holds a character that cannot be stored (NUL or a lone surrogate)")
    return value


def _whole(value: Any) -> Any:
    """3.0 is an integer in JSON, and some languages write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
"""Behind a strict whole number."""
Moment = Annotated[
    datetime,
    BeforeValidator(_aware),
    Field(json_schema_extra={"type": "string", "format": "date-time"}),
]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
AnyText = Annotated[str, AfterValidator(_storable)]
StorableText = Annotated[AnyText, Field(max_length=1024)]

TASK_ID = r"^[A-Za-z0-9_-]{16}$"
TaskId = Annotated[str, Field(pattern=TASK_ID, description="The provider's TaskId; case-sensitive.")]
TaskIdPath = Annotated[str, Path(pattern=TASK_ID, description="The provider's TaskId.")]
LabelKey = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,63}$")]
LabelValue = Annotated[AnyText, Field(max_length=255)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]


class In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TaskIn(In):
    """A recording task to follow."""

    task_id: TaskId
    app_id: Annotated[
        int | None,
        Field(strict=True, description="The provider's AppId; may be left out while one app is configured."),
        Whole,
    ] = None
    started_at: Annotated[
        Moment | None,
        Field(
            description="When the recording began, if you know; until the provider tells, "
            "it dates the end of its 3-day query window."
        ),
    ] = None
    labels: Annotated[Labels, Field(description="Yours to find tasks by; at most 16.")] = {}


class BatchIn(In):
    """Many tasks at once. A fault of one item does not spoil the rest."""

    tasks: Annotated[
        list[Any],
        Field(
            min_length=1,
            max_length=1000,
            description="Each as for POST /v1/tasks.",
            json_schema_extra={"items": {"$ref": "#/components/schemas/TaskIn"}},
        ),
    ]


class LabelsIn(In):
    """A merge patch: labels to set; `null` removes one."""

    labels: Annotated[
        dict[LabelKey, LabelValue | None],
        Field(max_length=1000, description="Those given are set, `null` removes one; 16 may remain."),
    ] = {}


class Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


def one_of(words: Iterable[str], description: str) -> Any:
    """Lists words in the API's description only. Where they come from the core as text they are not checked again: a
    word that is missing in the list must not spoil an answer."""
    return Field(description=description, json_schema_extra={"enum": list(words)})


NextCursor = Annotated[
    str | None,
    Field(
        description="Pass it back as `cursor` for the next page; null on the last. Opaque. Where few of many match, a "
        "page that is not the last may hold fewer items than `limit`, or none."
    ),
]
