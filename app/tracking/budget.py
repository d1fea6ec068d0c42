"""The call budget of one app: the only way to its provider.

A permit may be used again one second after the answer to its last call was received. With ten permits, the n-th and
the (n+10)-th call then arrive at least a second apart, whatever the jitter: the first arrived before its answer, the
second arrives after its sending. The permits are rows, so the rule holds for all processes on the database; each
process also keeps it on its own monotonic clock, should the database's clock step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog

from app.clock import Clock
from app.core.budget import CALL, COOL_DOWN, LEASE, Result, after
from app.core.schedule import Urgency
from app.errors import AppRefused, NeverSent, ProviderError, ProviderThrottled, ProviderUnavailable
from app.provider.client import DESCRIBE_RECORD_STATUS, Call, Provider
from app.store import budget as store
from app.store import trips
from app.store.budget import Permit
from app.store.connection import Connection
from app.store.engine import Database
from app.store.polls import Claim
from app.tracking.calls import PROBE, begin_counting, count
from app.tracking.turns import OwnClockRule, Turn, Wait, sleep

log = structlog.get_logger(__name__)


TRAVEL = 0.003
"""Seconds from reading our clock to PostgreSQL's reading its own: it counts a permit's second from there. Who asks for
the permit sooner asks in vain."""

SWITCH = 0.5
"""Seconds between two looks whether operators switched the calls on again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """``allowed``: permits in use at most after throttling; ``paused``: why only probes are sent. Times in seconds."""

    limit: int
    cap: int
    switched_off: bool
    allowed: int
    in_use: int
    in_doubt: int
    paused: str | None
    probe_in: float | None
    last_refusal_ago: float | None


