"""APScheduler calls each job's ``run_once``; it holds no state of ours, the schedule lives in rows.

It is never asked to wait for its jobs: its shutdown cancels coroutines that are running. ``stop`` lets them finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app import metrics
from app.clock import Clock, wall_time
from app.errors import DatabaseUnavailable
from app.store.engine import work_in_background

log = structlog.get_logger(__name__)


WATCH_EVERY = 1.0
"""Seconds between two looks whether the machine's clock stepped back."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do again and again, one run at a time. Without a sign of life for ``stuck_after`` it is stuck."""

    name: str
    run_once: Callable[[], Awaitable[object]]
    every: timedelta
    stuck_after: timedelta = timedelta(minutes=2)

    @property
    def patience(self) -> timedelta:
        """How long it may be silent, between its runs and in one."""
        return self.every + self.stuck_after


def _first_run(job: Job) -> datetime:
    """At once; but what is done once a minute lets the process get ready first."""
    return wall_time() + (timedelta(seconds=1) if job.every >= timedelta(minutes=1) else timedelta(0))


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A job's last sign of life: seconds since, and whether it ought to have shown another long ago."""

    ago: float
    stuck: bool


class Ticker:
    """Runs the jobs until it is stopped, and knows when each last showed a sign of life."""

    def __init__(self, jobs: list[Job], clock: Clock) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._clock = clock
        self._running: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._alive_at: dict[str, float] = {}
        self._stopping = False
        self._watch: asyncio.Task[None] | None = None
        # A tick that comes while its job still runs has nothing to do: the running job looks for new work itself.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    def start(self) -> None:
        for job in self._jobs.values():
            self._alive_at[job.name] = self._clock.monotonic()
            metrics.JOB_FAILURES.labels(job.name)
            self._scheduler.add_job(
                self._run,
                "interval",
                args=[job],
                id=job.name,
                seconds=job.every.total_seconds(),
                next_run_time=_first_run(job),
            )
        self._scheduler.start()
        self._watch = asyncio.create_task(self._mind_the_clock())

    def wake(self, name: str) -> None:
        """Run a job now rather than at its next tick."""
        if not self._stopping and self._scheduler.running and name not in self._running:
            self._scheduler.modify_job(name, next_run_time=wall_time())

    def beat(self, name: str) -> None:
        """A long run is getting on with its work."""
        self._alive_at[name] = self._clock.monotonic()

    def heartbeats(self) -> dict[str, Heartbeat]:
        """Of each job that was started: how long ago it last showed a sign of life, and whether that is too long."""
        now = self._clock.monotonic()
        return {
            name: Heartbeat(now - alive_at, stuck=now - alive_at > self._jobs[name].patience.total_seconds())
            for name, alive_at in self._alive_at.items()
        }

    async def stop(self) -> None:
        """Start no more runs and wait for those under way."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        if self._scheduler.running:
            self._scheduler.pause()
            await self._idle.wait()
            self._scheduler.shutdown(wait=False)
            await asyncio.sleep(0)

    async def _mind_the_clock(self) -> None:
        """APScheduler goes by the machine's wall clock: where that steps back, no job would run until it caught up."""
        loop = asyncio.get_running_loop()
        ahead = wall_time().timestamp() - loop.time()
        while True:
            await asyncio.sleep(WATCH_EVERY)
            before, ahead = ahead, wall_time().timestamp() - loop.time()
            if before - ahead > WATCH_EVERY / 2:
                log.warning("the machine's clock stepped back", seconds=round(before - ahead, 3))
                for name in self._jobs:  # one that runs too: its next run has the wrong date as well
                    self._scheduler.modify_job(name, next_run_time=wall_time())

    async def _run(self, job: Job) -> None:
        if self._stopping:
            return
        # Whoever woke the job lent it the context of a request; what follows is not that request's doing.
        structlog.contextvars.clear_contextvars()
        work_in_background()
        self._running.add(job.name)
        self._idle.clear()
        try:
            await job.run_once()
        except DatabaseUnavailable as error:
            metrics.JOB_FAILURES.labels(job.name).inc()
            log.warning("job put off: the database is not available", job=job.name, error=str(error))
        except Exception:
            metrics.JOB_FAILURES.labels(job.name).inc()
            log.exception("job failed", job=job.name)
        finally:
            self._alive_at[job.name] = self._clock.monotonic()
            self._running.discard(job.name)
            if not self._running:
                self._idle.set()
