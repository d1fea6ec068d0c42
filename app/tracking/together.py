"""What many want at the same time, done at once: one statement, or one transaction, for all of them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from app.errors import DatabaseUnavailable

W = TypeVar("W")
R = TypeVar("R")


class _Wish(NamedTuple, Generic[W, R]):
    """What somebody wants, what is to come of it, and the context it was asked in."""

    what: W
    came: asyncio.Future[R]
    context: contextvars.Context


class Together(Generic[W, R]):
    """Gathers what is wanted while earlier wishes are seen to, and sees to all of it at once. Who comes alone does not
    wait.

    ``act`` gets ``most`` wishes at a time and returns what came of each, in their order. It begins after each of them
    was made: nobody is told what held before. If it raises, each wish is tried alone, so that one cannot fail the
    others; but not if the database is away. A caller who gives up takes nothing back.
    """

    def __init__(self, act: Callable[[list[W]], Awaitable[list[R]]], *, most: int) -> None:
        self._act, self._most = act, most
        self._waiting: list[_Wish[W, R]] = []
        self._acting: asyncio.Task[None] | None = None

    async def __call__(self, what: W) -> R:
        wish = _Wish[W, R](what, asyncio.get_running_loop().create_future(), contextvars.copy_context())
        self._waiting.append(wish)
        if self._acting is None:
            self._acting = asyncio.create_task(self._see_to_all(), context=contextvars.Context())
        return await wish.came

    async def _see_to_all(self) -> None:
        try:
            while self._waiting:
                some, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                if len(some) == 1 or not await self._see_to(some, contextvars.Context()):
                    for wish in some:
                        await self._see_to([wish], wish.context)  # its own request's id in the log
        finally:
            # Not by a callback, which comes a moment later: who comes in between would wait for nobody.
            self._acting = None

    async def _see_to(self, some: list[_Wish[W, R]], context: contextvars.Context) -> bool:
        """Whether those who wait were told; not if it makes sense to try each of them alone."""
        try:
            came = await asyncio.create_task(_awaited(self._act([wish.what for wish in some])), context=context)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and raises it
            if len(some) > 1 and not isinstance(error, DatabaseUnavailable):
                return False
            for wish in some:
                if not wish.came.done():  # whoever waited may be gone
                    wish.came.set_exception(error)
                    wish.came.exception()  # … by the time it is raised
            return True
        for wish, result in zip(some, came, strict=True):
            if not wish.came.done():
                wish.came.set_result(result)
        return True


async def _awaited(work: Awaitable[R]) -> R:
    return await work
