"""What the workers do at a database of bench.scale_data: claims, polls, hurries, the purge; and what it weighs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, text, update

from app.clock import SystemClock
from app.core.budget import COOL_DOWN
from app.core.recording import FileStatus, Observation, SeenFile, Status
from app.core.schedule import Urgency, claim_order
from app.provider.client import DESCRIBE_RECORD_STATUS, Described
from app.settings import load_settings
from app.store import budget, polls, trips
from app.store import tasks as task_store
from app.store.budget import Permit
from app.store.engine import Database, work_in_background
from app.store.polls import Claim
from app.store.tables import POLLS
from app.tracking.housekeeping import PURGES
from app.wiring import Service, open_service
from bench.report import quantile
from bench.scale_lists import Case

APP_ID, ACTION, PERMITS = 1, DESCRIBE_RECORD_STATUS, 10
HORIZON, FIRST, DUE = timedelta(minutes=10), 40, 20
LONG_AGO = {"since_answer": COOL_DOWN, "since_send": COOL_DOWN}
"""Of a call whose permit may be used again at once."""
BODY = '{"Code": 0, "Data": {"Status": 2, "RecordFiles": []}}'


@asynccontextmanager
async def service(url: str, now: datetime) -> AsyncIterator[Service]:
    """The service without a provider, at the time of the data."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    clock = SystemClock()
    clock.synchronise(now)
    settings = load_settings(
        database_url=url, zego_app_id=APP_ID, zego_server_secret="no-provider", zego_api_url="http://127.0.0.1:9"
    )
    async with open_service(settings, clock=clock) as opened:
        yield opened


async def claims(of: Service, number: int) -> list[float]:
    """Milliseconds of each claim with its permit, its transaction included; but for the first, which prepare their
    statements: one for each order of urgency."""
    took = []
    for turn in range(FIRST + number):
        await _make_due(of, turn)
        began = time.perf_counter()
        _, permit = await _claim(of, turn)
        took.append((time.perf_counter() - began) * 1000)
        async with of.database.write(durable=False) as connection:
            await budget.give_back_unused(connection, permit)
    return took[FIRST:]


async def commits(of: Service, number: int) -> list[float]:
    """Milliseconds of each of so many commits that PostgreSQL writes to the disk, of next to nothing."""
    took = []
    for _ in range(number):
        async with of.database.at_once() as connection:
            began = time.perf_counter()
            await connection.execute(_NEXT_TO_NOTHING)
            took.append((time.perf_counter() - began) * 1000)
    return took


_NEXT_TO_NOTHING = text("SELECT pg_logical_emit_message(true, 'bench', '')")


async def _claim(of: Service, turn: int) -> tuple[Claim, Permit]:
    """As the poller claims: by one statement on PostgreSQL."""
    order, now = claim_order(turn), of.clock.now()
    if of.database.is_sqlite:
        async with of.database.write(durable=False) as connection:
            await budget.state(connection, APP_ID, ACTION)
            permit = await budget.take(connection, APP_ID, ACTION, PERMITS, holder="bench")
            claim = await polls.claim(connection, APP_ID, order=order, now=now, horizon=HORIZON)
    else:
        async with of.database.at_once() as connection:
            found = await trips.claim(
                connection, APP_ID, ACTION, limit=PERMITS, holder="bench", order=order, now=now, horizon=HORIZON
            )
        claim, permit = found.claim, found.permit
    assert claim is not None
    assert permit is not None
    return claim, permit


async def _make_due(of: Service, turn: int) -> None:
    """Now and then some more: of a thousand tasks fewer are due than are claimed."""
    if turn % DUE == 0:
        async with of.database.write() as connection:
            soonest = select(POLLS.c.task_id).where(POLLS.c.app_id == APP_ID).order_by(POLLS.c.next_poll_at).limit(DUE)
            await connection.execute(
                update(POLLS)
                .where(POLLS.c.task_id.in_(soonest), POLLS.c.next_poll_at > of.clock.now())
                .values(next_poll_at=of.clock.now())
            )