class Budget:
    """The permits of one app for one of the provider's actions, and the state of its calls."""

    def __init__(
        self,
        app_id: int,
        provider: Provider,
        *,
        action: str = DESCRIBE_RECORD_STATUS,
        database: Database,
        clock: Clock,
        limit: int,
        share: int,
    ) -> None:
        self.app_id, self.provider, self.limit = app_id, provider, limit
        self.action, self._database, self._clock = action, database, clock
        self._own = OwnClockRule(min(limit, share))
        self._name = clock.token()
        self._in_vain = self._astray = False
        self._round_trip, self._allowed = 0.1, limit
        begin_counting(app_id, action)

    @property
    def rate(self) -> float:
        """Calls a second that the permits allow at the round trips seen lately."""
        return self._allowed / (COOL_DOWN + self._round_trip)

    async def open(self) -> None:
        """Create the rows that are missing."""
        async with self._database.write() as connection:
            await store.ensure(connection, self.app_id, self.action, self.limit)

    async def wait(self, now: float) -> Wait | None:
        """How long there is surely no permit for this process; None if it is worth a try.

        Asks the database only if the last try was in vain: others use the permits then.
        """
        waiting = self._own.wait(now)
        if waiting is None and self._in_vain:
            async with self._database.read() as connection:
                waiting = await self._look(connection)
        return waiting

    async def take(self, connection: Connection, started: float) -> Permit | Wait:
        """Take a permit in the caller's transaction, begun at ``started``; once that is committed, `begin` the turn."""
        state, now = await store.state(connection, self.app_id, self.action)
        permit = None
        if not state.paused and not state.switched_off:
            allowed = self._allowed = state.allowed(self.limit, now=now)
            permit = await store.take(connection, self.app_id, self.action, allowed, holder=self._name)
        self._in_vain = permit is None
        if permit is None:
            # If there is one after all, another process is taking it just now.
            return await self._look(connection) or Wait(started + 0.005)
        return permit

    def begin(self, permit: Permit, started: float) -> Turn:
        """The turn of a permit that was taken, asked for at ``started`` on the monotonic clock. Settle it."""
        return Turn(permit, self._own.take(), Call(deadline=started + CALL))

    async def claim(
        self, started: float, *, order: Sequence[Urgency], horizon: timedelta
    ) -> tuple[bool, tuple[Turn, Claim] | Wait | None]:
        """On PostgreSQL: a permit and the most urgent task by one statement, which commits by itself.

        Whether it could tell, and what: the turn and its claim, how long there is no permit, or None if nothing is due.
        It cannot while not all permits may be used. If its connection ends, what it took comes back by the leases.
        """
        async with self._database.at_once() as connection:
            found = await trips.claim(
                connection,
                self.app_id,
                self.action,
                limit=self.limit,
                holder=self._name,
                order=order,
                now=self._clock.now(),
                horizon=horizon,
            )
            if not found.is_calm:
                return False, None
            if found.permit is None:
                if found.wait is None or found.wait > COOL_DOWN:
                    return True, await self._look(connection) or Wait(started + 0.005)
                # If there was one after all, another process was taking it just then.
                return True, Wait(self._clock.monotonic() + (found.wait + 0.001 if found.wait > 0 else 0.005))
            if found.claim is None:
                await self.put_back(connection, found.permit)
        self._in_vain, self._allowed = False, self.limit
        if found.claim is None:
            return True, None
        return True, (self.begin(found.permit, started), found.claim)

    async def _look(self, connection: Connection) -> Wait | None:
        state, now = await store.state(connection, self.app_id, self.action)
        if state.switched_off:
            return Wait(self._clock.monotonic() + SWITCH, paused=True)
        if state.paused:
            # Not for long: another process may hear first that the provider is back.
            until = self._clock.monotonic() + min(max(state.probe_at - now, 0.05), 1.0)
            return Wait(until, probe=True, paused=True)
        allowed = state.allowed(self.limit, now=now)
        stand = await store.permits(connection, self.app_id, self.action, allowed, holder=self._name)
        if stand.astray:
            self._astray = True
        if stand.wait == 0.0:
            return None
        return Wait(self._clock.monotonic() + stand.wait, probe=stand.in_doubt == allowed)

    async def turn(self, unless: asyncio.Event) -> Turn | None:
        """A permit as soon as there is one; None if the event happens first, or if only probes are sent at present."""
        while not unless.is_set():
            started = self._clock.monotonic()
            step: Permit | Wait | None = await self.wait(started)
            if step is None:
                async with self._database.write(durable=False) as connection:
                    step = await self.take(connection, started)
            if isinstance(step, Permit):
                return self.begin(step, started)
            await self.wait_for(step, unless)
            if step.paused:
                return None
        return None

    async def wait_for(self, step: Wait, unless: asyncio.Event) -> None:
        """Wait until there may be a permit, or the event happens; probe if only a probe can free one."""
        await self.heal()
        if step.probe:
            await self.probe()
        await sleep(self._clock, step.until - self._clock.monotonic(), unless)

    async def heal(self) -> None:
        """Cut times that lie too far ahead, if a look found some."""
        if self._astray:
            self._astray = False
            async with self._database.write(durable=False) as connection:
                await store.heal(connection, self.app_id, self.action)

    async def put_back(self, connection: Connection, permit: Permit) -> None:
        """Return a permit for which there was nothing to ask."""
        await store.give_back_unused(connection, permit)

    def settle_own(self, turn: Turn, error: ProviderError | None) -> None:
        """Settle the call by this process's own rule, whatever happens to the database."""
        now = self._clock.monotonic()
        count(self.app_id, self.action, turn.call, error)
        if turn.call.sent_at is not None and turn.call.answered_at is not None:
            self._round_trip += (turn.call.answered_at - turn.call.sent_at - self._round_trip) / 20
        if error is not None and error.reached == "no":
            self._own.release(turn.place, now)
        elif error is not None and error.reached == "perhaps":
            self._own.give_up(turn.place, now)
        else:
            travel = 0.0 if self._database.is_sqlite else TRAVEL
            self._own.release(turn.place, (turn.call.answered_at or now) + COOL_DOWN + travel)
            self._own.believe(turn.call)

    async def settle(self, connection: Connection, turn: Turn, error: ProviderError | None) -> None:
        """Settle the call in the caller's transaction: its permit, and what it says of the app."""
        if error is None or error.reached == "yes":
            await store.give_back(connection, turn.permit, **self.since(turn.call))
        elif error.reached == "no":
            await store.give_back_unused(connection, turn.permit)
        else:
            await store.give_up(connection, turn.permit)
        await self._note(connection, error)

    async def _note(self, connection: Connection, error: ProviderError | None) -> None:
        result = result_of(error)
        if result is None:
            return
        if result is Result.GOOD or error is None:
            await store.forget_misses(connection, self.app_id, self.action)
            return
        before, now = await store.state(connection, self.app_id, self.action, lock=True)
        state = after(before, result, reason=error.code, limit=self.limit, now=now)
        await store.save_state(connection, self.app_id, self.action, state)
        if state.paused and state.paused != before.paused:
            log.warning("app paused", app_id=self.app_id, reason=state.paused, error=str(error))
        if result is Result.THROTTLED and state.cut_to != before.cut_to:
            log.warning("app throttled", app_id=self.app_id, permits=state.cut_to, error=str(error))

    async def trouble(self) -> str | None:
        """Why no call but probes is made at present; None if all is well."""
        async with self._database.read() as connection:
            state, _ = await store.state(connection, self.app_id, self.action)
        if state.switched_off:
            return "paused by an operator: PATCH /v1/apps"
        return state.paused and f"paused: {state.paused}"

    async def switch(self, connection: Connection, *, off: bool | None = None, cap: int | None = None) -> None:
        """Heed what an operator set, in every process: no calls at all, or at most ``cap`` permits in use."""
        switches: dict[str, Any] = {} if off is None else {"switched_off": off}
        if cap is not None:
            switches["cap"] = cap if cap < self.limit else None
        if switches:
            await store.switch(connection, self.app_id, self.action, **switches)

    async def stand(self, connection: Connection) -> Stand:
        """How the permits stand."""
        state, now = await store.state(connection, self.app_id, self.action)
        allowed = state.allowed(self.limit, now=now)
        permits = await store.permits(connection, self.app_id, self.action, allowed)
        return Stand(
            limit=self.limit,
            cap=min(self.limit, state.cap or self.limit),
            switched_off=state.switched_off,
            allowed=allowed,
            in_use=permits.in_flight + permits.cooling,
            in_doubt=permits.in_doubt,
            paused=state.paused,
            probe_in=max(state.probe_at - now, 0.0) if state.paused else None,
            last_refusal_ago=now - state.refused_at if state.cut_to is not None else None,
        )

    async def probe(self) -> None:
        """Ask the provider something that is no DescribeRecordStatus call, if no process did so just now.

        Its answer ends the doubts about earlier calls, and the app's pause if that was what it waited for.
        """
        started = self._clock.monotonic()
        async with self._database.write(durable=False) as connection:
            state, _ = await store.state(connection, self.app_id, self.action)
            wait = state.probe_interval()
            if not await store.take_probe(connection, self.app_id, self.action, wait=wait, longest=LEASE):
                return
        call, error = Call(deadline=started + CALL), None
        try:
            await self.provider.probe(call, now=self._clock.now())
        except ProviderError as trouble:
            error = trouble
        count(self.app_id, PROBE, call, error)
        async with self._database.write(durable=False) as connection:
            await self._settle_probe(connection, call, error)

    async def _settle_probe(self, connection: Connection, call: Call, error: ProviderError | None) -> None:
        before, now = await store.state(connection, self.app_id, self.action, lock=True)
        state = before
        if error is None or error.reached == "yes":
            self._own.believe(call)
            await store.release_doubts(connection, self.app_id, self.action, **self.since(call))
        if result_of(error) in (Result.GOOD, Result.THROTTLED):
            state = replace(before, paused=None, misses=0)
            if before.paused:
                log.info("app resumed", app_id=self.app_id, after=before.paused)
        elif isinstance(error, AppRefused):
            state = replace(before, paused=error.code)
        await store.save_state(
            connection,
            self.app_id,
            self.action,
            replace(state, probe_at=now + state.probe_interval()),
        )

    def since(self, call: Call) -> dict[str, float]:
        """Seconds since its answer, and since it was sent."""
        now = self._clock.monotonic()
        answered_at = call.answered_at if call.answered_at is not None else now
        sent_at = call.sent_at if call.sent_at is not None else answered_at
        return {"since_answer": now - answered_at, "since_send": now - sent_at}


def result_of(error: ProviderError | None) -> Result | None:
    """What a call says about the app; None: nothing, it never left."""
    if isinstance(error, NeverSent):
        return None
    if isinstance(error, ProviderThrottled):
        return Result.THROTTLED
    if isinstance(error, AppRefused):
        return Result.REFUSED
    return Result.UNAVAILABLE if isinstance(error, ProviderUnavailable) else Result.GOOD
