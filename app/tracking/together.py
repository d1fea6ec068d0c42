"""What many want at the same time, done at once: one statement, or one transaction, for all of them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, NamedTuple, TypeVar

from app.errors import DatabaseUnavailable

PATIENCE = 0.002
"""Seconds. A transaction on PostgreSQL takes longer."""

C = TypeVar("C")
W = TypeVar("W")
R = TypeVar("R")


class _Wish(NamedTuple, Generic[W, R]):
    """What somebody wants, what is to come of it, and the context it was asked in."""

    what: W
    came: asyncio.Future[R]
    context: contextvars.Context


class Together(Generic[C, W, R]):
    """Gathers what is wanted while earlier wishes are seen to, and sees to all of it at once. Who comes alone does not
    wait.

    ``connect`` opens what ``act`` works on, a transaction maybe, which ends before anybody is told. Who comes until it
    is open is seen to as well. ``act`` gets ``most`` wishes at a time and returns what came of each, in their order. It
    begins after each of them was made: nobody is told what held before. If it raises, each wish is tried alone, so that
    one cannot fail the others; but not if the database is away. A caller who gives up takes nothing back.

    ``patient``: whoever waits after others were told gives them the time to come again, PATIENCE at most. Else who was
    told and who waits would go by turns for ever, and each act be shared by half of them.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[C]],
        act: Callable[[C, list[W]], Coroutine[Any, Any, list[R]]],
        *,
        most: int,
        patient: bool = False,
    ) -> None:
        self._connect, self._act, self._most, self._patient = connect, act, most, patient
        self._waiting: list[_Wish[W, R]] = []
        self._another = asyncio.Event()
        self._acting: asyncio.Task[None] | None = None

    async def __call__(self, what: W) -> R:
        wish: _Wish[W, R] = _Wish(what, asyncio.get_running_loop().create_future(), contextvars.copy_context())
        self._waiting.append(wish)
        self._another.set()
        if self._acting is None:
            self._acting = asyncio.create_task(self._see_to_all(), context=contextvars.Context())
        return await wish.came

    async def _see_to_all(self) -> None:
        try:
            while self._waiting:
                some = await self._see_to([])
                if self._patient and (len(some) > 1 or self._waiting):
                    await self._next_comes()
        finally:
            # Not by a callback, which comes a moment later: who comes in between would wait for nobody.
            self._acting = None

    async def _see_to(self, some: list[_Wish[W, R]]) -> list[_Wish[W, R]]:
        """See to these, or else to those who wait by the time there is a connection; whom it was."""
        try:
            async with self._connect() as connection:
                some = some or self._taken()
                # Who is alone has the own request's id in the log.
                context = some[0].context if len(some) == 1 else contextvars.Context()
                came = await asyncio.create_task(self._act(connection, [one.what for one in some]), context=context)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and raises it
            await self._fail(some or self._taken(), error)
        else:
            for wish, result in zip(some, came, strict=True):
                if not wish.came.done():  # whoever waited may be gone
                    wish.came.set_result(result)
        return some

    async def _fail(self, some: list[_Wish[W, R]], error: Exception) -> None:
        if len(some) > 1 and not isinstance(error, DatabaseUnavailable):
            for wish in some:
                await self._see_to([wish])
            return
        for wish in some:
            if not wish.came.done():
                wish.came.set_exception(error)
                wish.came.exception()  # whoever waited may be gone by the time it is raised

    def _taken(self) -> list[_Wish[W, R]]:
        some, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        return some

    async def _next_comes(self) -> None:
        self._another.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._another.wait()
