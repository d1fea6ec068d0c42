"""Connections and transactions, for SQLite and PostgreSQL alike.

``read()`` and ``write()`` hand out a connection inside one transaction; everything below them in this room takes that
connection and never commits. A database that is locked, gone or full shows as DatabaseUnavailable.

Requests and background jobs have connections of their own, so neither can use up what the other needs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from pydantic_core import from_json, to_json
from sqlalchemy import Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool, QueuePool
from sqlalchemy.util import greenlet_spawn

from app.clock import Clock, wall_time
from app.store import postgresql, sqlite
from app.store.connection import Connection
from app.store.trouble import unavailable_if_down

REQUESTS, JOBS = 10, 5
"""Connections for requests, and for background jobs, of one process. A poll needs one for some milliseconds twice."""

WRITERS = 5
"""Of each, those that may stand in line for SQLite's one writer at a time, so that none waits behind a crowd."""

WAIT = 5.0
"""Seconds to wait for a connection, for another writer's lock, and for PostgreSQL to accept a connection."""

PGBOUNCER = "pgbouncer"
"""`?pgbouncer=true` in a PostgreSQL URL: it leads to a PgBouncer that pools by transaction."""

STATEMENT = 10.0
"""Seconds a statement may take."""

_TOGETHER, _ALONE = (
    f"SELECT pg_advisory_xact_lock{how}(7305114830)"  # any number that nothing else locks
    for how in ("_shared", "")
)

_new_engine = partial(
    create_engine,  # for the URLs of drivers for asyncio: all that waits goes through greenlets
    isolation_level="AUTOCOMMIT",  # we begin ourselves: `transaction`
    skip_autocommit_rollback=True,  # nothing comes back to a pool in a transaction
    hide_parameters=True,  # an error ends in the log; values are callers' data
    json_serializer=lambda value: to_json(value).decode(),  # several times as fast as the standard library
    json_deserializer=from_json,
)

_in_background: ContextVar[bool] = ContextVar("in_background", default=False)


def work_in_background() -> None:
    """What this asyncio task, and those it starts, do from here on is the work of a background job."""
    _in_background.set(True)


@dataclass(frozen=True, slots=True)
class _Lane:
    """The connections of requests, or of jobs. ``turns``: how many may ask for one to write at a time."""

    reading: Engine
    writing: Engine
    turns: asyncio.Semaphore


