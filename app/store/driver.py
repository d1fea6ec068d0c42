"""What is said to the database's driver directly: SQLAlchemy's way to a statement takes longer than most statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.sqlite import Asked

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]


async def say(connection: AsyncConnection, words: str) -> None:
    """Have statements executed that take no values and return nothing."""
    await _done(connection, words, driver(connection).execute(words))


async def ask(connection: AsyncConnection, statement: str, values: Sequence[Any]) -> Rows:
    """All rows that a statement returns."""
    found: Rows = await _done(connection, statement, driver(connection).fetch(statement, *values))
    return found


async def ask_each(connection: AsyncConnection, asked: Asked) -> Rows:
    """On SQLite: all rows that these statements return, each run once for each of its lists of values."""
    found: Rows = await _done(connection, "several", driver(connection).fetch_each(asked))
    return found


def driver(connection: AsyncConnection) -> Any:
    """The driver's own connection."""
    return connection.sync_connection.connection.driver_connection  # type: ignore[union-attr]


async def _done(connection: AsyncConnection, statement: str, doing: Awaitable[T]) -> T:
    """Whatever fails, or is given up, takes the connection with it: nobody has to find out in what state it is. But
    SQLite says what it refuses, and is as it was."""
    try:
        return await doing
    except BaseException as error:
        if not isinstance(error, sqlite3.Error):
            await connection.invalidate()
        if isinstance(error, Exception):
            raise _kind(error)(statement, None, error, hide_parameters=True) from error
        raise


def _kind(error: Exception) -> type[DBAPIError]:
    """What a refused value, or a row that must not be, says, it does not say about the server."""
    about_values = (ValueError, OverflowError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
    return DBAPIError if isinstance(error, about_values) else OperationalError
