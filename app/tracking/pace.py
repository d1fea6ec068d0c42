"""Measures how fast each app's tasks can be polled at present: what its queue asks of its budget."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog

from app.clock import Clock
from app.core.schedule import Closing, Pace, Policy, closing
from app.store import queue, sweeps
from app.store.engine import Database
from app.tracking.budget import Budget

ROUND = 0.8
"""A round is planned so much shorter than the budget can serve: so no call is left unused, and the longest overdue goes
first. At 1.0 young recordings, which wait longer, left a tenth of the calls to others (`bench/detection.py`)."""

log = structlog.get_logger(__name__)


class Paces:
    """The pace of each app, as last measured; how much of it the sweeps can be trusted with is part of it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        budgets: Sequence[Budget],
        policy: Policy,
        *,
        sweep_every: timedelta | None,
    ) -> None:
        self._database, self._clock, self._budgets, self._policy = database, clock, budgets, policy
        self._sweep_every = sweep_every
        self._paces = {budget.app_id: Pace() for budget in budgets}

    def of(self, app_id: int) -> Pace:
        """The pace of an app."""
        return self._paces.get(app_id, Pace())

    async def run_once(self) -> None:
        """Measure anew."""
        for budget in self._budgets:
            before, after = self.of(budget.app_id), await self._measure(budget)
            self._paces[budget.app_id] = after
            _report(budget.app_id, before.closing, after.closing)

    async def _measure(self, budget: Budget) -> Pace:
        now = self._clock.now()
        async with self._database.read() as connection:
            sweep = await sweeps.find(connection, budget.app_id) if self._sweep_every else None
            fresh = 3 * self._sweep_every + timedelta(minutes=1) if self._sweep_every else timedelta(0)
            vouched = bool(sweep and sweep.completed_at and now - sweep.completed_at < fresh)
            load = await queue.load(connection, budget.app_id, now=now, vouched=vouched)
        rate = budget.rate
        return Pace(
            rate=rate,
            crowding=ROUND * timedelta(seconds=(load.recordings + load.uploading) / rate),
            waiting=ROUND * timedelta(seconds=load.batches / rate),
            vouched=vouched,
            closing=closing(load.closing, rate=rate, policy=self._policy),
        )


def _report(app_id: int, before: Closing, after: Closing) -> None:
    if after.unservable and not before.unservable:
        log.warning(
            "windows close before every task can be polled",
            app_id=app_id,
            tasks=after.tasks,
            unservable=after.unservable,
            short_in=str(after.short_in),
        )
