"""PostgreSQL spoken to by its driver itself: SQLAlchemy's way to a statement takes longer than most statements."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]


async def say(connection: AsyncConnection, words: str) -> None:
    """Have statements executed that take no values and return nothing."""
    await _done(connection, words, _driver(connection).execute(words))


async def ask(connection: AsyncConnection, statement: str, values: Sequence[Any]) -> Rows:
    """All rows that a statement returns."""
    found: Rows = await _done(connection, statement, _driver(connection).fetch(statement, *values))
    return found


def _driver(connection: AsyncConnection) -> Any:
    return connection.sync_connection.connection.driver_connection  # type: ignore[union-attr]


async def _done(connection: AsyncConnection, statement: str, doing: Awaitable[T]) -> T:
    """Whatever fails, or is given up, takes the connection with it: nobody has to find out in what state it is."""
    try:
        return await doing
    except BaseException as error:
        await connection.invalidate()
        if isinstance(error, Exception):
            # A value that the driver cannot send says nothing about the server.
            kind = DBAPIError if isinstance(error, ValueError) else OperationalError
            raise kind(statement, None, error, hide_parameters=True) from error
        raise
