"""The permits as rows: who may call when, on both engines.

PostgreSQL's budget runs by its own clock, so time passes here by moving the rows into the past.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from app.core.budget import COOL_DOWN, DOUBT, HEAD_START, LEASE
from app.store import budget as store
from app.store.budget import Permit
from app.store.connection import Connection
from app.store.engine import Database
from app.store.tables_calls import BUDGETS, PERMITS
from app.wiring import Service
from tests.world import HandClock

APP, ACTION, LIMIT = 1, "DescribeRecordStatus", 10


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, HandClock())
    async with database.write() as connection:
        await store.ensure(connection, APP, ACTION, LIMIT)
    yield database
    await database.close()


async def pass_time(database: Database, seconds: float) -> None:
    async with database.write() as connection:
        await connection.execute(
            update(PERMITS).values(free_at=PERMITS.c.free_at - seconds, doubt_at=PERMITS.c.doubt_at - seconds)
        )
        await connection.execute(update(BUDGETS).values(probe_at=BUDGETS.c.probe_at - seconds))


async def take(database: Database, allowed: int = LIMIT) -> Permit | None:
    async with database.write() as connection:
        return await store.take(connection, APP, ACTION, allowed, holder="me")


async def take_all(database: Database, count: int = LIMIT) -> list[Permit]:
    taken = [await take(database) for _ in range(count)]
    assert None not in taken
    return [permit for permit in taken if permit]


async def stand(database: Database, allowed: int = LIMIT) -> store.Permits:
    async with database.read() as connection:
        return await store.permits(connection, APP, ACTION, allowed)


async def permits_for(database: Database, holder: str) -> store.Permits:
    async with database.read() as connection:
        return await store.permits(connection, APP, ACTION, LIMIT, holder=holder)


async def give_back(database: Database, permit: Permit, *, since_answer: float = 0.0, since_send: float = 0.1) -> None:
    async with database.write() as connection:
        await store.give_back(connection, permit, since_answer=since_answer, since_send=since_send)


async def give_up(database: Database, permit: Permit) -> None:
    async with database.write() as connection:
        await store.give_up(connection, permit)


async def test_there_are_as_many_permits_as_the_limit_and_each_has_one_holder(database: Database) -> None:
    permits = await take_all(database)
    assert {permit.slot for permit in permits} == set(range(LIMIT))
    assert await take(database) is None
    assert (await stand(database)).in_flight == LIMIT


async def test_creating_the_rows_again_frees_nothing(database: Database) -> None:
    await take_all(database)
    async with database.write() as connection:
        await store.ensure(connection, APP, ACTION, LIMIT)
    assert await take(database) is None


async def test_a_permit_comes_back_one_second_after_its_answer(database: Database) -> None:
    permit, *_ = await take_all(database)
    await give_back(database, permit)
    assert await take(database) is None
    await pass_time(database, 0.9)
    assert await take(database) is None
    await pass_time(database, COOL_DOWN - 0.9)
    again = await take(database)
    assert again is not None
    assert again.slot == permit.slot


async def test_the_process_that_used_a_permit_last_has_a_head_start_on_it(database: Database) -> None:
    permit, *_ = await take_all(database)
    await give_back(database, permit, since_answer=COOL_DOWN)
    async with database.write() as connection:
        assert await store.take(connection, APP, ACTION, LIMIT, holder="another") is None
    stand = await permits_for(database, "another")
    assert 0 < stand.wait <= HEAD_START + 0.001
    await pass_time(database, HEAD_START + 0.01)
    async with database.write() as connection:
        assert await store.take(connection, APP, ACTION, LIMIT, holder="another") is not None


async def test_the_second_counts_from_the_answer_not_from_its_recording(database: Database) -> None:
    permit, *_ = await take_all(database)
    await give_back(database, permit, since_answer=COOL_DOWN)
    assert await take(database) is not None


async def test_a_call_that_never_left_frees_its_permit_at_once(database: Database) -> None:
    permit, *_ = await take_all(database)
    async with database.write() as connection:
        await store.give_back_unused(connection, permit)
    assert await take(database) is not None


async def test_only_the_holder_of_the_fence_returns_a_permit(database: Database) -> None:
    stale, *_ = await take_all(database)
    await pass_time(database, LEASE + DOUBT + 1)
    await take_all(database)
    async with database.write() as connection:
        await store.give_back_unused(connection, stale)
    assert await take(database) is None


async def test_a_permit_in_doubt_waits_for_five_minutes(database: Database) -> None:
    permits = await take_all(database)
    for permit in permits:
        await give_up(database, permit)
    await pass_time(database, DOUBT - 1)
    assert (await stand(database)).in_doubt == LIMIT
    assert await take(database) is None
    await pass_time(database, 2)
    assert await take(database) is not None


async def test_an_answer_to_a_later_call_ends_doubts_one_second_after_it(database: Database) -> None:
    doubtful, later, *_ = await take_all(database)
    await give_up(database, doubtful)
    await pass_time(database, 1)
    await give_back(database, later, since_send=0.5)
    assert (await stand(database)).in_doubt == 0
    assert await take(database) is None
    await pass_time(database, COOL_DOWN)
    assert len([await take(database), await take(database)]) == 2
    assert await take(database) is None


async def test_an_answer_to_an_earlier_call_ends_no_doubt(database: Database) -> None:
    doubtful, earlier, *_ = await take_all(database)
    await give_up(database, doubtful)
    await pass_time(database, 1)
    await give_back(database, earlier, since_send=2)
    assert (await stand(database)).in_doubt == 1


async def test_the_answer_to_a_probe_ends_doubts_as_well(database: Database) -> None:
    for permit in await take_all(database):
        await give_up(database, permit)
    await pass_time(database, 1)
    async with database.write() as connection:
        await store.release_doubts(connection, APP, ACTION, since_answer=0.0, since_send=0.2)
    assert (await stand(database)).cooling == LIMIT


async def test_the_permit_of_a_crashed_holder_is_in_doubt_once_its_lease_is_over(database: Database) -> None:
    crashed, other, *_ = await take_all(database)
    await pass_time(database, LEASE + 1)
    assert (await stand(database)).in_doubt == LIMIT
    assert await take(database) is None
    await give_back(database, other, since_send=0.5)
    await pass_time(database, COOL_DOWN)
    taken = [permit.slot for permit in [await take(database) for _ in range(LIMIT)] if permit]
    assert crashed.slot in taken


async def test_permits_in_flight_are_not_taken_for_doubtful_by_a_later_answer(database: Database) -> None:
    first, *others = await take_all(database)
    await pass_time(database, 5)
    await give_back(database, first, since_send=0.1)
    assert (await stand(database)).in_flight == len(others)


async def test_a_cut_limit_counts_permits_in_use_against_it(database: Database) -> None:
    assert await take(database, allowed=2) is not None
    assert await take(database, allowed=2) is not None
    assert await take(database, allowed=2) is None


@pytest.mark.parametrize("jump", [3600.0, 86400.0 * 400], ids=["an hour", "since another boot"])
async def test_a_clock_that_steps_back_blocks_nobody_for_longer_than_the_rules_do(
    database: Database, jump: float
) -> None:
    cooling, doubtful, *_ = await take_all(database)
    await give_back(database, cooling)
    await give_up(database, doubtful)
    await pass_time(database, -jump)
    assert (await stand(database)).astray
    async with database.write() as connection:
        await store.heal(connection, APP, ACTION)
    after = await stand(database)
    assert not after.astray
    assert after.wait <= COOL_DOWN
    await pass_time(database, LEASE + DOUBT + 1)
    assert (await stand(database)).free == LIMIT


async def test_healing_frees_no_permit_early(database: Database) -> None:
    await take_all(database)
    async with database.write() as connection:
        await store.heal(connection, APP, ACTION)
    assert (await stand(database)).in_flight == LIMIT


async def test_one_probe_at_a_time_and_none_too_soon_after_another(database: Database) -> None:
    async def probe() -> bool:
        async with database.write() as connection:
            return await store.take_probe(connection, APP, ACTION, wait=1.0, longest=LEASE)

    assert await probe()
    assert not await probe()
    await pass_time(database, LEASE + 0.1)
    assert await probe()


async def test_a_turn_whose_commit_fails_takes_no_place_in_this_process(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, never = service.budgets[APP], asyncio.Event()

    async def say_all_but_that(connection: Connection, words: str) -> None:
        if words == "COMMIT":
            raise RuntimeError("gone")
        await say(connection, words)

    say = Connection.say
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "say", say_all_but_that)
        for _ in range(LIMIT):
            with pytest.raises(RuntimeError, match="gone"):
                await budget.turn(never)
    assert await asyncio.wait_for(budget.turn(never), 3) is not None
