"""Tasks and their files: questions and orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam, delete, literal_column, select

from app.core.recording import (
    Attention,
    Basis,
    File,
    LastError,
    Task,
)
from app.store.connection import Connection
from app.store.kept import Kept
from app.store.many import INSERT, add_rows, among, change_rows, put_rows, send, upsert
from app.store.rows import (
    STAMP_COLUMNS,
    TASK_COLUMNS,
    TASKS_AND_POLLS,
    Stamp,
    beside_told,
    file_values,
    last_error,
    task_values,
    to_file,
    to_task,
    told_values,
)
from app.store.tables import ANSWERS, FILES, LABELS, TASKS, TOMBSTONES


async def add_tasks(connection: Connection, tasks: Sequence[Task]) -> set[str]:
    """Store new tasks; the ids of those that were not there already."""
    if not tasks:
        return set()
    # In one order everywhere, so that two batches with the same ids cannot wait for each other in a circle.
    rows = [task_values(task) for task in sorted(tasks, key=lambda task: task.task_id)]
    created = {row["task_id"] for row in await add_rows(connection, TASKS, rows, _telling_new_ones)}
    await _add_labels(connection, [task for task in tasks if task.task_id in created])
    return created


async def _add_labels(connection: Connection, tasks: Iterable[Task]) -> None:
    rows = [
        {"task_id": task.task_id, "key": key, "value": value} for task in tasks for key, value in task.labels.items()
    ]
    if rows:
        await put_rows(connection, LABELS, rows)


async def find_tasks(connection: Connection, task_ids: Sequence[str], *, lock: bool = False) -> dict[str, Task]:
    """Those of the tasks that exist, without their files; ``lock`` keeps other writers off until the commit."""
    rows = await (_LOCK_THESE if lock else _THESE).rows(connection, {"ids": list(task_ids)})
    return {row["task_id"]: to_task(row) for row in rows}


async def find_task(
    connection: Connection,
    task_id: str,
    *,
    lock: bool = False,
    files: bool = True,
    at_most: int | None = None,
) -> Task | None:
    """One task, with all of its files, or with the first ``at_most`` by the time they began."""
    row = (await connection.execute(_LOCK_ONE if lock else _ONE, {"id": task_id})).one_or_none()
    if row is None:
        return None
    if not files or not row.file_counts:
        return to_task(row)
    given = {"id": task_id, "at_most": at_most}
    rows = await connection.execute(_ITS_FILES if at_most is None else _ITS_FIRST_FILES, given)
    return to_task(row, {file.file_id: to_file(file) for file in rows})


async def find_stamps(connection: Connection, task_ids: Sequence[str]) -> dict[str, Stamp]:
    """The stamps of those of the tasks that exist."""
    rows = await _STAMPS.rows(connection, {"ids": list(task_ids)})
    return {row["task_id"]: Stamp(**row) for row in rows}


async def find_files(
    connection: Connection, task_ids: Sequence[str], file_ids: Sequence[str]
) -> dict[str, dict[str, File]]:
    """Of these tasks, the files of these ids; by task."""
    found: dict[str, dict[str, File]] = {task_id: {} for task_id in task_ids}
    if file_ids:
        given = {"tasks": list(task_ids), "files": list(file_ids)}
        for row in await connection.execute(_THESE_FILES, given):
            found[row.task_id][row.file_id] = to_file(row)
    return found


async def save_task(connection: Connection, before: Task, after: Task) -> None:
    """Write what changed of a task and its files."""
    await change_rows(connection, TASKS, [task_values(after)])
    await save_files(connection, before, after)
    if before.labels != after.labels:
        await send(connection)
        await connection.execute(delete(LABELS).where(LABELS.c.task_id == after.task_id))
        await _add_labels(connection, [after])


async def save_files(connection: Connection, before: Task, after: Task) -> None:
    """Write what changed of a task's files."""
    if changed := _changed(before, after):
        await put_rows(connection, FILES, [file_values(after, file) for file in changed], _or_change)


async def save_tasks(connection: Connection, moves: Sequence[tuple[Task, Task]]) -> None:
    """Write what changed of many tasks and their files; their labels stay as they are."""
    told, tasks = [], []
    for before, after in moves:
        if beside_told(after) != beside_told(before):
            tasks.append(task_values(after))
        elif after.told != before.told:
            told.append({"task_id": after.task_id, "told": told_values(after.told)})
    for rows in filter(None, (told, tasks)):
        await change_rows(connection, TASKS, rows)
    files = [file_values(after, file) for before, after in moves for file in _changed(before, after)]
    if files:
        await put_rows(connection, FILES, files, _or_change)


def _changed(before: Task, after: Task) -> list[File]:
    return [file for file_id, file in after.files.items() if before.files.get(file_id) != file]