class Database:
    """One database, its pools of connections and its clock."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url, self._clock = url, clock
        self.committed: Callable[[Collection[str]], None] = lambda rings: None
        """Called after each commit of `write` that asked the bell to ring, with the topics."""
        self.is_sqlite = url.startswith("sqlite")
        self.is_pooled = make_url(url).query.get(PGBOUNCER) == "true"
        if self.is_sqlite:
            # One writer at a time is all SQLite has: a pool of one connection is a fair queue for it.
            self.engine = self._sqlite_engine(connections=1, busy=sqlite.BUSY, wait=2 * WAIT)
            self._requests, self._jobs = (
                _Lane(
                    self._sqlite_engine(connections=size, busy=WAIT, wait=WAIT),
                    self.engine,
                    asyncio.Semaphore(WRITERS),
                )
                for size in (REQUESTS, JOBS)
            )
        else:
            self._requests, self._jobs = map(self._postgresql_lane, (REQUESTS, JOBS))
            self.engine = self._requests.writing

    def unwritable(self) -> str | None:
        """What keeps SQLite's file from being written; None: nothing that can be seen from here."""
        file = Path(self.url.removeprefix("sqlite+aiosqlite:///"))
        places = [file.parent, file] if file.exists() else [file.parent]
        faulty = [place for place in places if not os.access(place, os.W_OK)] if self.is_sqlite else []
        return f"{faulty[0]} cannot be written, or is not there" if faulty else None

    @property
    def engines(self) -> set[Engine]:
        """All that hold connections."""
        return {engine for lane in (self._requests, self._jobs) for engine in (lane.reading, lane.writing)}

    @property
    def pools(self) -> dict[str, QueuePool]:
        """The pools of connections, by what they are for."""
        lanes = {"requests": self._requests.reading, "jobs": self._jobs.reading}
        lanes |= {"writer": self.engine} if self.is_sqlite else {}
        return {name: cast(QueuePool, engine.pool) for name, engine in lanes.items()}

    @property
    def _lane(self) -> _Lane:
        return self._jobs if _in_background.get() else self._requests

    def _sqlite_engine(self, *, connections: int, busy: float, wait: float) -> Engine:
        folder = Path(self.url.removeprefix("sqlite+aiosqlite:///")).parent
        with suppress(OSError):  # told in plain words when it is used: `unwritable`
            folder.mkdir(parents=True, exist_ok=True)
        engine = _new_engine(
            self.url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=wait,
            connect_args={"async_creator_fn": sqlite.connect},
        )

        @event.listens_for(engine, "connect")
        def connect(connection: Any, record: Any) -> None:
            sqlite.set_up(connection, busy=busy, wait=WAIT)
            connection.create_function("budget_clock", 0, self._clock.monotonic)
            connection.driver_connection.patience = STATEMENT

        return engine

    def _postgresql_lane(self, size: int) -> _Lane:
        engine = self._postgresql_engine(STATEMENT, pool_size=size, max_overflow=0, pool_timeout=WAIT)
        return _Lane(engine, engine, asyncio.Semaphore(size))

    def _postgresql_engine(self, statement: float | None, **pool: Any) -> Engine:
        return _new_engine(
            make_url(self.url).difference_update_query([PGBOUNCER]),
            connect_args=postgresql.connect_args(wait=WAIT, statement=statement, pooled=self.is_pooled),
            **pool,
        )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection to ask with, in no transaction: each statement sees the newest commits."""
        with unavailable_if_down():
            async with _connected(self._lane.reading) as connection:  # there is nothing to commit
                yield connection

    def at_once(self) -> AbstractAsyncContextManager[Connection]:
        """On PostgreSQL: a connection to write with, each of whose statements commits by itself."""
        return self.read()

    @asynccontextmanager
    async def write(self, *, durable: bool = True, alone: bool = False) -> AsyncIterator[Connection]:
        """A connection in a transaction that commits at the end, or rolls back if an exception passes.

        ``alone``: no other transaction of `write` is under way meanwhile; on SQLite none ever is.

        What is not ``durable`` survives the end of this process in any case, but on SQLite it need not survive a
        power cut: for what the provider can be asked again. PostgreSQL makes no difference.
        """
        with unavailable_if_down():
            async with self._writer() as connection:
                connection.info.update(rings=set(), afterwards=[])
                async with self.transaction(connection, _ALONE if alone else _TOGETHER, durable=durable):
                    yield connection
                for act in connection.info["afterwards"]:
                    act()
                if rings := connection.info["rings"]:
                    self.committed(rings)

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator[Connection]:
        lane = self._lane
        async with asyncio.timeout(WAIT):
            await lane.turns.acquire()
        try:
            async with _connected(lane.writing) as connection:
                yield connection
        finally:
            lane.turns.release()

    @asynccontextmanager
    async def unhurried(self) -> AsyncIterator[Connection]:
        """A connection of its own, closed afterwards, whose statements may take their time: for migrations."""
        engine = self.engine if self.is_sqlite else self._postgresql_engine(None, poolclass=NullPool)
        with unavailable_if_down():
            async with _connected(engine) as connection:
                if self.is_sqlite:
                    connection.driver.patience = None
                try:
                    yield connection
                finally:
                    await connection.invalidate()

    @asynccontextmanager
    async def transaction(
        self, connection: Connection, first: str = "", *, durable: bool = True
    ) -> AsyncIterator[None]:
        """A transaction on this connection of ``engine``; ``first``: what PostgreSQL is told with its beginning."""
        if self.is_sqlite:
            await self._begin(connection, durable)
        else:
            await connection.say(f"BEGIN; {first}")
        try:
            yield
            await connection.say("COMMIT")
        except BaseException:
            # SQLite ends by itself what it has no room for, or no time.
            if not connection.invalidated and connection.driver.is_in_transaction():
                await connection.say("ROLLBACK")
            raise

    async def _begin(self, connection: Connection, durable: bool) -> None:
        """While another process writes to the same file, try again, up to WAIT seconds."""
        # A deferred transaction that turns to writing fails at once when another writes: no waiting there.
        begin = "BEGIN IMMEDIATE"
        if connection.info.get("durable", True) != durable:
            begin = f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}; {begin}"
        give_up = asyncio.get_running_loop().time() + WAIT
        while True:
            try:
                await connection.say(begin)
                connection.info["durable"] = durable
                return
            except OperationalError as error:
                if "locked" not in str(error.orig) or asyncio.get_running_loop().time() > give_up:
                    raise

    async def checkpoint(self) -> None:
        """Move what was written to SQLite's log into its file, here rather than after somebody's commit."""
        if self.is_sqlite:
            with unavailable_if_down():
                async with _connected(self._lane.reading) as connection:
                    await connection.driver.run("execute", "PRAGMA wal_checkpoint(PASSIVE)", ())

    async def synchronise(self) -> None:
        """Set the service's clock by the database's."""
        before = self._clock.monotonic()
        wall = await self.time()
        if self._clock.monotonic() - before < 1.0:  # a slow answer says little about the time
            self._clock.synchronise(wall)

    async def time(self) -> datetime:
        """The time on the database's clock; SQLite has none but the machine's."""
        if self.is_sqlite:
            return wall_time()
        async with self.read() as connection:
            return cast(datetime, (await connection.execute(select(func.clock_timestamp()))).scalar_one())

    async def close(self) -> None:
        for engine in self.engines:
            await greenlet_spawn(engine.dispose)


@asynccontextmanager
async def _connected(engine: Engine) -> AsyncIterator[Connection]:
    """A connection from the pool, in no transaction yet."""
    connection = Connection(await greenlet_spawn(engine.connect))
    try:
        yield connection
    finally:
        connection.sync.close()  # it has nothing to wait for here, so it takes no greenlet
