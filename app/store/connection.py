"""A connection: SQLAlchemy's, and beneath it the driver's own, since SQLAlchemy's way to a statement takes longer than
most statements.

SQLAlchemy's package for asyncio is not used: it imports its ORM, for which every start would have to wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import CursorResult, Dialect, Executable
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.util import greenlet_spawn

from app.store.sqlite import Asked

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]


class Connection:
    """SQLAlchemy's connection ``sync`` for asyncio: whatever may wait for the database runs in a greenlet."""

    __slots__ = ("sync",)

    def __init__(self, sync: sqlalchemy.Connection) -> None:
        self.sync = sync

    @property
    def dialect(self) -> Dialect:
        return self.sync.dialect

    @property
    def info(self) -> dict[Any, Any]:
        """What is noted about the driver's connection, as long as it lives."""
        return self.sync.info

    @property
    def invalidated(self) -> bool:
        return self.sync.invalidated

    @property
    def driver(self) -> Any:
        """The driver's own connection."""
        return self.sync.connection.driver_connection

    async def execute(self, statement: Executable, values: Any = None) -> CursorResult[*tuple[Any, ...]]:
        """Have SQLAlchemy run a statement; its rows are all here then."""
        return await greenlet_spawn(self.sync.execute, statement, values)

    async def run_sync(self, act: Callable[..., T], *given: Any) -> T:
        """Do with SQLAlchemy's connection what knows no asyncio."""
        return await greenlet_spawn(act, self.sync, *given)

    async def invalidate(self) -> None:
        """Give up the driver's connection: it does not come back to the pool."""
        await greenlet_spawn(self.sync.invalidate)

    async def say(self, words: str) -> None:
        """Have statements executed that take no values and return nothing."""
        await self._done(words, self.driver.execute(words))

    async def ask(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """All rows that a statement returns."""
        found: Rows = await self._done(statement, self.driver.fetch(statement, *values))
        return found

    async def ask_each(self, asked: Asked) -> Rows:
        """On SQLite: all rows that these statements return, each run once for each of its lists of values."""
        found: Rows = await self._done("several", self.driver.fetch_each(asked))
        return found

    async def _done(self, statement: str, doing: Awaitable[T]) -> T:
        """Whatever fails, or is given up, takes the driver's connection with it: nobody has to find out in what state
        it is. But SQLite says what it refuses, and is as it was."""
        try:
            return await doing
        except BaseException as error:
            if not isinstance(error, sqlite3.Error):
                await self.invalidate()
            if isinstance(error, Exception):
                raise _kind(error)(statement, None, error, hide_parameters=True) from error
            raise


def _kind(error: Exception) -> type[DBAPIError]:
    """What a refused value, or a row that must not be, says, it does not say about the server."""
    about_values = (ValueError, OverflowError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
    return DBAPIError if isinstance(error, about_values) else OperationalError
