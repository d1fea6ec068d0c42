"""Reads the feed once for everybody in this process who waits for a change.

It reads when the bell rings, and every second in case the bell stayed silent; while nobody waits, not at all. The
newest events stay in memory for a while: who keeps up with the feed is served from there, without a connection.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from app.clock import Clock
from app.core.limits import may_wait
from app.errors import DatabaseUnavailable, TooManyWaiting
from app.store import feed as store
from app.store.engine import Database
from app.store.events import StoredEvent
from app.store.feed import FeedFilter, Page

log = structlog.get_logger(__name__)

LOOK = 1.0
"""Seconds between two looks at the feed while the bell is silent."""

KEPT = 500
"""Events kept in memory."""

PAGE = 200
MOST_WAITING = 5000
"""Requests and streams that may wait in one process."""


class Watch:
    """What one who waits holds: ``changed`` is set by the next event about its task, or in the feed at all."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()


class Follower:
    """``wake()`` when something was written; ``stop()`` ends all waits. ``keys``: names of keys that may come."""

    def __init__(self, database: Database, clock: Clock, *, keys: int) -> None:
        self._database, self._clock, self._keys = database, clock, max(1, keys)
        self._recent: deque[StoredEvent] = deque()
        self._since = self._position = 0
        """Every event behind ``_since`` up to ``_position`` is in ``_recent``, and was told to those who watch."""
        self._watches: defaultdict[str | None, set[Watch]] = defaultdict(set)
        self._places: Counter[str | None] = Counter()
        self._is_reading = asyncio.Lock()
        self._following = False
        self._woken = asyncio.Event()
        self.stopped = False

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self.stopped = True
        self._woken.set()
        for watches in self._watches.values():
            for watch in watches:
                watch.changed.set()

    @property
    def waiting(self) -> int:
        """How many wait at present."""
        return self._places.total()

    @property
    def position(self) -> int:
        """The position in the feed up to which those who watch were told."""
        return self._position

    @contextmanager
    def place(self, key: str | None = None) -> Iterator[None]:
        """Hold one of the places for those who wait, of which each key has its share. Raises TooManyWaiting."""
        if not may_wait(self._places, key, callers=self._keys, most=MOST_WAITING):
            whose = f"the key {key}" if key else "this machine"
            raise TooManyWaiting(
                f"{whose} has {self._places[key]} requests and streams waiting in this process already; "
                "end some, or wait for many tasks at once by `GET /v1/events?wait=50`"
            )
        self._places[key] += 1
        try:
            yield
        finally:
            self._places[key] -= 1

    @contextmanager
    def watch(self, task_id: str | None = None) -> Iterator[Watch]:
        """Be told of events about this task, or of all, while holding a place."""
        watch = Watch()
        self._watches[task_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[task_id].discard(watch)
            if not self._watches[task_id]:
                del self._watches[task_id]

    async def follow(self) -> None:
        """Be up to date from now on: what is read of the database after this lags behind no event told later."""
        async with self._is_reading:
            if not self._following:
                async with self._database.read() as connection:
                    self._since = self._position = (await store.bounds(connection)).newest
                self._recent.clear()
                self._following = True
        self._woken.set()

    def recent(self, after: int, wanted: FeedFilter, limit: int) -> Page | None:
        """The events after a position, if they are all in memory."""
        if not self._following or not self._since <= after <= self._position:
            return None
        found: list[StoredEvent] = []
        for event in reversed(self._recent):
            if event.seq <= after:
                break
            if wanted.matches(event):
                found.append(event)
        found.reverse()
        if len(found) >= limit:
            return Page(found[:limit], found[limit - 1].seq, more=True)
        return Page(found, self._position, more=False)

    async def run(self) -> None:
        """Follow while somebody waits, until this is cancelled."""
        while not self.stopped:
            await self._wait()
            self._woken.clear()
            if not self.waiting:
                self._following = False
                continue
            try:
                await self._read()
            except DatabaseUnavailable as error:
                log.warning("feed not read", error=str(error))
                await self._clock.sleep(LOOK)

    async def _wait(self) -> None:
        if not self.waiting:
            await self._woken.wait()
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), LOOK)

    async def _read(self) -> None:
        more = True
        while more and not self.stopped:
            async with self._is_reading:
                if not self._following:
                    return
                async with self._database.read() as connection:
                    page = await store.page(connection, self._position, FeedFilter(), PAGE)
                self._take_in(page)
                more = page.more

    def _take_in(self, page: Page) -> None:
        self._position = page.next_after
        self._recent.extend(page.events)
        erased = {event.task_id for event in page.events if event.type == "task.deleted"}
        if erased:
            self._recent = deque(replace(one, content="{}") if one.task_id in erased else one for one in self._recent)
        while len(self._recent) > KEPT:
            self._since = self._recent.popleft().seq
        told = {event.task_id for event in page.events}
        for task_id in told & self._watches.keys():
            for watch in self._watches[task_id]:
                watch.changed.set()
        if page.events:
            for watch in self._watches.get(None, ()):
                watch.changed.set()
