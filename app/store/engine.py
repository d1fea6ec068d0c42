"""Connections and transactions, for SQLite and PostgreSQL alike.

``read()`` and ``write()`` hand out a connection inside one transaction; everything below them in this room takes that
connection and never commits. A database that is locked, gone or full shows as DatabaseUnavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Double, event, func, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.clock import Clock, wall_time
from app.errors import DatabaseUnavailable
from app.store import sqlite

Connection = AsyncConnection

RUNG = "rung"
POOL_SIZE = 10
WAIT = 5.0
"""Seconds to wait for a connection, for another writer's lock, and for PostgreSQL to accept a connection."""

STATEMENT = 10.0
"""Seconds a statement may take on PostgreSQL."""


class budget_clock(FunctionElement[float]):  # noqa: N801 - it is written like a function in statements
    """Seconds on the clock that all processes of this database share.

    SQLite: the machine's monotonic clock, since all its processes live on one machine. PostgreSQL: its own clock, read
    at each call (``now()`` would stand still in a transaction).
    """

    type = Double()
    inherit_cache = True


@compiles(budget_clock, "sqlite")
def _sqlite_clock(element: Any, compiler: Any, **kw: Any) -> str:
    return "budget_clock()"


@compiles(budget_clock, "postgresql")
def _postgresql_clock(element: Any, compiler: Any, **kw: Any) -> str:
    return "extract(epoch FROM clock_timestamp())::double precision"


class Database:
    """One database, its pool of connections and its clock."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._clock = clock
        self.on_ring: Callable[[str], None] = lambda name: None
        if self.is_sqlite:
            # One writer at a time is all SQLite has: a pool of one connection is a fair queue for it.
            self.engine = self._sqlite_engine("BEGIN IMMEDIATE", connections=1, busy=SQLITE_BUSY, wait=2 * WAIT)
            self._reading = self._sqlite_engine("BEGIN", connections=POOL_SIZE, busy=WAIT, wait=WAIT)
        else:
            self.engine = self._postgresql_engine()
            self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def _sqlite_engine(self, begin: str, *, connections: int, busy: float, wait: float) -> AsyncEngine:
        Path(self.url.removeprefix("sqlite+aiosqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(
            self.url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=wait,
            connect_args={"async_creator_fn": sqlite.connect},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # the driver's own BEGIN comes too late: updates were lost
            for pragma in (f"busy_timeout={busy * 1000:.0f}", *SQLITE_PRAGMAS):
                connection.execute(f"PRAGMA {pragma}").close()
            connection.create_function("budget_clock", 0, self._clock.monotonic)

        @event.listens_for(engine.sync_engine, "begin")
        def begin_transaction(connection: Any) -> None:
            durable = connection.get_execution_options().get("durable", True)
            if connection.info.setdefault("durable", True) != durable:
                connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                connection.info["durable"] = durable
            # A deferred transaction that turns to writing fails at once when another writes: no waiting there.
            connection.exec_driver_sql(begin)

        return engine

    def _postgresql_engine(self) -> AsyncEngine:
        return create_async_engine(
            self.url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=WAIT,
            connect_args={
                "timeout": WAIT,
                "command_timeout": STATEMENT + 1,
                "server_settings": {
                    "statement_timeout": f"{STATEMENT:.0f}s",
                    "lock_timeout": f"{WAIT:.0f}s",
                    "idle_in_transaction_session_timeout": "30s",
                    "application_name": "recording-status",
                },
            },
        )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection to ask with. On PostgreSQL each statement sees the newest commits."""
        with unavailable_if_down():
            async with self._reading.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits at the end, or rolls back if an exception passes.

        What is not ``durable`` survives the end of this process in any case, but on SQLite it need not survive a
        power cut: for what the provider can be asked again. PostgreSQL makes no difference.
        """
        with unavailable_if_down():
            async with self.engine.connect() as connection:
                await connection.execution_options(durable=durable)
                async with self.transaction(connection):
                    yield connection

    @asynccontextmanager
    async def transaction(self, connection: Connection) -> AsyncIterator[None]:
        """A transaction on this connection of ``engine``."""
        transaction = await self._begin(connection)
        assert connection.sync_connection is not None
        connection.sync_connection.info.pop(RUNG, None)
        try:
            yield
        except BaseException:
            await transaction.rollback()
            raise
        rung = connection.sync_connection.info.pop(RUNG, ())
        await transaction.commit()
        for name in rung:
            self.on_ring(name)

    async def _begin(self, connection: Connection) -> AsyncTransaction:
        """Begin; while another process writes to the same SQLite file, try again, up to WAIT seconds."""
        give_up = asyncio.get_running_loop().time() + WAIT
        while True:
            try:
                return await connection.begin()
            except OperationalError as error:
                if "locked" not in str(error.orig) or asyncio.get_running_loop().time() > give_up:
                    raise

    async def checkpoint(self) -> None:
        """Move what was written to SQLite's log into its file, here rather than after somebody's commit."""
        if self.is_sqlite:
            async with self._reading.connect() as connection:
                raw = await connection.get_raw_connection()
                await raw.driver_connection.run("execute", "PRAGMA wal_checkpoint(PASSIVE)", ())  # type: ignore[union-attr]

    async def synchronise(self) -> None:
        """Set the service's clock by the database's."""
        before = self._clock.monotonic()
        wall = await self._wall_time()
        if self._clock.monotonic() - before < 1.0:  # a slow answer says little about the time
            self._clock.synchronise(wall)

    async def _wall_time(self) -> datetime:
        if self.is_sqlite:
            return wall_time()
        async with self.read() as connection:
            wall: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
            return wall

    async def close(self) -> None:
        await self.engine.dispose()
        await self._reading.dispose()


SQLITE_BUSY = 0.02
"""Seconds SQLite waits by itself for another process's write: it sleeps longer and longer between its looks, and so
would lose every race for a busy file. We look again ourselves."""

SQLITE_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",  # an acknowledged registration survives a power cut
    "wal_autocheckpoint=25000",  # pages: a net only, `checkpoint` comes long before
    "foreign_keys=ON",
)

# SQLSTATE classes: connection, insufficient resources, operator intervention, system error, and the single states for
# lock not available, deadlock, serialisation failure, statement time-out.
_TRANSIENT = ("08", "53", "57", "58", "55P03", "40P01", "40001")


@contextmanager
def unavailable_if_down() -> Iterator[None]:
    """Turns what drivers raise for a database that is locked, gone or full into DatabaseUnavailable."""
    try:
        yield
    except Exception as error:
        if _is_down(error):
            raise DatabaseUnavailable(str(error).splitlines()[0] if str(error) else repr(error)) from error
        raise


def _is_down(error: BaseException) -> bool:
    if isinstance(error, (OSError, PoolTimeoutError, TimeoutError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return str(state).startswith(_TRANSIENT)
    missing = "no such table" in str(error.orig)
    return isinstance(error, OperationalError) and not missing
