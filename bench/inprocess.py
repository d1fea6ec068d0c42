"""The service and the simulated provider in one process: calls without a network, jobs without APScheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import httpx

from app.provider.simulator import Simulator
from app.ticker import Job
from app.wiring import Service

ON_THE_WALL = frozenset({"checkpoint", "clock"})
"""Jobs about the machine, its disk and its clock: they have nothing to do in virtual time."""


class Carrier(httpx.AsyncBaseTransport):
    """Carries requests to a simulator in this process; ``rtt`` seconds there and back."""

    def __init__(self, simulator: Simulator, rtt: float) -> None:
        self._simulator, self._one_way = simulator, rtt / 2

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if trace := request.extensions.get("trace"):
            await trace("http11.send_request_headers.started", {"request": request})
        await asyncio.sleep(self._one_way)
        query = dict(parse_qsl(request.url.query.decode("ascii"), keep_blank_values=True))
        reply = self._simulator.answer(query, request.content, request.method)
        await asyncio.sleep(self._one_way)
        return httpx.Response(reply.status, headers=list(reply.headers), stream=httpx.ByteStream(reply.body))


@asynccontextmanager
async def jobs_of(service: Service) -> AsyncIterator[None]:
    """The service's background jobs at work on the running loop's time; at the end, polls under way are recorded.

    APScheduler would go by the real clock. An exception of a job ends the benchmark.
    """
    jobs = [job for job in service.ticker._jobs.values() if job.name not in ON_THE_WALL]
    woken = {job.name: asyncio.Event() for job in jobs}
    stopping = asyncio.Event()
    service.ticker.wake = lambda name: woken[name].set()  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(_repeat(job, woken[job.name], stopping))
        yield
        service.stop()
        stopping.set()
        for event in woken.values():
            event.set()


async def _repeat(job: Job, woken: asyncio.Event, stopping: asyncio.Event) -> None:
    """Run the job again and again: at its interval, or when it is woken between two runs."""
    loop, every = asyncio.get_running_loop(), job.every.total_seconds()
    while not stopping.is_set():
        due = loop.time() + every
        await job.run_once()
        if not stopping.is_set():
            woken.clear()
            timer = loop.call_later(max(0.0, due - loop.time()), woken.set)
            await woken.wait()
            timer.cancel()
