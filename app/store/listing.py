"""Lists of tasks and files: filters, order and pages by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, Literal

from sqlalchemy import ColumnElement, Integer, Select, bindparam, literal_column, or_, select

from app.core.recording import File, Status, Whose
from app.store.checks import holds, shows_label
from app.store.connection import Connection
from app.store.kept import Kept
from app.store.pages import KEPT, OUT_OF_STEP, Listing, Page, Wanted
from app.store.rows import STAMP_COLUMNS, Stamp, to_file
from app.store.tables import FILES, LABELS, TASKS

_TASK, _FILE, _LABEL = TASKS.c, FILES.c, LABELS.c

TaskOrder = Literal["registered_at", "updated_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What a list of tasks is narrowed to; None and empty mean: not at all. ``attention``: any of these flags."""

    task_id: tuple[str, ...] = ()
    tracking: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    attention: int = 0
    app_id: int | None = None
    room_id: str | None = None
    user_id: str | None = None
    stream_id: str | None = None
    file_status: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    registered_after: datetime | None = None
    registered_before: datetime | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    settled_after: datetime | None = None
    settled_before: datetime | None = None
    deadline_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFilter:
    """What a list of files is narrowed to."""

    status: tuple[str, ...] = ()
    task_id: tuple[str, ...] = ()
    app_id: int | None = None
    room_id: str | None = None
    user_id: str | None = None
    stream_id: str | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    backup_expires_before: datetime | None = None


async def list_tasks(
    connection: Connection,
    wanted: TaskFilter,
    *,
    order: TaskOrder,
    after: tuple[datetime, str] | None,
    limit: int,
) -> Page[Stamp]:
    """A page of tasks: by registration newest first, or by update oldest first."""
    found = await _tasks(wanted, order).page(connection, after, limit)
    return Page([Stamp._make(row.values()) for row in found.items], found.more)


@lru_cache(KEPT)
def _tasks(wanted: TaskFilter, order: TaskOrder) -> Listing:
    return Listing(
        select(*STAMP_COLUMNS),
        _by_registration(wanted) if order == "registered_at" else _by_update(wanted),
        key=(_TASK[order], _TASK.task_id),
        identity=(_TASK.task_id,),
        newest_first=order == "registered_at",
        place=lambda row: (Stamp(**row).time(order), row["task_id"]),
    )


def _by_registration(wanted: TaskFilter) -> Wanted:
    """Behind a room, an outcome, a status and a tracking an index goes on in the order of registration."""
    later = [moment + OUT_OF_STEP for moment in (wanted.updated_before, wanted.settled_before) if moment]
    before = [wanted.registered_before] if wanted.registered_before else []
    updated = _between(_TASK.updated_at, wanted.updated_after, wanted.updated_before)
    room, *states = _room_and_states(wanted)
    leads: list[tuple[ColumnElement[Any], tuple[str, ...], list[ColumnElement[bool]]]] = [
        (_TASK.room_id, (wanted.room_id,) if wanted.room_id is not None else (), room),
        (_TASK.outcome, wanted.outcome, states[0]),
        (_TASK.status, wanted.status if wanted.status != _UNINDEXED else (), states[1]),
        (_TASK.tracking, wanted.tracking, states[2]),
    ]
    lead = next((one for one in leads if len(one[1]) == 1), None)
    rest = [one for one in (updated, room, *states) if lead is None or one is not lead[2]]
    return Wanted(
        lead=lead and (lead[0], lead[1][0]),
        within=lead[2][1:] if lead else _needing_a_person(wanted),
        low=wanted.registered_after,
        high=min([*before, *later], default=None),
        checks=[*chain(*rest), *_task_checks(wanted)],
        sources=[*_found_by(*rest), *_task_sources(wanted)],
    )


def _by_update(wanted: TaskFilter) -> Wanted:
    earlier = [moment - OUT_OF_STEP for moment in (wanted.registered_after, wanted.settled_after) if moment]
    after = [wanted.updated_after] if wanted.updated_after else []
    registered = _between(_TASK.registered_at, wanted.registered_after, wanted.registered_before)
    rest = [registered, *_room_and_states(wanted)]
    return Wanted(
        low=max([*after, *earlier], default=None),
        high=wanted.updated_before,
        checks=[*chain(*rest), *_task_checks(wanted)],
        sources=[*_found_by(*rest), *_task_sources(wanted)],
    )


_UNINDEXED = (Status.COMPLETED.value,)
"""The status of nearly all tasks: in its index they are left out."""


def _room_and_states(wanted: TaskFilter) -> list[list[ColumnElement[bool]]]:
    status = _among({_TASK.status: wanted.status})
    if status and Status.COMPLETED.value not in wanted.status:
        status.append(_TASK.status != literal_column("'completed'"))  # word for word as the index has it
    outcome = _among({_TASK.outcome: wanted.outcome})
    if outcome:
        outcome.append(_TASK.outcome.is_not(None))  # the same
    return [
        _equal({_TASK.room_id: wanted.room_id}),
        outcome,
        status,
        _among({_TASK.tracking: wanted.tracking}),
    ]


def _task_checks(wanted: TaskFilter) -> list[ColumnElement[bool]]:
    """What no index has beside the order, and all of what it has only roughly."""
    row = _TASK
    whose = _equal({_FILE.user_id: wanted.user_id, _FILE.stream_id: wanted.stream_id})
    its_files = select(_FILE.task_id).where(_FILE.task_id == row.task_id, *whose)
    counted = [row.file_counts[status].as_string().is_not(None) for status in wanted.file_status]
    return [
        *_among({row.task_id: wanted.task_id}),
        *_equal({row.app_id: wanted.app_id}),
        *_between(row.settled_at, wanted.settled_after, wanted.settled_before),
        *_between(row.query_deadline, None, wanted.deadline_before),
        *([row.attention.op("&")(wanted.attention) != 0] if wanted.attention else []),
        *(shows_label(row.labels, key, value=value) for key, value in wanted.labels),
        *([or_(*counted)] if counted else []),
        *([holds(its_files, *_among({_FILE.status: wanted.file_status}))] if whose else []),
    ]