async def closing(
    connection: Connection,
    *,
    before: datetime,
    limit: int,
    basis: Basis | None = None,
    flag_missing: bool = False,
) -> list[str]:
    """Active tasks whose window closes before then: those whose beginning the provider told, or those not marked so."""
    is_active = TASKS.c.tracking == literal_column("'active'")  # word for word as the index has it
    conditions = [is_active, TASKS.c.query_deadline <= before]
    if basis is Basis.PROVIDER:
        conditions.append(TASKS.c.began_at.is_not(None))
    if flag_missing:
        conditions.append(TASKS.c.attention.op("&")(int(Attention.EXPIRING)) == 0)
    statement = select(TASKS.c.task_id).where(*conditions).order_by(TASKS.c.query_deadline).limit(limit)
    return list((await connection.execute(statement)).scalars())


async def files_of(connection: Connection, task_ids: list[str]) -> dict[str, dict[str, File]]:
    """All files of these tasks, by task."""
    rows = await connection.execute(select(FILES).where(FILES.c.task_id.in_(task_ids)))
    found: dict[str, dict[str, File]] = {task_id: {} for task_id in task_ids}
    for row in rows:
        found[row.task_id][row.file_id] = to_file(row)
    return found


async def save_answer(connection: Connection, task_id: str, body: str, *, asked_at: datetime, claim_no: int) -> None:
    """Keep the provider's raw answer, unless that of a later claim is kept already."""
    row = {"task_id": task_id, "asked_at": asked_at, "claim_no": claim_no, "body": body}
    await connection.execute(_upsert_answer(connection.dialect.name), row)


async def last_told(connection: Connection, task_id: str) -> tuple[datetime | None, LastError | None] | None:
    """When the last answer was asked for, and the last poll's error; None if there is no such task."""
    statement = (
        select(ANSWERS.c.asked_at, TASKS.c.last_error)
        .select_from(TASKS)
        .outerjoin(ANSWERS, ANSWERS.c.task_id == TASKS.c.task_id)
        .where(TASKS.c.task_id == task_id)
    )
    row = (await connection.execute(statement)).one_or_none()
    return (row.asked_at, last_error(row.last_error)) if row else None


async def find_answer(connection: Connection, task_id: str) -> tuple[datetime, str] | None:
    """The provider's last raw answer and when it was asked for."""
    statement = select(ANSWERS.c.asked_at, ANSWERS.c.body).where(ANSWERS.c.task_id == task_id)
    row = (await connection.execute(statement)).one_or_none()
    return (row.asked_at, row.body) if row else None


async def erase_task(connection: Connection, task: Task) -> None:
    """Remove a task with everything that hangs on it, and leave its tombstone."""
    await connection.execute(delete(TASKS).where(TASKS.c.task_id == task.task_id))
    values = {
        "task_id": task.task_id,
        "app_id": task.app_id,
        "version": task.version,
        "claim_no": task.claim_no,
        "until": task.window[0],
    }
    statement = upsert(connection)(TOMBSTONES).values(values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["task_id"], set_=values))


async def lift_tombstones(connection: Connection, task_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Remove these tasks' tombstones; their versions and claim numbers go on from the ones returned."""
    found = await _LIFT.rows(connection, {"ids": list(task_ids)})
    return {row["task_id"]: (row["version"], row["claim_no"]) for row in found}


# Statements of every poll and callback are built once: building them took longer than running them.

_ONE = select(*TASK_COLUMNS).select_from(TASKS_AND_POLLS).where(TASKS.c.task_id == bindparam("id"))
_LOCK_ONE = _ONE.with_for_update(of=TASKS)
_FIND = select(*TASK_COLUMNS).select_from(TASKS_AND_POLLS).where(among(TASKS.c.task_id, "ids"))
_THESE, _LOCK_THESE = Kept(_FIND), Kept(_FIND.order_by(TASKS.c.task_id).with_for_update(of=TASKS))
_STAMPS = Kept(select(*STAMP_COLUMNS).where(among(TASKS.c.task_id, "ids")))
_THESE_FILES = select(FILES).where(among(FILES.c.task_id, "tasks"), among(FILES.c.file_id, "files"))
_ITS_FILES = select(FILES).where(FILES.c.task_id == bindparam("id"))
_ITS_FIRST_FILES = _ITS_FILES.order_by(FILES.c.began_at.nulls_last(), FILES.c.file_id).limit(bindparam("at_most"))


_LIFT = Kept(
    delete(TOMBSTONES)
    .where(among(TOMBSTONES.c.task_id, "ids"))
    .returning(TOMBSTONES.c.task_id, TOMBSTONES.c.version, TOMBSTONES.c.claim_no)
)


def _telling_new_ones(statement: Any) -> Any:
    return statement.on_conflict_do_nothing().returning(TASKS.c.task_id)


def _or_change(statement: Any) -> Any:
    key = {"task_id", "file_id"}
    columns = {column.name: statement.excluded[column.name] for column in FILES.columns if column.name not in key}
    return statement.on_conflict_do_update(index_elements=["task_id", "file_id"], set_=columns)


@cache
def _upsert_answer(dialect: str) -> Any:
    return newer_answer(INSERT[dialect](ANSWERS))


def newer_answer(statement: Any) -> Any:
    """The INSERT of an answer, but that of a later claim stays."""
    newer = {name: statement.excluded[name] for name in ("asked_at", "claim_no", "body")}
    return statement.on_conflict_do_update(
        index_elements=["task_id"], set_=newer, where=ANSWERS.c.claim_no < statement.excluded.claim_no
    )
