"""Lists of tasks and files: filters, order and pages by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, exists, literal_column, select, tuple_

from app.core.recording import File, Task
from app.store.engine import Connection
from app.store.models import FileRow, LabelRow, TaskRow
from app.store.rows import TASK_COLUMNS, TASKS, to_file, to_task

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
) -> list[Task]:
    """A page of tasks without files: by registration newest first, or by update oldest first."""
    statement = select(*TASK_COLUMNS).select_from(TASKS).where(*_task_conditions(wanted)).limit(limit)
    if order == "registered_at":
        key = tuple_(TaskRow.registered_at, TaskRow.task_id)
        statement = statement.order_by(TaskRow.registered_at.desc(), TaskRow.task_id.desc())
        statement = statement.where(key < after) if after else statement
    else:
        key = tuple_(TaskRow.updated_at, TaskRow.task_id)
        statement = statement.order_by(TaskRow.updated_at, TaskRow.task_id)
        statement = statement.where(key > after) if after else statement
    return [to_task(row) for row in await connection.execute(statement)]


def _task_conditions(wanted: TaskFilter) -> list[ColumnElement[bool]]:
    row = TaskRow
    conditions = [
        *_among({row.task_id: wanted.task_id, row.tracking: wanted.tracking}),
        *_among({row.status: wanted.status, row.outcome: wanted.outcome}),
        *_equal({row.app_id: wanted.app_id, row.room_id: wanted.room_id}),
        *_between(row.registered_at, wanted.registered_after, wanted.registered_before),
        *_between(row.updated_at, wanted.updated_after, wanted.updated_before),
        *_between(row.settled_at, wanted.settled_after, wanted.settled_before),
        *_between(row.query_deadline, None, wanted.deadline_before),
    ]
    if wanted.attention:
        # The first leads to the index of those few; it must stand there word for word.
        conditions.append(row.attention != literal_column("0"))
        conditions.append(row.attention.op("&")(wanted.attention) != 0)
    of_file = [
        *_equal({FileRow.user_id: wanted.user_id, FileRow.stream_id: wanted.stream_id}),
        *_among({FileRow.status: wanted.file_status}),
    ]
    if of_file:
        conditions.append(exists().where(FileRow.task_id == row.task_id, *of_file))
    conditions.extend(
        exists().where(LabelRow.task_id == row.task_id, LabelRow.key == key, LabelRow.value == value)
        for key, value in wanted.labels
    )
    return conditions


async def list_files(
    connection: Connection,
    wanted: FileFilter,
    *,
    after: tuple[datetime, str, str] | None,
    limit: int,
) -> list[tuple[Task, File]]:
    """A page of files, each with its task, by update oldest first."""
    row = FileRow
    conditions = [
        *_among({row.status: wanted.status, row.task_id: wanted.task_id}),
        *_equal({TaskRow.app_id: wanted.app_id, TaskRow.room_id: wanted.room_id}),
        *_equal({row.user_id: wanted.user_id, row.stream_id: wanted.stream_id}),
        *_between(row.updated_at, wanted.updated_after, wanted.updated_before),
        *_between(row.backup_expires_at, None, wanted.backup_expires_before),
    ]
    if after:
        conditions.append(tuple_(row.updated_at, row.task_id, row.file_id) > after)
    statement: Select[Any] = (
        select(FileRow.__table__)
        .join(TaskRow.__table__, TaskRow.task_id == row.task_id)
        .where(*conditions)
        .order_by(row.updated_at, row.task_id, row.file_id)
        .limit(limit)
    )
    return await _with_tasks(connection, (await connection.execute(statement)).all())


async def list_task_files(
    connection: Connection, task_id: str, *, after: str | None, limit: int
) -> list[tuple[Task, File]]:
    """A page of one task's files, by their ids."""
    conditions = [FileRow.task_id == task_id]
    if after is not None:
        conditions.append(FileRow.file_id > after)
    statement = select(FileRow.__table__).where(*conditions).order_by(FileRow.file_id).limit(limit)
    return await _with_tasks(connection, (await connection.execute(statement)).all())


async def _with_tasks(connection: Connection, rows: Any) -> list[tuple[Task, File]]:
    ids = {row.task_id for row in rows}
    statement = select(*TASK_COLUMNS).select_from(TASKS).where(TaskRow.task_id.in_(ids))
    tasks = {row.task_id: to_task(row) for row in await connection.execute(statement)} if ids else {}
    return [(tasks[row.task_id], to_file(row)) for row in rows if row.task_id in tasks]


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
