"""What many want at the same time, done at once: one statement, or one transaction, for all of them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from app.errors import DatabaseUnavailable

W = TypeVar("W")
R = TypeVar("R")


class Together(Generic[W, R]):
    """Gathers what is wanted while earlier wishes are seen to, and sees to all of it at once. Who comes alone does not
    wait.

    ``act`` gets ``most`` wishes at a time and returns what came of each, in their order; ``at_once``: how often it may
    be under way. It begins after each of them was made: nobody is told what held before. If it raises, each wish is
    tried alone, so that one cannot fail the others; but not if the database is away. A caller who gives up takes
    nothing back.
    """

    def __init__(self, act: Callable[[list[W]], Awaitable[list[R]]], *, most: int, at_once: int = 1) -> None:
        self._act, self._most, self._at_once = act, most, at_once
        self._waiting: list[tuple[W, asyncio.Future[R], contextvars.Context]] = []
        self._acting: set[asyncio.Task[None]] = set()

    async def __call__(self, wish: W) -> R:
        came: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((wish, came, contextvars.copy_context()))
        if len(self._acting) < self._at_once:
            acting = asyncio.create_task(self._see_to_all(), context=contextvars.Context())
            self._acting.add(acting)
            acting.add_done_callback(self._acting.discard)
        return await asyncio.shield(came)

    async def _see_to_all(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if len(some) == 1 or not await self._see_to(some, contextvars.Context()):
                for one in some:
                    await self._see_to([one], one[2])  # its own request's id in the log

    async def _see_to(
        self, some: list[tuple[W, asyncio.Future[R], contextvars.Context]], context: contextvars.Context
    ) -> bool:
        """Whether those who wait were told; not if it makes sense to try each of them alone."""
        try:
            came = await asyncio.create_task(_awaited(self._act([wish for wish, _, _ in some])), context=context)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and raises it
            if len(some) > 1 and not isinstance(error, DatabaseUnavailable):
                return False
            for _, future, _ in some:
                future.set_exception(error)
                future.exception()  # whoever waited may be gone
            return True
        for (_, future, _), result in zip(some, came, strict=True):
            future.set_result(result)
        return True


async def _awaited(work: Awaitable[R]) -> R:
    return await work