def _task_sources(wanted: TaskFilter) -> list[Select[Any]]:
    row = _TASK
    of_files = [
        _equal({_FILE.user_id: wanted.user_id}),
        _equal({_FILE.stream_id: wanted.stream_id}),
        _among({_FILE.status: wanted.file_status}),
    ]
    closing = _between(row.query_deadline, None, wanted.deadline_before) if wanted.tracking == ("active",) else []
    return [
        *_found_by(
            _among({row.task_id: wanted.task_id}),
            _needing_a_person(wanted),
            _between(row.updated_at, wanted.settled_after and wanted.settled_after - OUT_OF_STEP, None),
            _between(row.closed_at, None, wanted.settled_before and wanted.settled_before + OUT_OF_STEP),
            [row.tracking == literal_column("'active'"), *closing] if closing else [],
        ),
        *(select(_FILE.task_id).where(*conditions) for conditions in of_files if conditions),
        *(select(_LABEL.task_id).where(*label) for label in _labels(wanted)),
    ]


def _needing_a_person(wanted: TaskFilter) -> list[ColumnElement[bool]]:
    """What leads to the index of those few; it must stand there word for word."""
    return [_TASK.attention != literal_column("0")] if wanted.attention else []


def _labels(wanted: TaskFilter) -> list[tuple[ColumnElement[bool], ...]]:
    return [(_LABEL.key == key, _LABEL.value == value) for key, value in wanted.labels]


def _found_by(*conditions: list[ColumnElement[bool]]) -> list[Select[Any]]:
    return [select(_TASK.task_id).where(*one) for one in conditions if one]


async def list_files(
    connection: Connection,
    wanted: FileFilter,
    *,
    after: tuple[datetime, str, str] | None,
    limit: int,
) -> Page[tuple[Whose, File]]:
    """A page of files, each with its task, by update oldest first."""
    found = await _files(wanted).page(connection, after, limit)
    return Page([_to_file(row) for row in found.items], found.more)


def _to_file(row: Mapping[str, Any]) -> tuple[Whose, File]:
    return Whose(row["task_id"], row["app_id"], row["room_id"]), to_file(row)


_ITS_TASK = {
    name: select(_TASK[name]).where(_TASK.task_id == _FILE.task_id).scalar_subquery() for name in ("app_id", "room_id")
}
_FILES_SHOWN = select(FILES, *(value.label(name) for name, value in _ITS_TASK.items()))


@lru_cache(KEPT)
def _files(wanted: FileFilter) -> Listing:
    return Listing(
        _FILES_SHOWN,
        _files_wanted(wanted),
        key=(_FILE.updated_at, _FILE.task_id, _FILE.file_id),
        identity=(_FILE.task_id, _FILE.file_id),
        newest_first=False,
    )


def _files_wanted(wanted: FileFilter) -> Wanted:
    """Behind a status an index goes on in the order of update."""
    row = _FILE
    lead = (row.status, wanted.status[0]) if len(wanted.status) == 1 else None
    copies = _between(row.backup_expires_at, None, wanted.backup_expires_before)
    found_by: list[list[ColumnElement[bool]]] = [
        [] if lead else _among({row.status: wanted.status}),
        _among({row.task_id: wanted.task_id}),
        _equal({row.user_id: wanted.user_id}),
        _equal({row.stream_id: wanted.stream_id}),
        [row.backup_told.in_((0, 1, 2)), *copies] if copies else [],  # all there are: the index begins with them
    ]
    of_task = _equal({_ITS_TASK["app_id"]: wanted.app_id, _ITS_TASK["room_id"]: wanted.room_id})
    keys = select(row.task_id, row.file_id)
    sources = [keys.where(*conditions) for conditions in found_by if conditions]
    if wanted.room_id is not None:
        sources.append(keys.join(TASKS, _TASK.task_id == row.task_id).where(_TASK.room_id == wanted.room_id))
    return Wanted(
        lead=lead,
        low=wanted.updated_after,
        high=wanted.updated_before,
        checks=[*chain(*found_by), *of_task],
        sources=sources,
    )


async def list_task_files(
    connection: Connection, task_id: str, *, after: str | None, limit: int
) -> list[tuple[Whose, File]]:
    """A page of one task's files, by their ids."""
    given = {"its_task": task_id, "behind": "" if after is None else after, "at_most": limit}
    return [_to_file(row) for row in await _ITS_FILES.rows(connection, given)]


_ITS_FILES = Kept(
    _FILES_SHOWN.where(
        _FILE.task_id == bindparam("its_task", None, _FILE.task_id.type),
        _FILE.file_id > bindparam("behind", None, _FILE.file_id.type),
    )
    .order_by(_FILE.file_id)
    .limit(bindparam("at_most", None, Integer))
)


def _among(wanted: Mapping[Any, tuple[str, ...]]) -> list[ColumnElement[bool]]:
    return [column.in_(values) for column, values in wanted.items() if values]


def _equal(wanted: Mapping[Any, object]) -> list[ColumnElement[bool]]:
    return [column == value for column, value in wanted.items() if value is not None]


def _between(column: Any, after: datetime | None, before: datetime | None) -> list[ColumnElement[bool]]:
    conditions = []
    if after is not None:
        conditions.append(column > after)
    if before is not None:
        conditions.append(column < before)
    return conditions
