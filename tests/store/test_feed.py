"""The order of events: a reader that follows sees each once, though commits come out of order."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, insert, select, text

from app.core.public import Event
from app.errors import DatabaseUnavailable
from app.store import events, feed, schema
from app.store.connection import Connection
from app.store.engine import Database
from app.store.feed import FeedFilter
from app.store.tables import EVENTS
from tests.world import APP, NOON, OTHER_APP, HandClock, task_id

EVERYTHING = FeedFilter()
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, HandClock())
    yield database
    await database.close()


def event(name: str, kind: str = "task.updated", *, task: int = 0, app_id: int = APP, **labels: str) -> dict[str, Any]:
    """An event as it is stored."""
    told = Event(type=kind, data={"task": {"labels": labels}, "previous": {}})
    return events.row(told, id=name, at=NOON, app_id=app_id, task_id=task_id(task), version=1, source="poll")


async def write(database: Database, *names: str, **more: Any) -> None:
    async with database.write() as connection:
        await events.add(connection, [event(name, **more) for name in names])


class Reader:
    """Follows the feed from the oldest event on."""

    def __init__(self, database: Database, wanted: FeedFilter = EVERYTHING, limit: int = 7) -> None:
        self.database, self.wanted, self.limit = database, wanted, limit
        self.after, self.seqs, self.names = 0, list[int](), list[str]()

    async def read(self) -> list[str]:
        """What is new, as far as it may be read."""
        new: list[str] = []
        more = True
        while more:
            async with self.database.read() as connection:
                page = await feed.page(connection, self.after, self.wanted, self.limit)
                assert self.after == 0 or not await feed.is_lost(connection, self.after)
            assert page.next_after >= self.after
            self.after, more = page.next_after, page.more
            self.seqs += [one.seq for one in page.events]
            new += [one.id.removeprefix("evt_") for one in page.events]
        self.names += new
        return new


class NaiveReader(Reader):
    """What everybody writes first: after the last one seen."""

    async def read(self) -> list[str]:
        async with self.database.read() as connection:
            statement = select(EVENTS.c.seq, EVENTS.c.id).where(EVENTS.c.seq > self.after).order_by(EVENTS.c.seq)
            found = (await connection.execute(statement)).all()
        self.after = found[-1].seq if found else self.after
        new = [one.id.removeprefix("evt_") for one in found]
        self.names += new
        return new


class Writer:
    """A transaction held open."""

    def __init__(self, database: Database) -> None:
        self.database, self._stack = database, AsyncExitStack()
        self.written: list[str] = []

    async def write(self, *names: str) -> None:
        if not self.written:
            self.connection = await self._stack.enter_async_context(self.database.read())
            await self._stack.enter_async_context(self.database.transaction(self.connection))
        await events.add(self.connection, [event(name) for name in names])
        self.written += names

    async def commit(self) -> list[str]:
        await self._stack.aclose()
        return self.written

    async def roll_back(self) -> None:
        undo = ZeroDivisionError()
        with suppress(ZeroDivisionError):
            await self._stack.__aexit__(type(undo), undo, None)


# -- commits out of order


async def two_commits_out_of_order(database: Database, reader: Reader) -> list[list[str]]:
    first, second = Writer(database), Writer(database)
    await first.write("first")
    await second.write("second")
    await second.commit()
    before = await reader.read()
    await first.commit()
    return [before, await reader.read()]


@on_postgresql
async def test_what_committed_first_waits_for_what_took_its_place_before(database: Database) -> None:
    assert await two_commits_out_of_order(database, Reader(database)) == [[], ["first", "second"]]


@on_postgresql
async def test_a_reader_that_goes_on_after_the_last_it_saw_misses_one(database: Database) -> None:
    """If this fails, the schedule of the test above tests nothing."""
    assert await two_commits_out_of_order(database, NaiveReader(database)) == [["second"], []]


@on_postgresql
async def test_whatever_the_order_of_commits_each_event_is_read_once_in_order(database: Database) -> None:
    missed_naively = 0
    for seed in range(10):
        async with database.write() as connection:
            await connection.execute(delete(EVENTS))
        reader, naive = Reader(database), NaiveReader(database)
        committed = await shuffled_commits(database, random.Random(seed), reader, naive)
        await reader.read()
        await naive.read()
        assert sorted(reader.names) == sorted(committed), seed
        assert reader.seqs == sorted(set(reader.seqs)), seed
        missed_naively += len(committed) - len(naive.names)
    assert missed_naively > 40


async def shuffled_commits(database: Database, dice: random.Random, *readers: Reader) -> list[str]:
    """Up to six transactions at a time that write in turns and end in any order, a fifth of them by a rollback."""
    names = iter(range(10_000))
    open_ones: list[Writer] = []
    committed: list[str] = []
    for _ in range(60):
        step = dice.random()
        if step < 0.5 and len(open_ones) < 6:
            open_ones.append(Writer(database))
        if open_ones and step < 0.8:
            await dice.choice(open_ones).write(*(str(next(names)) for _ in range(dice.randint(1, 3))))
        elif open_ones:
            writer = open_ones.pop(dice.randrange(len(open_ones)))
            if dice.random() < 0.2 or not writer.written:
                await writer.roll_back()
            else:
                committed += await writer.commit()
        for reader in readers:
            await reader.read()
    for writer in open_ones:
        committed += await writer.commit() if writer.written else []
    return committed


async def test_readers_that_follow_many_writers_at_work_see_each_event_once(database: Database) -> None:
    committed: list[str] = []
    readers = [Reader(database, limit=limit) for limit in (1, 50)]
    done = asyncio.Event()

    async def at_work(number: int) -> None:
        dice = random.Random(number)
        for turn in range(25):
            names = [f"{number}-{turn}-{place}" for place in range(dice.randint(1, 4))]
            with suppress(ZeroDivisionError):
                async with database.write(durable=False) as connection:
                    for name in names:
                        await events.add(connection, [event(name)])
                        await asyncio.sleep(dice.choice([0, 0, 0.003]))
                    1 / dice.randint(0, 5)
                committed.extend(names)

    async def follow(reader: Reader) -> None:
        while not done.is_set():
            await reader.read()
            await asyncio.sleep(0)

    following = [asyncio.create_task(follow(reader)) for reader in readers]
    await asyncio.gather(*(at_work(number) for number in range(6)))
    done.set()
    await asyncio.gather(*following)
    for reader in readers:
        await reader.read()
        assert sorted(reader.names) == sorted(committed)
        assert reader.seqs == sorted(set(reader.seqs))
    assert len(committed) > 200


@on_postgresql
async def test_a_frozen_writer_holds_readers_up_only_until_its_transaction_is_ended(database: Database) -> None:
    await write(database, "before")
    frozen, reader = Writer(database), Reader(database)
    await frozen.write("never")
    await frozen.connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '200ms'"))
    async with asyncio.timeout(5):
        await write(database, "after")  # no writer waits for another
        assert await reader.read() == ["before"]
        while not await reader.read():  # noqa: ASYNC110 - what ends the transaction is PostgreSQL's clock
            await asyncio.sleep(0.02)
    assert reader.names == ["before", "after"]
    with pytest.raises(DatabaseUnavailable):
        await frozen.commit()


@on_postgresql
async def test_a_rollback_leaves_a_place_empty_and_readers_go_past_it(database: Database) -> None:
    undone, reader = Writer(database), Reader(database)
    await write(database, "before")
    await undone.write("undone")
    await write(database, "after")
    await undone.roll_back()
    assert await reader.read() == ["before", "after"]
    assert reader.seqs[1] - reader.seqs[0] == 2


@on_postgresql
async def test_a_position_is_never_a_place_that_was_taken_in_vain(database: Database) -> None:
    """After a crash such a place may be given again."""
    reader = Reader(database)
    await write(database, "there")
    undone = Writer(database)
    await undone.write("undone")
    await undone.roll_back()
    await reader.read()
    async with database.read() as connection:
        assert (await feed.bounds(connection)).newest == reader.after == reader.seqs[-1]


# -- what a writer announces


@on_postgresql
async def test_the_mark_is_the_last_place_taken_while_nobody_writes(database: Database) -> None:
    """Were it farther, two that begin after it was read, and commit out of order before the rows are, could fool it."""
    reader = Reader(database)
    await write(database, "one", "two")
    await reader.read()
    async with database.read() as connection:
        assert await feed._mark(connection) == reader.seqs[-1]


async def announced(connection: Connection) -> list[int]:
    """The places that transactions under way announce."""
    rows = await connection.execute(text("SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory'"))
    return [((row.classid & 0xFFFF) << 32) | row.objid for row in rows if row.classid >> 16 == 21075]


@on_postgresql
async def test_the_place_before_the_first_is_announced_once_however_many_are_taken(database: Database) -> None:
    async with database.write() as connection:
        await events.add(connection, [event(str(number)) for number in range(5)])  # a statement each
        await connection.execute(insert(EVENTS).values([event("a"), event("b")]))  # one for both
        await connection.execute(
            text("INSERT INTO events SELECT nextval('events_seq_seq'), 'c', type, occurred_at, app_id, task_id, "
                 "task_version, source, data FROM events LIMIT 1")
        )  # fmt: skip
        first = (await connection.execute(select(func.min(EVENTS.c.seq)))).scalar_one()
        assert await announced(connection) == [first - 1]
    async with database.read() as connection:
        assert await announced(connection) == []


@on_postgresql
async def test_an_announcement_that_a_savepoint_takes_back_is_made_again(database: Database) -> None:
    async with database.write() as connection:
        await connection.say("SAVEPOINT before")
        await events.add(connection, [event("undone")])
        await connection.say("ROLLBACK TO before")
        assert await announced(connection) == []
        await events.add(connection, [event("kept")])
        first = (await connection.execute(select(func.min(EVENTS.c.seq)))).scalar_one()
        assert await announced(connection) == [first - 1]


@on_postgresql
async def test_locks_of_others_hold_no_reader_up(database: Database) -> None:
    async with database.write() as connection:
        for call in ("pg_advisory_xact_lock(0)", "pg_advisory_xact_lock(21075, 0)", "pg_advisory_xact_lock(-1)"):
            await connection.execute(text(f"SELECT {call}"))
        await write(database, "one")
        assert await Reader(database).read() == ["one"]


@on_postgresql
async def test_a_writer_that_stops_before_it_announces_makes_no_position_lost(database: Database) -> None:
    """It read the last place and announces it late: then readers wait, though they were farther already."""
    await write(database, "one", "two")
    reader = Reader(database)
    await reader.read()
    async with database.write() as connection:
        stale = reader.seqs[0]
        await connection.execute(
            text("SELECT pg_advisory_xact_lock_shared((21075::bigint << 48) | :at)"), {"at": stale}
        )
        await write(database, "three")
        assert await reader.read() == []
    assert await reader.read() == ["three"]


@on_postgresql
async def test_places_are_not_handed_out_ahead_to_sessions(database: Database) -> None:
    """A session that kept some for later would take a place behind what others have read."""
    async with database.read() as connection:
        statement = text("SELECT cache_size FROM pg_sequences WHERE sequencename = 'events_seq_seq'")
        assert (await connection.execute(statement)).scalar_one() == 1


# -- pages


async def test_filters_keep_what_matches_and_nothing_else(database: Database) -> None:
    await write(database, "heard", kind="callback.received")
    await write(database, "plain")
    await write(database, "settled", kind="task.settled", task=1, team="x", **{"a.b-c_1": "100%"})
    await write(database, "other", app_id=OTHER_APP, task=2, team="y")
    await write(database, "ended", kind="task.ended", task=1, team="x")
    for wanted, expected in [
        (FeedFilter(), ["plain", "settled", "other", "ended"]),
        (FeedFilter(types=("task.settled", "task.ended")), ["settled", "ended"]),
        (FeedFilter(app_id=OTHER_APP), ["other"]),
        (FeedFilter(task_id=(task_id(1), task_id(2), task_id(9))), ["settled", "other", "ended"]),
        (FeedFilter(task_id=(task_id(1),), types=("task.ended",)), ["ended"]),
        (FeedFilter(task_id=(task_id(9),)), []),
        (FeedFilter(labels=(("team", "x"),)), ["settled", "ended"]),
        (FeedFilter(labels=(("team", "x"), ("a.b-c_1", "100%"))), ["settled"]),
        (FeedFilter(labels=(("team", "x"), ("team", "y"))), []),
        (FeedFilter(labels=(("team", ""),)), []),
        (FeedFilter(labels=(('"}, $.x', "x"),)), []),
        (FeedFilter(labels=(("team", "x"),), app_id=APP, task_id=(task_id(1),), types=("task.ended",)), ["ended"]),
    ]:
        for limit in (1, 2, 100):
            assert (wanted, await Reader(database, wanted, limit).read()) == (wanted, expected)


async def test_an_empty_page_advances_past_what_is_not_wanted(database: Database) -> None:
    await write(database, *map(str, range(30)))
    for wanted in (FeedFilter(types=("task.settled",)), FeedFilter(task_id=(task_id(9),))):
        reader = Reader(database, wanted)
        assert await reader.read() == []
        async with database.read() as connection:
            assert reader.after == (await feed.bounds(connection)).newest > 0


async def test_a_page_looks_at_a_bounded_number_of_events(database: Database) -> None:
    async with database.write() as connection:
        rows = [event(str(number)) for number in range(feed.SCANNED + 10)]
        await events.add(connection, [*rows, event("wanted", kind="task.settled")])
    async with database.read() as connection:
        first = await feed.page(connection, 0, FeedFilter(types=("task.settled",)), 10)
        assert (len(first.events), first.more) == (0, True)
        second = await feed.page(connection, first.next_after, FeedFilter(types=("task.settled",)), 10)
        assert ([one.id for one in second.events], second.more) == (["evt_wanted"], False)


# -- positions that are lost


async def test_positions_older_than_what_is_kept_or_ahead_of_the_newest_are_lost(database: Database) -> None:
    reader = Reader(database)
    await write(database, *map(str, range(5)))
    await reader.read()
    async with database.write() as connection:
        await connection.execute(delete(EVENTS).where(EVENTS.c.seq <= reader.seqs[2]))
        await feed.mark_purged(connection, reader.seqs[2])
        await feed.mark_purged(connection, reader.seqs[1])  # the mark never goes back
    async with database.read() as connection:
        lost = [await feed.is_lost(connection, seq) for seq in [*reader.seqs, reader.seqs[-1] + 1, 2**63 - 1]]
        assert lost == [True, True, False, False, False, True, True]
        assert await feed.bounds(connection) == feed.Bounds(oldest=reader.seqs[2], newest=reader.seqs[4])


async def test_the_end_of_a_feed_that_was_purged_altogether_is_still_a_position(database: Database) -> None:
    reader = Reader(database)
    await write(database, "one", "two")
    await reader.read()
    async with database.write() as connection:
        await connection.execute(delete(EVENTS))
        await feed.mark_purged(connection, reader.after)
    assert await reader.read() == []
    await write(database, "three")
    assert await reader.read() == ["three"]


def copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)


@on_sqlite
async def test_what_a_power_cut_took_from_sqlite_leaves_its_places_empty(database: Database, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/cut.db"

    async def start() -> Database:
        started = Database(url, HandClock())
        await schema.migrate(started)
        async with started.write() as connection:
            await feed.jump(connection)
        return started

    running = await start()
    reader = Reader(running)
    await write(running, "kept")
    await reader.read()
    kept = reader.after
    copy_database(tmp_path / "cut.db", tmp_path / "on_disk.db")
    await write(running, "taken")
    await reader.read()
    await running.close()
    copy_database(tmp_path / "on_disk.db", tmp_path / "cut.db")

    for _ in range(2):  # positions of two starts ago are as lost
        running = await start()
        await write(running, "new")
        async with running.read() as connection:
            assert await feed.is_lost(connection, reader.after)
            assert not await feed.is_lost(connection, kept)
            page = await feed.page(connection, kept, EVERYTHING, 10)
        assert {one.id for one in page.events} == {"evt_new"}
        assert page.events[0].seq > reader.after
        await running.close()


async def test_every_start_goes_on_behind_what_the_last_one_wrote(database: Database) -> None:
    reader = Reader(database)
    for turn in range(3):
        async with database.write() as connection:
            await feed.jump(connection)
        async with database.read() as connection:
            assert turn == 0 or not await feed.is_lost(connection, reader.after)
            assert (await feed.bounds(connection)).newest == reader.after
        await write(database, str(turn))
        assert await reader.read() == [str(turn)]
