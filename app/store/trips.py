"""A poll in two trips to PostgreSQL: one statement claims, another records the answer, if it changes nothing.

What is several statements elsewhere is one here: its parts run on one snapshot, and each depends on the one before.
What was read with the claim is written only if nobody has written the task since. SQLite has no such statements, nor
trips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app.core.budget import REGAIN_EVERY
from app.core.recording import Task
from app.core.schedule import Plan, Urgency
from app.store import budget, polls
from app.store.budget import Permit
from app.store.budget_clock import budget_clock
from app.store.connection import Connection
from app.store.kept import Kept
from app.store.polls import CLAIM_LEASE, Claim
from app.store.rows import task_values, to_file, to_task
from app.store.tables import ANSWERS, FILES, POLLS, TASKS
from app.store.tables_calls import BUDGETS, PERMITS
from app.store.tasks import newer_answer

MANY_FILES = 50
"""A claim does not tell a task that has more: its row comes once more with each."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A permit and a task to ask about, as far as there were any.

    ``is_calm``: all permits may be used. If not, none was taken: how many may be is `budget`'s to tell. ``wait``:
    seconds until one is free, at most 0 if one was; None if none is even cooling.
    """

    is_calm: bool
    wait: float | None
    permit: Permit | None
    claim: Claim | None


async def claim(
    connection: Connection,
    app_id: int,
    action: str,
    *,
    limit: int,
    holder: str,
    order: Sequence[Urgency],
    now: datetime,
    horizon: timedelta,
) -> Claimed:
    """What `budget.take` and `polls.claim` do, unless the app is paused, throttled or kept from some of its permits.

    The connection is one of `Database.at_once`.
    """
    until = now + CLAIM_LEASE
    given = {"of_app": app_id, "of_action": action, "allowed": limit, "me": holder, "regained": REGAIN_EVERY * limit}
    given |= {"now": now, "closing": now + horizon, "until": until}
    rows = await _claim(tuple(order)).rows(connection, given)
    row = rows[0]
    permit = Permit(app_id, action, row["slot"], row["fence"]) if row["slot"] is not None else None
    if row["claimed_task"] is None:
        return Claimed(row["is_calm"], row["wait"], permit, None)
    task = None
    if len(rows) <= MANY_FILES:
        files = {file["f_file_id"]: to_file(_part(file, "f_")) for file in rows if file["f_file_id"] is not None}
        task = to_task(_part(row, "t_") | {"next_poll_at": until}, files)
    claim = Claim(
        row["claimed_task"], row["claimed_no"], until, Urgency(row["claimed_as"]), task, row["mark"] if task else ""
    )
    return Claimed(row["is_calm"], row["wait"], permit, claim)


def _part(row: Any, prefix: str) -> dict[str, Any]:
    """Of a row of several tables, the columns of one."""
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


@cache
def _claim(order: tuple[Urgency, ...]) -> Kept:
    regained = BUDGETS.c.refused_at < budget_clock() - bindparam("regained")
    switches = (BUDGETS.c.paused.is_(None), ~BUDGETS.c.switched_off, BUDGETS.c.cap.is_(None))
    is_calm = and_(*switches, or_(BUDGETS.c.cut_to.is_(None), regained))
    this = select(is_calm.label("is_calm")).where(*budget.THIS_BUDGET).cte("this")
    permit = budget.TAKE.where(exists().where(this.c.is_calm)).cte("permit")
    claimed = polls.claiming(order).where(exists().where(permit.c.slot.is_not(None))).cte("claimed")
    its_files = select(FILES).where(FILES.c.task_id == claimed.c.task_id).limit(MANY_FILES + 1).lateral("its_files")
    statement = select(
        this.c.is_calm,
        budget.SOONEST.label("wait"),
        permit.c.slot,
        permit.c.fence,
        claimed.c.task_id.label("claimed_task"),
        claimed.c.claim_no.label("claimed_no"),
        claimed.c.claimed_as,
        literal_column("tasks.xmin::text").label("mark"),
        *(column.label(f"t_{column.name}") for column in (*TASKS.columns, POLLS.c.listed)),
        *(column.label(f"f_{column.name}") for column in its_files.columns),
    ).select_from(
        this.outerjoin(permit, true())
        .outerjoin(claimed, true())
        .outerjoin(TASKS, TASKS.c.task_id == claimed.c.task_id)
        .outerjoin(POLLS, POLLS.c.task_id == claimed.c.task_id)
        .outerjoin(its_files, true())
    )
    return Kept(statement)


async def record(
    connection: Connection,
    claim: Claim,
    permit: Permit,
    task: Task,
    plan: Plan,
    *,
    body: str,
    asked_at: datetime,
    files: Sequence[str],
    since: Mapping[str, float],
) -> bool:
    """Write a task after an answer, without its files; False if somebody has written the task since the claim.

    ``files``: those of which it told again what is known. ``since``: seconds, as `budget.give_back` wants them; the
    permit is given back in either case.
    """
    given = {f"to_{name}": value for name, value in task_values(task).items()}
    given |= {"mark": claim.mark, "told_files": list(files)}
    given |= {"answered_task": task.task_id, "answered_claim": claim.claim_no}
    given |= {"asked_at": asked_at, "body": body}
    given |= polls.given(claim) | {f"new_{name}": value for name, value in asdict(plan).items()}
    given |= budget.given(permit) | dict(since)
    (row,) = await _RECORD.rows(connection, given)
    return bool(row["kept"])


_TOLD = bindparam("told_files", type_=ARRAY(Text()))


def _record() -> Any:
    values = {one.name: bindparam(f"to_{one.name}", type_=one.type) for one in TASKS.columns if one.name != "task_id"}
    kept = (
        update(TASKS)
        .where(TASKS.c.task_id == bindparam("to_task_id"), literal_column("tasks.xmin::text") == bindparam("mark"))
        .values(values)
        .returning(TASKS.c.task_id)
        .cte("kept")
    )
    is_kept = exists().where(kept.c.task_id.is_not(None))
    names = ("answered_task", "asked_at", "answered_claim", "body")
    columns = [ANSWERS.c[name] for name in ("task_id", "asked_at", "claim_no", "body")]
    told = [bindparam(name, type_=column.type) for name, column in zip(names, columns, strict=True)]
    answer = newer_answer(
        insert(ANSWERS).from_select(columns, select(*(cast(one, one.type) for one in told)).where(is_kept))
    )
    parts = (
        answer.returning(ANSWERS.c.task_id).cte("answer"),
        polls.PLAN.where(is_kept).cte("planned"),
        update(FILES)
        .where(FILES.c.task_id == bindparam("to_task_id"), FILES.c.file_id == any_(_TOLD), is_kept)
        .values(claim_no=bindparam("answered_claim", type_=ANSWERS.c.claim_no.type))
        .returning(FILES.c.file_id)
        .cte("told_again"),
        budget.GIVE_BACK.returning(PERMITS.c.slot).cte("given_back"),
        budget.FORGET_MISSES.returning(BUDGETS.c.app_id).cte("forgotten"),
    )
    return select(func.count().label("kept")).select_from(kept).add_cte(*parts)


_RECORD = Kept(_record())