async def whole_polls(of: Service, number: int) -> list[float]:
    """Milliseconds of claim and record together, but for the first; one answer in five tells something new."""
    took = []
    for turn in range(FIRST + number):
        await _make_due(of, turn)
        began = time.perf_counter()
        claim, permit = await _claim(of, turn)
        told = _told(claim, of.clock.now(), news=turn % 5 == 0)
        if not await of.observations.observe_at_once(claim, told, permit, lambda: LONG_AGO):
            async with of.database.write(durable=False) as connection:
                await of.observations.observe(connection, claim, told)
                await budget.give_back(connection, permit, **LONG_AGO)
        took.append((time.perf_counter() - began) * 1000)
    return took[FIRST:]


def _told(taken: Claim, now: datetime, *, news: bool) -> Described:
    files: tuple[SeenFile, ...] = ()
    if news:
        files = (SeenFile(file_id=f"new-{taken.claim_no}", status=FileStatus.RECORDING, status_code=1),)
    seen = Observation(claim_no=taken.claim_no, asked_at=now, status=Status.ONGOING, files=files)
    return Described(seen, BODY, request_id="request")


async def hurries(of: Service, task_ids: list[str]) -> None:
    """What a callback does to the queue, once for each of these tasks."""
    for task_id in task_ids:
        async with of.database.write() as connection:
            task = await task_store.find_task(connection, task_id, lock=True, files=False)
            assert task is not None
            hurry = polls.Hurry(task_id, APP_ID, of.clock.now(), task.claim_no)
            await polls.hurry(connection, [hurry], Urgency.HURRIED)


async def hot_share(database: Database) -> dict[str, tuple[int, int]]:
    """Of each table that polls and callbacks update, on PostgreSQL: updates, and those that touched no index."""
    await asyncio.sleep(1.5)  # they are told of once a second
    async with database.read() as connection:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        rows = await connection.execute(
            text(
                "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
                "WHERE relname IN ('tasks', 'polls', 'files', 'answers')"
            )
        )
        return {row[0]: (row[1], row[2]) for row in rows}


async def purged_while_read(
    database: Database, reads: list[Case], *, before: datetime, seconds: float
) -> tuple[list[float], list[float], int]:
    """Milliseconds of reads without and with the purge beside them, and how many tasks went meanwhile."""
    calm = await _read_for(database, reads, seconds)
    gone = 0

    async def purge() -> None:
        nonlocal gone
        work_in_background()
        while True:
            for name, (one, limit) in PURGES.items():
                async with database.write() as connection:
                    number = await one(connection, before=before, limit=limit)
                gone += number if name == "tasks" else 0

    purging = asyncio.create_task(purge())
    busy = await _read_for(database, reads, seconds)
    purging.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await purging
    return calm, busy, gone


async def _read_for(database: Database, reads: list[Case], seconds: float) -> list[float]:
    took = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        case = random.choice(reads)
        began = time.perf_counter()
        async with database.read() as connection:
            await case.ask(connection)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.01)
    return took


async def weights(database: Database) -> dict[str, tuple[int, int]]:
    """Bytes of each table, and of its indexes."""
    if database.is_sqlite:
        statement = (
            "SELECT m.tbl_name, sum(CASE WHEN m.type = 'table' THEN s.pgsize ELSE 0 END), "
            "sum(CASE WHEN m.type = 'index' THEN s.pgsize ELSE 0 END) FROM sqlite_master m "
            "JOIN dbstat s ON s.name = m.name WHERE s.aggregate GROUP BY m.tbl_name"
        )
    else:
        statement = (
            "SELECT relname, pg_table_size(relid), pg_indexes_size(relid) FROM pg_stat_user_tables "
            "WHERE pg_table_size(relid) > 0"
        )
    async with database.unhurried() as connection:
        rows = await connection.execute(text(statement))
        return {row[0]: (int(row[1]), int(row[2])) for row in rows}


def told(took: list[float]) -> str:
    return f"{quantile(took, 0.5):.2f} / {quantile(took, 0.99):.2f} ms"
