"""What doors that wait have in common: how long, and an end when the caller hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Query
from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")

Wait = Annotated[
    int | None,
    Query(
        ge=1,
        le=50,
        description="Seconds to wait for it; after that, or if the service stops, the answer tells the present state.",
    ),
]


async def unless_hung_up(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Its result; if the caller hangs up first, the work is given up and ClientDisconnect raised."""
    working, hanging_up = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({working, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for one in (working, hanging_up):
            one.cancel()
        await asyncio.gather(working, hanging_up, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
