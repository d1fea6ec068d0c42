"""Sets the gauges when somebody asks for the metrics: what this process knows by itself, and a look at the database.

The look costs a few steps into indexes, whatever the number of tasks, and is repeated at most every LOOK_EVERY seconds
however many ask. Without the database everything else is told all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import get_args

import structlog

from app import metrics
from app.clock import Clock
from app.core.deliveries import EventType
from app.core.recording import Outcome, Tracking
from app.errors import DatabaseUnavailable
from app.store import counts, queue, sweeps
from app.store.engine import Database, work_in_background
from app.tracking.budget import Budget, Stand
from app.tracking.follower import Follower
from app.tracking.health import Heartbeat
from app.tracking.pace import Paces

log = structlog.get_logger(__name__)

LOOK_EVERY = 5.0
PATIENCE = 2.0
"""Seconds that a scrape waits for the database."""

LAG_EVERY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look at the database showed."""

    at: float
    active: int
    backlogs: Mapping[int, queue.Backlog]
    stands: Mapping[tuple[int, str], Stand]
    sweeps_failing: Mapping[int, bool]


class Gauges:
    """``update()`` sets all of them."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        budgets: Mapping[int, Budget],
        list_budgets: Mapping[int, Budget],
        paces: Paces,
        follower: Follower,
        heartbeats: Callable[[], Mapping[str, Heartbeat]],
    ) -> None:
        self._database, self._clock, self._paces = database, clock, paces
        self._budgets, self._list_budgets = budgets, list_budgets
        self._follower, self._heartbeats = follower, heartbeats
        self._looking: asyncio.Task[None] | None = None
        self._seen: _Seen | None = None
        for app_id, outcome in product(budgets, Outcome):
            metrics.OUTCOMES.labels(app_id, outcome)
        for type_ in get_args(EventType):
            metrics.EVENTS.labels(type_)

    async def update(self) -> None:
        """As of now; what the database tells is a few seconds old at most, or left out."""
        if self._is_old(LOOK_EVERY):
            if self._looking is None:
                self._looking = asyncio.create_task(self._look())
            # Not cut off when it takes long: it may be in a transaction, and the next scrape can use what it finds.
            await asyncio.wait([self._looking], timeout=PATIENCE)
        self._set_seen(None if self._is_old(LOOK_EVERY + PATIENCE) else self._seen)
        self._set_own()

    def _is_old(self, seconds: float) -> bool:
        return self._seen is None or self._clock.monotonic() - self._seen.at >= seconds

    async def close(self) -> None:
        """Wait for a look under way."""
        if self._looking is not None:
            await asyncio.wait([self._looking])

    # -- what the database tells

    async def _look(self) -> None:
        work_in_background()
        now, at = self._clock.now(), self._clock.monotonic()
        try:
            async with self._database.read() as connection:
                stands = {
                    (app_id, budget.action): await budget.stand(connection)
                    for budgets in (self._budgets, self._list_budgets)
                    for app_id, budget in budgets.items()
                }
                backlogs = {app_id: await queue.backlog(connection, app_id, now=now) for app_id in self._budgets}
                found = {app_id: await sweeps.find(connection, app_id) for app_id in self._budgets}
                tasks = await counts.tasks(connection)
        except DatabaseUnavailable:  # counted where it is raised
            return
        except Exception:
            log.exception("gauges not read")
            return
        finally:
            self._looking = None
        active = tasks["tracking"].get(Tracking.ACTIVE, 0)
        failing = {app_id: bool(sweep and sweep.error) for app_id, sweep in found.items()}
        self._seen = _Seen(at=at, active=active, backlogs=backlogs, stands=stands, sweeps_failing=failing)

    def _set_seen(self, seen: _Seen | None) -> None:
        for gauge in _READ:
            gauge.clear()
        if seen is None:
            metrics.ACTIVE.set(float("nan"))
            return
        metrics.ACTIVE.set(seen.active)
        for app_id, backlog in seen.backlogs.items():
            waiting = (self._clock.now() - backlog.oldest).total_seconds() if backlog.oldest else 0.0
            metrics.DUE.labels(app_id).set(backlog.due)
            metrics.OLDEST_DUE.labels(app_id).set(max(0.0, waiting))
        for (app_id, action), stand in seen.stands.items():
            metrics.PERMITS_LIMIT.labels(app_id, action).set(stand.limit)
            metrics.PERMITS_ALLOWED.labels(app_id, action).set(stand.allowed)
            metrics.PERMITS_IN_USE.labels(app_id, action).set(stand.in_use)
            metrics.PERMITS_IN_DOUBT.labels(app_id, action).set(stand.in_doubt)
            metrics.PAUSED.labels(app_id, action, "provider").set(stand.paused is not None)
            metrics.PAUSED.labels(app_id, action, "operator").set(stand.switched_off)
        for app_id, failing in seen.sweeps_failing.items():
            metrics.SWEEP_FAILING.labels(app_id).set(failing)

    # -- what this process knows

    def _set_own(self) -> None:
        for app_id, budget in self._budgets.items():
            closing = self._paces.of(app_id).closing
            metrics.CALL_RATE.labels(app_id).set(budget.rate)
            metrics.DEADLINE_TASKS.labels(app_id).set(closing.tasks)
            metrics.DEADLINE_SLACK.labels(app_id).set(1 - closing.load)
            metrics.UNSERVABLE.labels(app_id).set(closing.unservable)
        metrics.WAITING.set(self._follower.waiting)
        for name, pool in self._database.pools.items():
            metrics.CONNECTIONS.labels(name).set(pool.checkedout())
            metrics.CONNECTIONS_MOST.labels(name).set(pool.size())
        for job, beat in self._heartbeats().items():
            metrics.HEARTBEAT.labels(job).set(beat.ago)
            metrics.STUCK.labels(job).set(beat.stuck)


_READ = (
    metrics.DUE,
    metrics.OLDEST_DUE,
    metrics.PERMITS_LIMIT,
    metrics.PERMITS_ALLOWED,
    metrics.PERMITS_IN_USE,
    metrics.PERMITS_IN_DOUBT,
    metrics.PAUSED,
    metrics.SWEEP_FAILING,
)
"""Left out of what is told while the database cannot be looked at: an old number would pass for a new one."""


async def feel_lag() -> None:
    """Measure how late the event loop comes back to what is due, until this is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_EVERY
        await asyncio.sleep(LAG_EVERY)
        metrics.LOOP_LAG.observe(max(0.0, loop.time() - due))
