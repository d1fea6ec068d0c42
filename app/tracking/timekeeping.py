"""Sets the service's clock by the database's, and mends what a clock that stepped back leaves in the future.

Dates in rows are the schedule. After a step back they lie ahead by so much: without help nothing would be polled, swept
or sent until the clock has caught up with them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

import structlog

from app.clock import Clock
from app.core.schedule import Pace, Policy, longest_wait
from app.store import leaps
from app.store.engine import Database

log = structlog.get_logger(__name__)

STEP = timedelta(seconds=2)
"""What is less is no step: two clocks that are synchronised differ by milliseconds."""

SWEEP_LEASE = timedelta(minutes=2)
"""A sweep's date lies so far ahead at most, or as far as the next sweep."""


class Timekeeping:
    """``run_once`` finds a step of the clock at the latest when the ticker calls it, once a minute."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policy: Policy,
        *,
        app_ids: Collection[int],
        pace: Callable[[int], Pace],
        sweep_every: timedelta,
    ) -> None:
        self._database, self._clock, self._policy = database, clock, policy
        self._app_ids, self._pace = sorted(app_ids), pace
        self._sweep_most = max(SWEEP_LEASE, sweep_every) + STEP
        self._just_started = True

    async def run_once(self) -> int:
        """Set the clock; how many polls were brought forward."""
        before = self._clock.now()
        await self._database.synchronise()
        step = self._clock.now() - before
        if abs(step) > STEP:
            log.warning("the clock stepped", seconds=step.total_seconds())
        cut = await self._mend(stepped_back=step < -STEP)
        self._just_started = False
        return cut

    async def _mend(self, *, stepped_back: bool) -> int:
        """All that lies ahead is due after a step that was seen; otherwise what lies farther ahead than can be."""
        now, cut = self._clock.now(), 0
        async with self._database.write(durable=False) as connection:
            for app_id in self._app_ids:
                wait = STEP if stepped_back else longest_wait(self._policy, self._pace(app_id))
                cut += await leaps.cut_polls(connection, app_id, beyond=now + wait, now=now)
                await leaps.cut_sweep(connection, app_id, beyond=now + self._sweep_most, now=now)
            if stepped_back or self._just_started:
                await leaps.cut_deliveries(connection, now=now)
        if cut:
            log.warning("polls brought forward: their dates were of another clock", polls=cut)
        return cut
