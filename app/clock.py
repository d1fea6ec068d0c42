"""The only place that reads the clock or rolls the dice."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol


def to_milliseconds(moment: datetime) -> datetime:
    """Cut to whole milliseconds: the precision that is stored, shown and compared."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Clock(Protocol):
    """Time and chance, passed to whoever needs them. Tests pass their own."""

    def now(self) -> datetime:
        """Wall-clock time in UTC, whole milliseconds, free of steps between two synchronisations."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps; one for all processes of a machine."""

    def jitter(self) -> float:
        """A random number in [0, 1)."""

    def token(self) -> str:
        """16 random hex digits."""

    def secret(self, size: int) -> bytes:
        """So many bytes that nobody can guess."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """A block that raises TimeoutError when it takes longer than ``seconds``."""

    def synchronise(self, wall: datetime) -> None:
        """Let ``now()`` go on from ``wall``, the time at the database."""


class SystemClock:
    """The machine's clocks. ``now()`` is monotonic time plus an offset, so a step of the wall clock moves nothing
    until ``synchronise`` measures the offset again."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> datetime:
        return to_milliseconds(datetime.fromtimestamp(time.monotonic() + self._offset, UTC))

    def monotonic(self) -> float:
        return time.monotonic()

    def jitter(self) -> float:
        return random.random()

    def token(self) -> str:
        return secrets.token_hex(8)

    def secret(self, size: int) -> bytes:
        return secrets.token_bytes(size)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)

    def synchronise(self, wall: datetime) -> None:
        self._offset = wall.timestamp() - time.monotonic()


def wall_time() -> datetime:
    """The machine's own wall clock, for databases that have none of their own (SQLite)."""
    return datetime.fromtimestamp(time.time(), UTC)


def machine_seconds() -> float:
    """The machine's own monotonic clock, for what it does by itself, such as a statement of SQLite."""
    return time.monotonic()
