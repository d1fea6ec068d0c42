"""Other limiters, at the same calls: what a program gets that paces its calls by when it sends them.

As a program (`python -m bench.limiters NAME URL SECONDS`) it calls the provider at that URL through one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import cycle

import httpx
from aiolimiter import AsyncLimiter
from pyrate_limiter import Duration, Limiter, Rate

from app.clock import SystemClock
from app.core.budget import CALL
from app.errors import ProviderError
from app.provider.client import DESCRIBE_RECORD_STATUS, Call, Provider
from bench import world
from bench.world import APP_ID, SECRET, Latency, Result, Stage

SECONDS = 25.0
RECORDINGS = 100


class Spacing:
    """A turn every 100 ms; one that comes late does not delay the next."""

    def __init__(self) -> None:
        self._next = -math.inf

    async def turn(self) -> None:
        now = time.monotonic()
        self._next = max(self._next + 0.1, now)
        await asyncio.sleep(self._next - now)


Turn = Callable[[], Awaitable[object]]
LIMITERS: dict[str, Callable[[], Turn]] = {
    "aiolimiter": lambda: AsyncLimiter(10, 1).acquire,
    "pyrate-limiter": lambda: Limiter(Rate(10, Duration.SECOND)).try_acquire_async,
    "spacing": lambda: Spacing().turn,
}
ABOUT = {
    "aiolimiter": "aiolimiter, `AsyncLimiter(10, 1)`",
    "pyrate-limiter": "pyrate-limiter, `Rate(10, Duration.SECOND)`",
    "spacing": "a call every 100 ms",
}


HEAD = ("Limiter", "Round trip", "Busiest second", "Calls", "Calls/s", "Refused as too many")


@dataclass(frozen=True, slots=True)
class LimiterRow:
    """One limiter at one latency, in one process."""

    limiter: str
    latency: Latency

    @property
    def name(self) -> str:
        return f"{self.limiter}-{self.latency.name}"

    @property
    def about(self) -> list[str]:
        return [ABOUT[self.limiter], str(self.latency)]

    async def measure(self, stage: Stage) -> Result:
        """Whatever it lets through, there is nothing to be wrong with it."""
        async with world.provider(self.latency, stage.folder) as provider:
            program = (sys.executable, "-m", "bench.limiters", self.limiter, provider.url, str(SECONDS))
            async with world.program(self.limiter, *program, folder=stage.folder) as caller:
                await caller.ends(SECONDS + 2 * world.START)
            counts = await provider.counts(DESCRIBE_RECORD_STATUS)
            await provider.program.stop()
        rate = f"{counts['calls'] / SECONDS:.2f}"
        cells = [str(counts["busiest_second"]), str(counts["calls"]), rate, str(counts["refused_throttled"])]
        return Result(cells, faults=[])


async def call_through(limiter: str, url: str, seconds: float) -> None:
    """Make as many calls as the limiter lets through in that time, each without waiting for the last one's answer."""
    clock, turn = SystemClock(), LIMITERS[limiter]()
    provider = Provider(APP_ID, SECRET, url=url, clock=clock)

    async def describe(task_id: str) -> None:
        with contextlib.suppress(ProviderError):
            call = Call(deadline=clock.monotonic() + CALL)
            await provider.describe(task_id, call, claim_no=1, asked_at=clock.now())

    calls: set[asyncio.Task[None]] = set()
    end = time.monotonic() + seconds
    for task_id in cycle(await _recordings(url)):
        await turn()
        if time.monotonic() >= end:
            break
        call = asyncio.create_task(describe(task_id))
        calls.add(call)
        call.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    await provider.close()


async def _recordings(url: str) -> list[str]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as control:
        answer = await control.post("/simulator/recordings", json={"count": RECORDINGS, "duration": 86400})
        task_ids: list[str] = answer.raise_for_status().json()["task_ids"]
        return task_ids


if __name__ == "__main__":
    asyncio.run(call_through(sys.argv[1], sys.argv[2], float(sys.argv[3])))
