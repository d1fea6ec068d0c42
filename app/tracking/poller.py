"""Drains the queue of due polls: takes a permit and the most urgent task, asks, and writes down what it heard.

No transaction is open while a call is under way. Each app has its own budget and its own turn; a call that fails,
whatever the reason, neither stops the others nor loses its task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from app.clock import Clock
from app.core.schedule import Closing, Pace, Urgency, claim_order
from app.errors import AnswerUnknown, DatabaseUnavailable, ProviderError, Reached
from app.provider.client import Described
from app.store import polls
from app.store.engine import Database
from app.store.polls import Claim
from app.tracking.budget import Budget
from app.tracking.observations import Observations
from app.tracking.turns import Turn, Wait, sleep

log = structlog.get_logger(__name__)

TICK = 1.0
"""Seconds between two looks at the queue while nothing is due and nobody says otherwise."""


class Poller:
    """The polls of all apps. ``stop()`` lets what is under way finish and starts nothing more."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        observations: Observations,
        budgets: Sequence[Budget],
        *,
        pace: Callable[[int], Pace],
        spent: Callable[[int, Urgency], None] = lambda app_id, urgency: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._apps = [_AppPoller(database, clock, observations, budget, pace, spent, alive) for budget in budgets]

    async def run_once(self) -> int:
        """Poll until nothing is due; the number of calls made."""
        return sum(await asyncio.gather(*(app.drain() for app in self._apps)))

    def wake(self) -> None:
        """Something may be due: look again, though nothing was due a moment ago."""
        for app in self._apps:
            app.wake()

    def stop(self) -> None:
        for app in self._apps:
            app.stop()


class _AppPoller:
    """The polls of one app."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        observations: Observations,
        budget: Budget,
        pace: Callable[[int], Pace],
        spent: Callable[[int, Urgency], None],
        alive: Callable[[], None],
    ) -> None:
        self._database, self._clock, self._observations, self._budget = database, clock, observations, budget
        self._pace, self._spent, self._alive = pace, spent, alive
        self._woken = asyncio.Event()
        self._stopped = asyncio.Event()
        self._claims = 0

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopped.set()
        self._woken.set()

    async def drain(self) -> int:
        # No TaskGroup: it would cancel the calls under way when a claim fails.
        calls: set[asyncio.Task[None]] = set()
        try:
            return await self._claim_until_none_is_due(calls)
        finally:
            await asyncio.gather(*calls)

    async def _claim_until_none_is_due(self, calls: set[asyncio.Task[None]]) -> int:
        made, step = 0, None
        while not self._stopped.is_set():
            self._woken.clear()
            self._alive()
            # Looking costs less than claiming in vain; but while there is more than we can ask, claim at once.
            step = await self._next() if step is not None or await self._is_any_due() else None
            if isinstance(step, Wait):
                await self._budget.wait_for(step, self._stopped)
            elif step is not None:
                made += 1
                call = asyncio.create_task(self._poll(*step))
                calls.add(call)
                call.add_done_callback(calls.discard)
                call.add_done_callback(lambda _: self._woken.set())
            elif calls:
                # A slow call must not keep the others from what comes due meanwhile.
                await sleep(self._clock, TICK, self._woken)
            elif not self._woken.is_set():
                break
        return made

    async def _is_any_due(self) -> bool:
        async with self._database.read() as connection:
            now, horizon = self._clock.now(), self._closing().horizon
            return await polls.any_due(connection, self._budget.app_id, now=now, horizon=horizon)

    def _closing(self) -> Closing:
        return self._pace(self._budget.app_id).closing

    async def _next(self) -> tuple[Turn, Claim] | Wait | None:
        """A permit and the most urgent task in one transaction or statement; None if nothing is due."""
        # Before the transaction: the lease must not seem longer to us than it is to the database.
        started = self._clock.monotonic()
        waiting = await self._budget.wait(started)
        if waiting is not None:
            return waiting
        closing = self._closing()
        order, horizon = claim_order(self._claims, pressing=closing.pressing), closing.horizon
        if not self._database.is_sqlite:
            could_tell, step = await self._budget.claim(started, order=order, horizon=horizon)
            if could_tell:
                self._claims += isinstance(step, tuple)
                return step
        async with self._database.write(durable=False) as connection:
            permit = await self._budget.take(connection, started)
            if isinstance(permit, Wait):
                return permit
            now = self._clock.now()
            claim = await polls.claim(connection, self._budget.app_id, order=order, now=now, horizon=horizon)
            if claim is None:
                await self._budget.put_back(connection, permit)
        if claim is None:
            return None
        self._claims += 1
        return self._budget.begin(permit, started), claim

    async def _poll(self, turn: Turn, claim: Claim) -> None:
        told = await self._ask(turn, claim)
        self._budget.settle_own(turn, told if isinstance(told, ProviderError) else None)
        if turn.call.sent_at is not None:
            self._spent(self._budget.app_id, claim.urgency)
        try:
            # What the poll changes is logged with the answer it comes from.
            answer = {"provider_request_id": told.request_id} if told.request_id else {}
            with structlog.contextvars.bound_contextvars(**answer):
                await self._record(turn, claim, told)
        except DatabaseUnavailable as error:
            # Nothing is lost: the claim and the permit come back by their leases, and the task is asked about again.
            log.warning("poll not recorded", task_id=claim.task_id, error=str(error))
        except Exception:
            log.exception("poll crashed", task_id=claim.task_id)
            await self._record_crash(turn, claim)

    async def _ask(self, turn: Turn, claim: Claim) -> Described | ProviderError:
        told = await self._describe(turn, claim)
        failed = isinstance(told, ProviderError)
        call = turn.call
        log.log(
            logging.INFO if failed else logging.DEBUG,
            "poll failed" if failed else "polled",
            task_id=claim.task_id,
            provider_request_id=told.request_id,
            error=str(told) if failed else None,
            permit=turn.permit.slot,
            sent_at=call.sent_at,
            answered_at=call.answered_at,
        )
        return told

    async def _describe(self, turn: Turn, claim: Claim) -> Described | ProviderError:
        asked_at = self._clock.now()
        try:
            return await self._budget.provider.describe(
                claim.task_id, turn.call, claim_no=claim.claim_no, asked_at=asked_at
            )
        except ProviderError as error:
            return error
        except Exception:
            log.exception("poll crashed", task_id=claim.task_id)
            reached: Reached = "no" if turn.call.sent_at is None else "perhaps"
            return AnswerUnknown("crashed", "our own fault; see the log", reached=reached)

    async def _record(self, turn: Turn, claim: Claim, told: Described | ProviderError) -> None:
        """Apply the answer and settle the permit in one transaction or statement."""
        if isinstance(told, Described):
            since = partial(self._budget.since, turn.call)
            if await self._observations.observe_at_once(claim, told, turn.permit, since):
                return
        async with self._database.write(durable=False) as connection:
            if isinstance(told, ProviderError):
                await self._observations.poll_failed(connection, claim, told)
                await self._budget.settle(connection, turn, told)
            else:
                await self._observations.observe(connection, claim, told)
                await self._budget.settle(connection, turn, None)

    async def _record_crash(self, turn: Turn, claim: Claim) -> None:
        """An answer we cannot store must not be asked for again at full speed, nor keep its permit."""
        error = AnswerUnknown("crashed", "the answer could not be stored; see the log")
        try:
            await self._record(turn, claim, error)
        except Exception:
            log.exception("crash not recorded", task_id=claim.task_id)
