"""PostgreSQL's driver: how it connects, and what is said to it directly.

SQLAlchemy's way to a statement takes longer than most statements.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]


IDLE = 30.0
"""Seconds after which PostgreSQL ends a transaction whose process says nothing more."""


def connect_args(*, wait: float, statement: float | None, pooled: bool) -> dict[str, Any]:
    """How to connect: for a connection and for a lock ``wait`` seconds, for a ``statement`` so many. ``pooled``: by a
    PgBouncer, which gives each transaction another connection: what was prepared or set on the last is not there."""
    limits = {"statement_timeout": statement or 0, "lock_timeout": wait, "idle_in_transaction_session_timeout": IDLE}
    settings = {name: f"{seconds * 1000:.0f}" for name, seconds in limits.items()}
    settings |= {"enable_seqscan": "off", "jit": "off"}  # every statement has its index: docs/decisions.md
    unprepared = {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    }
    return {
        "timeout": wait,
        "command_timeout": statement and statement + 1,  # should the server not even say that time is up
        "server_settings": {"application_name": "recording-status"} | ({} if pooled else settings),
    } | (unprepared if pooled else {})


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
