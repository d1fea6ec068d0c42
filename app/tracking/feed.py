"""The verb on the feed: read on from a position."""

from __future__ import annotations

from app.errors import FeedPositionLost
from app.store import feed as store
from app.store.connection import Connection
from app.store.engine import Database
from app.store.feed import FeedFilter, Page

OLDEST = 0
"""Reads from the oldest event that is kept, whatever was purged."""


class Feed:
    """Every change in one order; whoever passes back ``next_after`` misses none."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self) -> int:
        """The position after all that is there by now."""
        async with self._database.read() as connection:
            return (await store.bounds(connection)).newest

    async def read(self, after: int, wanted: FeedFilter, *, limit: int) -> Page:
        """The events after a position. Raises FeedPositionLost if it is none that can be gone on from."""
        async with self._database.read() as connection:
            if after == OLDEST:
                return await self._from_oldest(connection, wanted, limit)
            page = await store.page(connection, after, wanted, limit)
            # Afterwards: what was purged between the two would be missed unnoticed.
            if not await store.is_lost(connection, after):
                return page
            bounds = await store.bounds(connection)
        raise FeedPositionLost(oldest=bounds.oldest, latest=bounds.newest)

    async def _from_oldest(self, connection: Connection, wanted: FeedFilter, limit: int) -> Page:
        while True:
            oldest = (await store.bounds(connection)).oldest
            page = await store.page(connection, oldest, wanted, limit)
            if not await store.is_lost(connection, oldest):  # else it was purged meanwhile, and the page has gaps
                return page
