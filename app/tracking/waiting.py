"""Waiting for a task, for an answer about it, and for what comes next in the feed.

Who waits holds no connection and no transaction, only a place in `Follower`; ``key`` names whose place it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime

from app.clock import Clock
from app.core.recording import Task, Tracking
from app.errors import DatabaseUnavailable, FeedPositionLost
from app.store.feed import FeedFilter, Page
from app.tracking.feed import Feed
from app.tracking.follower import Follower, Watch
from app.tracking.tasks import Tasks

LOOK = 0.2
"""Seconds between two looks for an answer: one that changes nothing raises no event."""

STREAM_PAGE = 20
HEARTBEAT = 15.0
"""Seconds without an event after which a stream shows that it lives."""


def is_over(task: Task) -> bool:
    """It is no longer being polled: settled, expired or untracked."""
    return task.tracking is not Tracking.ACTIVE


def has_ended(task: Task) -> bool:
    """The recording is over, whether or not its files have reached their end; or nobody asks any more."""
    return task.status.ended or is_over(task)


class Waiting:
    """Every wait ends at its time or when the service stops, and tells what holds then."""

    def __init__(self, clock: Clock, tasks: Tasks, feed: Feed, follower: Follower) -> None:
        self._clock, self._tasks, self._feed, self._follower = clock, tasks, feed, follower
        self._reads: dict[tuple[str, int], asyncio.Task[Task]] = {}

    async def task(
        self, task_id: str, holds: Callable[[Task], bool], *, seconds: float, key: str | None = None
    ) -> Task:
        """The task as soon as this holds of it. Raises TaskNotFound, TooManyWaiting."""
        until = self._clock.monotonic() + seconds
        with self._follower.place(key), self._follower.watch(task_id) as watch:
            await self._follower.follow()
            while True:
                watch.changed.clear()
                task = await self._read(task_id)
                if holds(task):
                    return task
                if not await self._changed(watch, until):
                    return await self._tasks.get(task_id)

    async def told(self, task_id: str, *, since: datetime, seconds: float, key: str | None = None) -> bool:
        """Whether in this time a poll asked since then told something. Raises TaskNotFound, TooManyWaiting."""
        until = self._clock.monotonic() + seconds
        with self._follower.place(key):
            while not await self._tasks.was_told(task_id, since=since):
                left = until - self._clock.monotonic()
                if left <= 0 or self._follower.stopped:
                    return False
                await self._clock.sleep(min(LOOK, left))
        return True

    async def page(self, after: int, wanted: FeedFilter, *, limit: int, seconds: float, key: str | None = None) -> Page:
        """The next events after a position, as soon as there are any. Raises FeedPositionLost, TooManyWaiting."""
        if seconds <= 0:
            return await self._feed.read(after, wanted, limit=limit)
        page = await self._next(after, wanted, limit)
        if page.events:
            return page
        with self._follower.place(key):
            return await self._awaited(page, wanted, limit=limit, seconds=seconds)

    async def _awaited(self, page: Page, wanted: FeedFilter, *, limit: int, seconds: float) -> Page:
        """What comes after an empty page."""
        until = self._clock.monotonic() + seconds
        with self._follower.watch() as watch:
            await self._follower.follow()
            while True:
                watch.changed.clear()
                page = await self._next(page.next_after, wanted, limit)
                if page.events or not (page.more or await self._changed(watch, until)):
                    return page

    async def pages(self, after: int, wanted: FeedFilter) -> AsyncIterator[Page]:
        """The pages after a position, without end but the service's; an empty one for HEARTBEAT seconds of silence.

        A slow reader is not read ahead for. It ends too when it cannot go on; who comes again is told why. Whoever
        takes it holds a `place` meanwhile.
        """
        with suppress(FeedPositionLost, DatabaseUnavailable):
            while not self._follower.stopped:
                page = await self._next(after, wanted, STREAM_PAGE)
                if not page.events:
                    page = await self._awaited(page, wanted, limit=STREAM_PAGE, seconds=HEARTBEAT)
                yield page
                after = page.next_after

    async def latest(self) -> int:
        """A position after all that this process told by now: without the database, while somebody is waiting."""
        position = self._follower.position
        if self._follower.recent(position, FeedFilter(), 1) is not None:
            return position
        return await self._feed.latest()

    def place(self, key: str | None) -> AbstractContextManager[None]:
        """Hold a place for as long as a stream lasts. Raises TooManyWaiting."""
        return self._follower.place(key)

    async def check(self, after: int) -> None:
        """Raises what `pages` from this position would end with."""
        await self._next(after, FeedFilter(), 1)

    async def _next(self, after: int, wanted: FeedFilter, limit: int) -> Page:
        """From memory, which may be a moment behind, but then the follower is about to tell; else from the database."""
        recent = self._follower.recent(after, wanted, limit)
        return recent if recent is not None else await self._feed.read(after, wanted, limit=limit)

    async def _changed(self, watch: Watch, until: float) -> bool:
        """Wait for a change; False if the time is over or the service stops."""
        left = until - self._clock.monotonic()
        if left <= 0 or self._follower.stopped:
            return False
        try:
            async with self._clock.timeout(left):
                await watch.changed.wait()
        except TimeoutError:
            return False
        return not self._follower.stopped

    async def _read(self, task_id: str) -> Task:
        """The task, read once for all who are woken together."""
        key = task_id, self._follower.position
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.ensure_future(self._tasks.get(task_id))
            read.add_done_callback(lambda read: self._reads.pop(key).cancelled() or read.exception())
        return await asyncio.shield(read)
