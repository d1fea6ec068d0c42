"""Wakes those who wait for rows, in this process and, on PostgreSQL, in every other.

A transaction that writes such rows says so (`ring`); once it is committed, the bell rings. It may ring in vain, and
across processes it may stay silent (while its connection is being made anew, behind PgBouncer, on SQLite): who waits
looks by itself now and then. NOTIFY is sent by itself after the commit: within the transaction it would make all
commits of the server queue up.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

import structlog

from app.clock import Clock
from app.store.connection import Connection

log = structlog.get_logger(__name__)

POLLS, EVENTS, DELIVERIES = "polls", "events", "deliveries"
TOPICS = frozenset({POLLS, EVENTS, DELIVERIES})

CHANNEL = "recording_status"
TOGETHER = 0.01
"""Seconds between two notifications at least: what rings meanwhile rings together."""

ALIVE = 5.0
"""Seconds without a word to the server after which it is asked whether it is still there, and until it is given up."""

AGAIN = 1.0
"""Seconds between two attempts to reach it."""


def ring(connection: Connection, topic: str) -> None:
    """Let the bell ring once this transaction of `Database.write` is committed."""
    connection.info.setdefault("rings", set()).add(topic)


def after_commit(connection: Connection, act: Callable[[], object]) -> None:
    """Do this, here alone, once this transaction of `Database.write` is committed; if it rolls back, not at all."""
    connection.info.setdefault("afterwards", []).append(act)


class Bell:
    """``on`` a topic's ring, do something that takes no time. ``url``: the PostgreSQL to listen on, if any."""

    def __init__(self, url: str | None, clock: Clock) -> None:
        self._url, self._clock = url and url.replace("postgresql+asyncpg://", "postgresql://"), clock
        self._name = clock.token()
        self._listeners: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)
        self._unsent: set[str] = set()
        self._woken = asyncio.Event()

    def on(self, topic: str, act: Callable[[], None]) -> None:
        self._listeners[topic].append(act)

    def ring(self, topics: Collection[str]) -> None:
        """Wake who waits for these, here at once and elsewhere in a moment."""
        self._ring_here(topics)
        self._unsent |= set(topics)
        self._woken.set()

    def _ring_here(self, topics: Collection[str]) -> None:
        for topic in topics:
            for act in self._listeners[topic]:
                act()

    async def run(self) -> None:
        """Carry the rings from process to process until this is cancelled."""
        if not self._url:
            return
        import asyncpg  # here, since SQLite does without

        failing = False
        while True:
            try:
                connection = await asyncpg.connect(self._url, timeout=ALIVE, command_timeout=ALIVE)
                try:
                    connection.add_termination_listener(lambda _: self._woken.set())
                    await connection.add_listener(CHANNEL, self._hear)
                    failing = False
                    self._ring_here(TOPICS)  # what rang meanwhile was not heard
                    await self._carry(connection)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                if not failing:
                    log.warning("wake-ups from other processes are late", error=str(error) or repr(error))
                failing = True
                await self._clock.sleep(AGAIN)

    async def _carry(self, connection: Any) -> None:
        while True:
            try:
                await asyncio.wait_for(self._woken.wait(), ALIVE)
            except TimeoutError:
                await connection.execute("SELECT 1")
                continue
            self._woken.clear()
            topics, self._unsent = self._unsent, set()
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, " ".join([self._name, *sorted(topics)]))
            await self._clock.sleep(TOGETHER)

    def _hear(self, connection: Any, process: int, channel: str, said: Any) -> None:
        sender, *topics = said.split()
        if sender != self._name:
            self._ring_here(TOPICS.intersection(topics))
