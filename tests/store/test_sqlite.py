"""The driver of SQLite: one trip to the connection's thread for a statement, and nothing lost on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.schema import CreateTable

from app.clock import SystemClock
from app.errors import DatabaseUnavailable
from app.store import engine
from app.store.connection import Connection
from app.store.engine import Database
from app.store.kept import Kept
from app.store.many import change_rows, one_trip, put_rows
from app.store.sqlite import SqliteConnection

NUMBERS = Table("numbers", MetaData(), Column("n", Integer, primary_key=True), Column("text", Text))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/one.db", SystemClock())
    async with database.write() as connection:
        await connection.execute(CreateTable(NUMBERS))
    yield database
    await database.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done in connections' threads, in order."""
    made: list[str] = []
    execute: Any = SqliteConnection._execute

    async def counted(self: SqliteConnection, fn: Any, *args: Any, **options: Any) -> Any:
        made.append(args[1] if fn == self._run else " + ".join(sql for sql, _ in args[0]) if fn == self._fetch else "")
        return await execute(self, fn, *args, **options)

    monkeypatch.setattr(SqliteConnection, "_execute", counted)
    return made


async def test_a_statement_is_one_trip_and_a_rollback_of_nothing_none(database: Database, trips: list[str]) -> None:
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO numbers (n) VALUES (:n)"), [{"n": n} for n in range(3)])
        assert (await connection.execute(text("SELECT n FROM numbers ORDER BY n"))).scalars().all() == [0, 1, 2]
    assert trips == [
        "BEGIN IMMEDIATE",
        "INSERT INTO numbers (n) VALUES (?)",
        "SELECT n FROM numbers ORDER BY n",
        "COMMIT",
    ]


async def test_what_is_put_in_one_trip_is_one_and_keeps_its_order(database: Database, trips: list[str]) -> None:
    async with database.write(durable=False) as connection, one_trip(connection):
        await put_rows(connection, NUMBERS, [{"n": 1}, {"n": 2}])
        await change_rows(connection, NUMBERS, [{"n": 2, "text": "two"}])
    put, change = "INSERT INTO numbers (n) VALUES (?)", "UPDATE numbers SET text=? WHERE numbers.n = ?"
    assert trips == ["PRAGMA synchronous=NORMAL + BEGIN IMMEDIATE", f"{put} + {change}", "COMMIT"]
    async with database.read() as connection:
        assert (await connection.execute(select(NUMBERS))).all() == [(1, None), (2, "two")]


async def test_a_transaction_that_fails_is_rolled_back(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO numbers (n) VALUES (7)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with database.write() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM numbers"))).scalar_one() == 0


async def test_a_refused_statement_tells_why_and_leaves_the_connection_usable(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO numbers (n) VALUES (7)"))

    async def repeat() -> None:
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO numbers (n) VALUES (:n)"), [{"n": 8}, {"n": 7}])

    with pytest.raises(IntegrityError, match="UNIQUE"):
        await repeat()
    async with database.write() as connection:
        updated = await connection.execute(text("UPDATE numbers SET n = n + 1"))
        assert updated.rowcount == 1
        returned = await connection.execute(text("DELETE FROM numbers RETURNING n"))
        assert returned.scalars().all() == [8]


async def test_a_row_that_must_not_be_is_refused_and_the_rest_of_its_transaction_with_it(database: Database) -> None:
    async def repeat() -> None:
        async with database.write() as connection:
            await put_rows(connection, NUMBERS, [{"n": 8}, {"n": 8}])

    with pytest.raises(DBAPIError, match="UNIQUE"):
        await repeat()
    async with database.write() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM numbers"))).scalar_one() == 0


async def test_a_transaction_that_sqlite_ended_by_itself_leaves_the_connection_usable(database: Database) -> None:
    """As it does with one for which the disk has no room."""

    async def write() -> None:
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO numbers (n) VALUES (7)"))
            await connection.execute(text("INSERT OR ROLLBACK INTO numbers (n) VALUES (7)"))

    for _ in range(2):
        with pytest.raises(IntegrityError, match="UNIQUE"):
            await write()
    async with database.write() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM numbers"))).scalar_one() == 0


async def test_no_statement_stays_open_on_the_file(database: Database, tmp_path: Path) -> None:
    """An open cursor would hold the log back from being moved into the file."""
    async with database.read() as connection:
        await connection.execute(text("SELECT n FROM numbers"))
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO numbers (n) VALUES (1)"))
    outsider = sqlite3.connect(tmp_path / "one.db")
    busy, _, _ = outsider.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    outsider.close()
    assert busy == 0


LONG = 500_000
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("lane", ["read", "write"])
@pytest.mark.parametrize(
    "ask",
    [lambda connection: connection.execute(text(ENDLESS)), lambda connection: Kept(text(ENDLESS)).rows(connection, {})],
    ids=["execute", "kept"],
)
async def test_a_statement_that_takes_too_long_ends_and_the_connection_goes_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch, lane: str, ask: Callable[[Connection], Awaitable[Any]]
) -> None:
    monkeypatch.setattr(engine, "STATEMENT", 0.1)
    database = Database(database_url, SystemClock())
    use = getattr(database, lane)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="interrupted"):
            async with use() as connection:
                await ask(connection)
        async with use() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    enough = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LONG}) SELECT max(i) FROM n"
    async with database.unhurried() as connection:  # a migration may take its time
        monkeypatch.setattr(engine, "STATEMENT", 0.0)
        assert (await connection.execute(text(enough))).scalar() == LONG
    await database.close()
