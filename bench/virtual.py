"""Time that passes only by being waited for: hours in seconds.

The loop never sleeps: when nothing is ready, it moves its time to the next timer. So whatever happens has to happen in
the loop's own thread; `Inline` lets SQLite do so too.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import sqlite3
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import Engine, event

from app.clock import to_milliseconds
from app.store.sqlite import SqliteConnection

T = TypeVar("T")

START = datetime(2026, 3, 1, tzinfo=UTC)
"""The wall clock's time when the loop begins."""

MONOTONIC_START = 1000.0

PASS = 1e-6
"""Seconds a pass of the loop takes: a loop fires timers a nanosecond early, so two waits for the rest of one would keep
each other ready, and time from ever coming."""


class _Jump(selectors.DefaultSelector):
    """Where a loop would wait for the next timer, this moves the time to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing can happen any more: no timer runs, and virtual time knows no threads")
        self.now += max(timeout, PASS)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0 and jumps from timer to timer. It serves neither sockets nor threads."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


class VirtualClock:
    """The service's clock on a virtual loop; its dice are seeded."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self._loop, self._dice = loop, random.Random(seed)

    def now(self) -> datetime:
        return to_milliseconds(START + timedelta(seconds=self._loop.time()))

    def unix(self) -> float:
        """The same for the simulator, uncut."""
        return START.timestamp() + self._loop.time()

    def monotonic(self) -> float:
        return MONOTONIC_START + self._loop.time()

    def jitter(self) -> float:
        return self._dice.random()

    def token(self) -> str:
        return f"{self._dice.getrandbits(64):016x}"

    def secret(self, size: int) -> bytes:
        return self._dice.randbytes(size)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)

    def synchronise(self, wall: datetime) -> None:
        """There is no other clock to go by."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on a virtual loop, with SQLite inline."""
    with inline_sqlite(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


# -- SQLite in the loop's own thread


class _AtOnce:
    """In place of the queue to a connection's thread: does the work here and now."""

    def put_nowait(self, work: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        future, act = work
        try:
            result = act()
        except Exception as error:
            if future is None:
                raise
            future.set_exception(error)
        else:
            if future is not None:
                future.set_result(result)


class Inline(SqliteConnection):
    """A connection without a thread: a statement is done when it is asked for, and takes no virtual time."""

    _tx: Any

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect)
        self._tx = _AtOnce()

    def __await__(self) -> Generator[Any, None, aiosqlite.Connection]:
        return self._connect().__await__()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)


@contextmanager
def inline_sqlite() -> Iterator[None]:
    """While it lasts, every SQLite database that is opened is worked on inline."""

    def connect(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> None:
        options["async_creator_fn"] = lambda *at, **how: Inline(lambda: sqlite3.connect(*at, **how))

    event.listen(Engine, "do_connect", connect)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", connect)
