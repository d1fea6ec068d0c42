"""The call budget's rows: permits, and what the app's calls have come to. All times on the budget's clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Double, Table, and_, bindparam, case, func, or_, select, update

from app.core.budget import COOL_DOWN, DOUBT, HEAD_START, LEASE, AppState
from app.store.budget_clock import budget_clock
from app.store.connection import Connection
from app.store.many import upsert
from app.store.tables_calls import BUDGETS, PERMITS

SWITCHES = ("switched_off", "cap")
"""The fields of AppState that operators set."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one call. Only the holder of its ``fence`` gives it back."""

    app_id: int
    action: str
    slot: int
    fence: int


@dataclass(frozen=True, slots=True)
class Permits:
    """How the permits of an app and action stand."""

    free: int
    cooling: int
    in_flight: int
    in_doubt: int
    wait: float
    """Seconds after which one may be free; 0 if one is."""
    astray: bool
    """Some time lies farther ahead than any rule puts it: the clock stepped back, or the machine was started anew."""


async def ensure(connection: Connection, app_id: int, action: str, limit: int) -> None:
    """Create what rows are missing; those that are there stay as they are."""
    slots = [{"app_id": app_id, "action": action, "slot": slot, "fence": 0, "free_at": 0.0} for slot in range(limit)]
    await connection.execute(upsert(connection)(PERMITS).on_conflict_do_nothing(), slots)
    state = {"app_id": app_id, "action": action} | asdict(AppState())
    await connection.execute(upsert(connection)(BUDGETS).values(state).on_conflict_do_nothing())


async def take(connection: Connection, app_id: int, action: str, allowed: int, *, holder: str) -> Permit | None:
    """Take the permit that has been free the longest, among the first ``allowed``; None if none is free.

    A permit that another process used last is free a head start later.
    """
    about = {"of_app": app_id, "of_action": action, "allowed": allowed, "me": holder}
    row = (await connection.execute(TAKE, about)).one_or_none()
    return Permit(app_id, action, row.slot, row.fence) if row else None


async def give_back(connection: Connection, permit: Permit, *, since_answer: float, since_send: float) -> None:
    """Return a permit whose call was answered ``since_answer`` seconds ago.

    The answer is evidence: what was given up before this call was sent (``since_send`` seconds ago) has arrived by now.
    """
    await connection.execute(GIVE_BACK, given(permit) | {"since_answer": since_answer, "since_send": since_send})


def given(permit: Permit) -> dict[str, Any]:
    """What GIVE_BACK wants to know of the permit."""
    return {"of_app": permit.app_id, "of_action": permit.action, "my_slot": permit.slot, "my_fence": permit.fence}


async def release_doubts(
    connection: Connection, app_id: int, action: str, *, since_answer: float, since_send: float
) -> None:
    """A call of another action was answered: what was given up before it was sent has arrived by now."""
    statement = (
        update(PERMITS)
        .where(*_of(PERMITS, app_id, action), PERMITS.c.doubt_at < budget_clock() - since_send)
        .values(doubt_at=None, free_at=budget_clock() + (COOL_DOWN - since_answer))
    )
    await connection.execute(statement)


async def give_back_unused(connection: Connection, permit: Permit) -> None:
    """Return a permit whose call never left: nothing of it can arrive."""
    await connection.execute(update(PERMITS).where(_mine(permit)).values(doubt_at=None, free_at=budget_clock()))


async def give_up(connection: Connection, permit: Permit) -> None:
    """Keep a permit in doubt: its call was sent, nobody answered, and it may still arrive."""
    await connection.execute(
        update(PERMITS).where(_mine(permit)).values(doubt_at=budget_clock(), free_at=budget_clock() + DOUBT)
    )


async def permits(connection: Connection, app_id: int, action: str, allowed: int, *, holder: str = "") -> Permits:
    """How the first ``allowed`` permits stand, and when ``holder`` may take one."""
    now = budget_clock().label("now")
    head_start = _head_start(holder).label("head_start")
    statement = select(PERMITS.c.doubt_at, PERMITS.c.free_at, head_start, now).where(
        *_of(PERMITS, app_id, action), PERMITS.c.slot < allowed
    )
    rows = (await connection.execute(statement)).all()
    free = sum(row.free_at <= row.now for row in rows)
    cooling = [row.free_at - row.now for row in rows if row.doubt_at is None and row.free_at > row.now]
    in_flight = sum(row.doubt_at is not None and row.doubt_at > row.now for row in rows)
    in_doubt = sum(row.doubt_at is not None and row.doubt_at <= row.now < row.free_at for row in rows)
    # A permit in flight cannot be free before its answer has come and cooled down.
    ready = [row.free_at + row.head_start - row.now for row in rows if row.doubt_at is None or row.free_at <= row.now]
    wait = max(0.0, min([*ready, COOL_DOWN]))
    astray = max(cooling, default=0.0) > COOL_DOWN or any(row.free_at > row.now + LEASE + DOUBT for row in rows)
    return Permits(free, len(cooling), in_flight, in_doubt, wait, astray)


