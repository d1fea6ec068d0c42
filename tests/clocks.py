"""Clocks for tests of waiting: one that runs faster than life, and one on which waiting takes no time."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from app.clock import SystemClock, to_milliseconds
from tests.world import HandClock


class FastClock(SystemClock):
    """Real time, ``factor`` times as fast: a wait of 8 s takes 8 / ``factor``.

    On SQLite the call budget runs by it too. PostgreSQL's budget has a clock of its own, so it is for SQLite only.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor, self._began, self._wall = factor, time.monotonic(), datetime.now(UTC)

    def now(self) -> datetime:
        return to_milliseconds(self._wall + timedelta(seconds=self.monotonic() - self._began))

    def monotonic(self) -> float:
        return self._began + (time.monotonic() - self._began) * self._factor

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._factor)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds / self._factor)

    def synchronise(self, wall: datetime) -> None:
        """The machine's wall clock runs too slowly for us."""


class VirtualClock(HandClock):
    """A clock set by hand on which a sleep ends at once and moves time to its end: an hour's outage in a second."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)
