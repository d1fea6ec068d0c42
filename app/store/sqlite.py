"""SQLite's driver, sparing of its thread.

Each connection has a thread, and each way there and back costs both threads a switch: more than a small statement
itself. aiosqlite goes there four times for a statement (cursor, execute, fetchall, close); these go once, even for
several statements.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite
from sqlalchemy.util import await_only

from app.clock import machine_seconds

BUSY = 0.02
"""Seconds SQLite waits by itself for another process's write: it sleeps longer and longer between its looks, and so
would lose every race for a busy file. We look again ourselves."""

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",  # an acknowledged registration survives a power cut
    "wal_autocheckpoint=25000",  # pages: a net only, `checkpoint` comes long before
    "foreign_keys=ON",
)

LOOK_EVERY = 20_000
"""Steps of SQLite's machine between two looks at the time: a few milliseconds."""


Asked = Sequence[tuple[str, Iterable[Sequence[Any]]]]
"""Statements, and the lists of values with which each is run."""


class Row(sqlite3.Row):
    """A row as PostgreSQL's driver gives it."""

    values = sqlite3.Row.__iter__

    def items(self) -> Iterable[tuple[str, Any]]:
        return zip(self.keys(), self, strict=True)


class SqliteConnection(aiosqlite.Connection):
    """A connection whose statements are over, and whose rows are here, after one trip to its thread.

    ``patience``: seconds that one may take; then it ends in an error, as with PostgreSQL's ``statement_timeout``.
    """

    patience: float | None = None
    _give_up_at: float | None = None
    _is_watched = False

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=64)
        self._thread.daemon = True  # it must not hold up the end of the process

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except BaseException:
            # Its thread still has a word to say to the event loop, which may be closed a moment later.
            if self._thread.is_alive():
                self._thread.join(1.0)
            raise

    def cursor(self) -> _Cursor:  # type: ignore[override]
        return _Cursor(self)

    def is_in_transaction(self) -> bool:
        return self.in_transaction

    async def execute(self, words: str) -> None:  # type: ignore[override]
        """Statements that take no values and return nothing."""
        await self.fetch_each([(statement, ((),)) for statement in words.split("; ")])

    async def fetch(self, sql: str, *values: Any) -> Sequence[Row]:
        """All rows that a statement returns."""
        return await self.fetch_each([(sql, (values,))])

    async def fetch_each(self, asked: Asked) -> Sequence[Row]:
        """All rows that these statements return, each run once for each of its lists of values."""
        ask: Any = self._execute  # it has no types
        found: Sequence[Row] = await ask(self._fetch, asked)
        return found

    def _fetch(self, asked: Asked) -> Sequence[Row]:
        return [row for sql, lists in asked for values in lists for row in self._run("execute", sql, values, Row)[1]]

    async def run(self, method: str, sql: str, parameters: Any) -> tuple[sqlite3.Cursor, Sequence[Any]]:
        """The closed cursor, and all rows."""
        ask: Any = self._execute  # it has no types
        done: tuple[sqlite3.Cursor, Sequence[Any]] = await ask(self._run, method, sql, parameters)
        return done

    def _run(self, method: str, sql: str, parameters: Any, row: Any = None) -> tuple[sqlite3.Cursor, Sequence[Any]]:
        if self.patience is not None:
            self._watch(self.patience)
        self._conn.row_factory = row
        cursor: sqlite3.Cursor = getattr(self._conn, method)(sql, parameters)
        try:
            return cursor, cursor.fetchall() if cursor.description else ()
        finally:
            cursor.close()

    def _watch(self, patience: float) -> None:
        """From here on; in the connection's own thread."""
        if not self._is_watched:
            self._is_watched = True
            self._conn.set_progress_handler(self._is_late, LOOK_EVERY)
        self._give_up_at = machine_seconds() + patience

    def _is_late(self) -> bool:
        return self.patience is not None and self._give_up_at is not None and machine_seconds() > self._give_up_at


def connect(*args: Any, **options: Any) -> SqliteConnection:
    """A connection yet to be opened, with ``sqlite3.connect``'s arguments."""
    return SqliteConnection(lambda: sqlite3.connect(*args, **options))


def set_up(connection: Any, *, busy: float, wait: float) -> None:
    """The PRAGMAS of a new connection, as SQLAlchemy has it. While another one turns the same new file into one with a
    log, SQLite does not wait for it at all: we try again, up to ``wait`` seconds."""
    give_up = machine_seconds() + wait
    for pragma in (f"busy_timeout={busy * 1000:.0f}", *PRAGMAS):
        while True:
            try:
                connection.execute(f"PRAGMA {pragma}").close()
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or machine_seconds() > give_up:
                    raise
            await_only(asyncio.sleep(0.01))


class _Cursor:
    """What SQLAlchemy's adapter asks of a driver's cursor."""

    description: Any = None
    rowcount = -1
    lastrowid: int | None = None
    arraysize = 1

    def __init__(self, connection: SqliteConnection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Any = ()) -> None:
        await self._run("execute", sql, parameters)

    async def executemany(self, sql: str, parameters: Any) -> None:
        await self._run("executemany", sql, parameters)

    async def _run(self, method: str, sql: str, parameters: Any) -> None:
        done, self._rows = await self._connection.run(method, sql, parameters)
        self.description, self.rowcount, self.lastrowid = done.description, done.rowcount, done.lastrowid

    async def fetchall(self) -> Sequence[Any]:
        return self._rows

    async def close(self) -> None:
        """Nothing is left open."""