async def heal(connection: Connection, app_id: int, action: str) -> None:
    """Cut times that lie too far ahead to what the rules allow at most."""
    now = budget_clock()
    cooling = and_(PERMITS.c.doubt_at.is_(None), PERMITS.c.free_at > now + COOL_DOWN)
    held = or_(PERMITS.c.doubt_at > now + LEASE, PERMITS.c.free_at > now + (LEASE + DOUBT))
    await connection.execute(
        update(PERMITS)
        .where(*_of(PERMITS, app_id, action), or_(cooling, held))
        .values(
            doubt_at=case((PERMITS.c.doubt_at.is_(None), None), else_=_least(PERMITS.c.doubt_at, now + LEASE)),
            free_at=_least(
                PERMITS.c.free_at, now + case((PERMITS.c.doubt_at.is_(None), COOL_DOWN), else_=LEASE + DOUBT)
            ),
        )
    )


async def state(connection: Connection, app_id: int, action: str, *, lock: bool = False) -> tuple[AppState, float]:
    """What the app's calls have come to, and the time on the budget's clock."""
    row = (await connection.execute(_LOCK_STATE if lock else _STATE, {"of_app": app_id, "of_action": action})).one()
    return AppState(**{name: row._mapping[name] for name in _STATE_FIELDS}), row.now


async def save_state(connection: Connection, app_id: int, action: str, state: AppState) -> None:
    """Write what the app's calls have come to; not what operators set."""
    come_to = {name: value for name, value in asdict(state).items() if name not in SWITCHES}
    await connection.execute(update(BUDGETS).where(*_of(BUDGETS, app_id, action)).values(**come_to))


async def switch(connection: Connection, app_id: int, action: str, **switches: Any) -> None:
    """Set some of SWITCHES; every process heeds them at its next call."""
    await connection.execute(update(BUDGETS).where(*_of(BUDGETS, app_id, action)).values(**switches))


async def forget_misses(connection: Connection, app_id: int, action: str) -> None:
    """A good answer: the misses in a row are over, and so is a pause."""
    await connection.execute(FORGET_MISSES, {"of_app": app_id, "of_action": action})


async def take_probe(connection: Connection, app_id: int, action: str, *, wait: float, longest: float) -> bool:
    """Whether this process may send a probe now; if so, nobody else may before its end, nor ``wait`` s after it.

    The probe lies within ``longest`` seconds.
    """
    too_far = BUDGETS.c.probe_at > budget_clock() + max(wait, longest)  # the clock stepped back
    statement = (
        update(BUDGETS)
        .where(*_of(BUDGETS, app_id, action), or_(BUDGETS.c.probe_at <= budget_clock(), too_far))
        .values(probe_at=budget_clock() + longest)
    )
    return (await connection.execute(statement.returning(BUDGETS.c.app_id))).first() is not None


def _head_start(holder: Any) -> ColumnElement[float]:
    others = and_(PERMITS.c.holder.is_not(None), PERMITS.c.holder != holder)
    return case((others, HEAD_START), else_=0.0)


def _of(table: Table, app_id: int, action: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_id == app_id, table.c.action == action


def _mine(permit: Permit) -> ColumnElement[bool]:
    return and_(
        *_of(PERMITS, permit.app_id, permit.action),
        PERMITS.c.slot == permit.slot,
        PERMITS.c.fence == permit.fence,
    )


def _least(first: Any, second: Any) -> ColumnElement[float]:
    return case((first < second, first), else_=second)


# Statements of every poll are built once: building them took longer than running them.

_STATE_FIELDS = [field.name for field in fields(AppState)]
_THESE_PERMITS = (PERMITS.c.app_id == bindparam("of_app"), PERMITS.c.action == bindparam("of_action"))
THIS_BUDGET = (BUDGETS.c.app_id == bindparam("of_app"), BUDGETS.c.action == bindparam("of_action"))

_FREE = (
    select(PERMITS.c.slot)
    .where(
        *_THESE_PERMITS,
        PERMITS.c.slot < bindparam("allowed"),
        PERMITS.c.free_at <= budget_clock() - _head_start(bindparam("me")),
    )
    .order_by(PERMITS.c.free_at)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
SOONEST = (
    select(func.min(PERMITS.c.free_at + _head_start(bindparam("me"))) - budget_clock())
    .where(
        *_THESE_PERMITS,
        PERMITS.c.slot < bindparam("allowed"),
        or_(PERMITS.c.doubt_at.is_(None), PERMITS.c.free_at <= budget_clock()),
    )
    .scalar_subquery()
)
TAKE = (
    update(PERMITS)
    .where(*_THESE_PERMITS, PERMITS.c.slot == _FREE)
    .values(
        fence=PERMITS.c.fence + 1,
        holder=bindparam("me"),
        doubt_at=budget_clock() + LEASE,
        free_at=budget_clock() + (LEASE + DOUBT),
    )
    .returning(PERMITS.c.slot, PERMITS.c.fence)
)
GIVE_BACK = (
    update(PERMITS)
    .where(
        *_THESE_PERMITS,
        or_(
            and_(PERMITS.c.slot == bindparam("my_slot"), PERMITS.c.fence == bindparam("my_fence")),
            PERMITS.c.doubt_at < budget_clock() - bindparam("since_send", type_=Double()),
        ),
    )
    .values(doubt_at=None, free_at=budget_clock() + COOL_DOWN - bindparam("since_answer", type_=Double()))
)
_STATE = select(*(BUDGETS.c[name] for name in _STATE_FIELDS), budget_clock().label("now")).where(*THIS_BUDGET)
_LOCK_STATE = _STATE.with_for_update(of=BUDGETS)
FORGET_MISSES = (
    update(BUDGETS)
    .where(*THIS_BUDGET, or_(BUDGETS.c.misses > 0, BUDGETS.c.paused.is_not(None)))
    .values(misses=0, paused=None)
)
