"""Rows of tasks and files as values, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Row, Text, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.core.public import error_json
from app.core.recording import (
    Attention,
    File,
    FileStatus,
    LastError,
    Outcome,
    Polling,
    SeenFile,
    Status,
    Task,
    Tracking,
)
from app.core.told import NOTHING_TOLD, CallbackEvent, LastCallback, Notice, Playlist, Told
from app.store.tables import POLLS, TASKS

_SEEN = [field.name for field in fields(SeenFile)]
_POLLING = ["last_polled_at", "poll_count", "consecutive_failures"]
_PLAIN = [
    str(column.name)  # SQLAlchemy's own kind of text is written as JSON in five times the time
    for column in TASKS.columns
    if column.name not in {*_POLLING, "last_error", "query_deadline", "labels", "file_counts", "told"}
]
_PLAIN_OF, _PLAIN_FROM = attrgetter(*_PLAIN), itemgetter(*_PLAIN)
beside_told = attrgetter(*(field.name for field in fields(Task) if field.name not in {"told", "files"}))
"""All of a task's row but what callbacks told, which most of them change alone."""

TASK_COLUMNS = (*TASKS.columns, POLLS.c.next_poll_at, POLLS.c.listed)
TASKS_AND_POLLS = TASKS.outerjoin(POLLS, TASKS.c.task_id == POLLS.c.task_id)


class Stamp(NamedTuple):
    """What shows whether a task still looks as it did: its version, and what changes without a new one."""

    task_id: str
    version: int
    rest: str
    """A JSON array, read in a tenth of the time that the values take; it begins with _TIMES."""

    def time(self, name: str) -> datetime:
        """``registered_at`` or ``updated_at``."""
        at = datetime.fromisoformat(json.loads(self.rest)[_TIMES.index(name)])
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at


_TIMES = ("registered_at", "updated_at")


class json_list(FunctionElement[str]):  # noqa: N801 - it is written like a function in statements
    """Values as a JSON array."""

    type = Text()
    inherit_cache = True


@compiles(json_list, "sqlite")
def _sqlite_list(element: Any, compiler: Any, **kw: Any) -> str:
    return f"json_array({compiler.process(element.clauses, **kw)})"


@compiles(json_list, "postgresql")
def _postgresql_list(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(json_build_array({compiler.process(element.clauses, **kw)}) AS TEXT)"


STAMP_COLUMNS = (
    TASKS.c.task_id,
    TASKS.c.version,
    json_list(
        *(TASKS.c[name] for name in (*_TIMES, *_POLLING, "last_error", "told")),
        # Not by a join: PostgreSQL might give up an order of an index for it, and sort a whole list for its first page.
        select(POLLS.c.next_poll_at).where(POLLS.c.task_id == TASKS.c.task_id).scalar_subquery(),
    ).label("rest"),
)


def to_task(row: Row[Any] | Mapping[str, Any], files: Mapping[str, File] | None = None) -> Task:
    """A task from a row of TASK_COLUMNS, or from such values."""
    values: Any = row._mapping if isinstance(row, Row) else row
    error = values["last_error"]
    plain = dict(zip(_PLAIN, _PLAIN_FROM(values), strict=True))
    plain |= {
        "tracking": Tracking(plain["tracking"]),
        "status": Status(plain["status"]),
        "outcome": Outcome(plain["outcome"]) if plain["outcome"] else None,
        "attention": Attention(plain["attention"]),
    }
    return Task(
        **plain,
        labels=values["labels"],
        file_counts=values["file_counts"],
        files=files or {},
        told=_to_told(values["told"]),
        polling=Polling(
            next_poll_at=values["next_poll_at"],
            listed=values["listed"],
            last_error=last_error(error),
            **{name: values[name] for name in _POLLING},
        ),
    )


def last_error(error: dict[str, Any] | None) -> LastError | None:
    """A task's last error as it is stored."""
    return LastError(**error | {"at": datetime.fromisoformat(error["at"])}) if error else None


def task_values(task: Task) -> dict[str, Any]:
    """The columns of a task."""
    polling = task.polling
    return {
        **dict(zip(_PLAIN, _PLAIN_OF(task), strict=True)),
        **{name: getattr(polling, name) for name in _POLLING},
        "attention": int(task.attention),
        "labels": dict(task.labels),
        "told": told_values(task.told),
        "file_counts": dict(task.file_counts),
        "query_deadline": task.window[0],
        "last_error": polling.last_error and error_json(polling.last_error),
    }


def told_values(told: Told) -> Told | None:
    """As the serialiser takes it, which knows dataclasses."""
    return None if told == NOTHING_TOLD else told


def _to_told(values: dict[str, Any] | None) -> Told:
    if not values:
        return NOTHING_TOLD
    last = values["last"]
    return Told(
        quit_reason_code=values["quit_reason_code"],
        quit_reason_at=_moment(values["quit_reason_at"]),
        playlists=tuple(Playlist(**one) for one in values["playlists"]),
        notices=tuple(
            Notice(**one | {name: datetime.fromisoformat(one[name]) for name in ("first_at", "last_at")})
            for one in values["notices"]
        ),
        last=LastCallback(
            event_type=last["event_type"],
            event=CallbackEvent(last["event"]),
            received_at=datetime.fromisoformat(last["received_at"]),
        )
        if last
        else None,
        hurries_until=_moment(values["hurries_until"]),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def to_file(row: Row[Any] | Mapping[str, Any]) -> File:
    """A file from a row, or from such values."""
    values = row._mapping if isinstance(row, Row) else row
    seen = {name: values[name] for name in _SEEN} | {"status": FileStatus(values["status"])}
    return File(
        seen=SeenFile(**seen),
        claim_no=values["claim_no"],
        first_seen_at=values["first_seen_at"],
        updated_at=values["updated_at"],
        reached_end_at=values["reached_end_at"],
        source=values["source"],
    )


def file_values(task: Task, file: File) -> dict[str, Any]:
    """The columns of a file."""
    return {
        **{name: getattr(file.seen, name) for name in _SEEN},  # `asdict` copies each value: ten times as slow
        "task_id": task.task_id,
        "claim_no": file.claim_no,
        "first_seen_at": file.first_seen_at,
        "updated_at": file.updated_at,
        "reached_end_at": file.reached_end_at,
        "backup_expires_at": file.backup_expires_at,
        "source": file.source,
    }
