"""Sends what is due to subscribers, and writes down what they answered.

One transaction writes down all that was answered meanwhile and claims what is due next; none is open during a POST.
Each subscription has its own room for deliveries in flight, in all processes together, so none waits for another.
A crash at any instant leaves a delivery claimed at most; its lease brings it back, with the same webhook-id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from app import metrics
from app.clock import Clock
from app.core.deliveries import OTHER_EVENTS, Attempt, Subscription, body, disabling, judge
from app.core.public import event_json
from app.core.subscribers import delivery_failed, subscription_disabled
from app.errors import DatabaseUnavailable
from app.store import deliveries as store
from app.store import events as event_store
from app.store import subscriptions as subscription_store
from app.store.connection import Connection
from app.store.deliveries import Claim, Ready
from app.store.engine import Database
from app.store.events import StoredEvent
from app.tracking.posting import Post
from app.tracking.turns import sleep

log = structlog.get_logger(__name__)

TICK = 1.0
"""Seconds between two looks at the queue while nobody says that something is due."""

TOGETHER = 100
"""Deliveries written down in one transaction at most."""

PATIENCE = 5.0
"""Seconds that a stop waits for POSTs under way; those cut off are sent again, by their leases."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A claimed delivery that was sent, and what came of it."""

    claim: Claim
    attempt: Attempt


class Webhooks:
    """The deliveries. ``stop()`` starts nothing more, and gives what is under way a moment."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        post: Post,
        *,
        public_url: str | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._database, self._clock, self._post = database, clock, post
        self._public_url, self._alive = public_url, alive
        self._woken, self._stopped = asyncio.Event(), asyncio.Event()
        self._flying: set[asyncio.Task[None]] = set()
        self._sent: list[Sent] = []
        for result in ("delivered", "failed"):
            metrics.DELIVERY_ATTEMPTS.labels(result)

    def wake(self) -> None:
        """Something may be due: look again."""
        self._woken.set()

    def stop(self) -> None:
        self._stopped.set()
        self._woken.set()

    async def run_once(self) -> int:
        """Send until nothing is due; the number of attempts made."""
        made = 0
        while not self._stopped.is_set():
            self._woken.clear()
            self._alive()
            started = await self._step()
            made += started
            if self._flying or self._sent:
                await sleep(self._clock, TICK, self._woken)
            elif not started and not self._woken.is_set():
                return made
        await self._land()
        return made

    async def close(self) -> None:
        """Break off what is still under way."""
        for post in self._flying:
            post.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)

    async def _land(self) -> None:
        """Give what is under way a moment to end, and write down what came of it."""
        if self._flying:
            await asyncio.wait(self._flying, timeout=PATIENCE)
        while self._sent:
            await self._turn(claiming=False)

    async def _step(self) -> int:
        if not self._sent:
            async with self._database.read() as connection:
                if not await store.any_due(connection, self._clock.now()):
                    return 0
        return await self._turn(claiming=True)

    async def _turn(self, *, claiming: bool) -> int:
        """Write down what was answered, and send what is due; how many."""
        batch, self._sent = self._sent[:TOGETHER], self._sent[TOGETHER:]
        try:
            claimed = await self._commit(batch, claiming=claiming)
        except DatabaseUnavailable:
            # Nothing is lost: it is written down at the next turn, or sent again when its lease is over.
            self._sent = batch + self._sent
            raise
        except Exception:
            if not batch:
                raise
            log.exception("deliveries not recorded together", number=len(batch))
            await self._record_alone(batch)
            claimed = []
        for to, claim, event in claimed:
            self._start(to, claim, event)
        if self._sent:
            self._woken.set()
        return len(claimed)

    async def _record_alone(self, batch: Sequence[Sent]) -> None:
        """One that cannot be stored must not take the others with it; it is sent again when its lease is over."""
        for one in batch:
            try:
                await self._commit([one], claiming=False)
            except DatabaseUnavailable:
                self._sent.append(one)
            except Exception:
                log.exception("delivery not recorded", webhook_id=one.claim.event_id)

    async def _commit(
        self, batch: Sequence[Sent], *, claiming: bool
    ) -> list[tuple[Subscription, Claim, StoredEvent | None]]:
        async with self._database.write(durable=False) as connection:
            now = self._clock.now()
            ready = await store.lock_ready(connection, sorted({one.claim.subscription_id for one in batch}), now)
            known = {one.subscription.subscription_id: one.subscription for one in ready}
            if batch:
                known |= await self._record(connection, batch, known, now=now)
            if not claiming:
                return []
            return await self._claim(
                connection,
                [replace(one, subscription=known[one.subscription.subscription_id]) for one in ready],
                now=now,
            )

    # -- writing down

    async def _record(
        self, connection: Connection, batch: Sequence[Sent], known: Mapping[str, Subscription], *, now: datetime
    ) -> dict[str, Subscription]:
        """What became of the deliveries, and of their subscriptions; these, where it changed them."""
        attempts = {one.claim.id: one.attempt for one in batch}
        judged = [
            (
                one.claim,
                judge(one.attempt, tries=one.claim.tries + 1, now=now, jitter=self._clock.jitter()),
            )
            for one in batch
        ]
        await store.add_attempts(connection, [(one.claim.id, one.attempt) for one in batch])
        failed = await store.settle(connection, judged)
        told = [
            delivery_failed(known[one.subscription_id], one.id, one.event_id, one.type, one.task_id, attempts[one.id])
            for one in failed
            if one.subscription_id in known
            and one.type not in OTHER_EVENTS  # else two that fail would tell each other for ever
        ]
        moved = {one.subscription_id: one for one in after(batch, known.values(), now=now)}
        for subscription_id, one in moved.items():
            await subscription_store.save(connection, one)
            if one.disabled_at != known[subscription_id].disabled_at:
                log.warning("subscription disabled", subscription=one.name, reason=one.disabled_reason)
                told.append(subscription_disabled(one))
        rows = [event_store.row(event, id=self._clock.token(), at=now, source="timer") for event in told]
        await event_store.add(connection, rows)
        return moved

    # -- claiming

    async def _claim(
        self, connection: Connection, ready: Sequence[Ready], *, now: datetime
    ) -> list[tuple[Subscription, Claim, StoredEvent | None]]:
        """As many of each subscription's as it has room for."""
        ready = [one for one in ready if one.subscription.disabled_at is None]
        busy = await store.in_flight(connection, [one.subscription.subscription_id for one in ready], now)
        taken: list[tuple[Subscription, Claim]] = []
        for one in ready:
            to = one.subscription
            room = to.max_in_flight - busy.get(to.subscription_id, 0)
            for behind, any_there in ((False, one.live), (True, one.behind)):
                if any_there and room > 0:
                    claims = await store.claim(connection, to.subscription_id, behind=behind, now=now, limit=room)
                    taken += [(to, claim) for claim in claims]
                    room -= len(claims)
        found = await event_store.find(connection, sorted({claim.event_seq for _, claim in taken})) if taken else {}
        return [(to, claim, found.get(claim.event_seq)) for to, claim in taken]

    # -- sending

    def _start(self, to: Subscription, claim: Claim, event: StoredEvent | None) -> None:
        post = asyncio.create_task(self._send(to, claim, event))
        self._flying.add(post)
        post.add_done_callback(self._flying.discard)
        post.add_done_callback(lambda _: self._woken.set())

    async def _send(self, to: Subscription, claim: Claim, event: StoredEvent | None) -> None:
        if event is None:
            attempt = Attempt(self._clock.now(), None, 0, "the event is no longer kept", None)
        else:
            attempt = await self._post.send(to, claim.event_id, body(event_json(event), public_url=self._public_url))
        log.log(
            logging.DEBUG if attempt.succeeded else logging.INFO,
            "delivered" if attempt.succeeded else "delivery failed",
            subscription=to.name,
            webhook_id=claim.event_id,
            task_id=claim.task_id,
            status=attempt.status_code,
            error=attempt.error,
            tries=claim.tries + 1,
        )
        metrics.DELIVERY_ATTEMPTS.labels("delivered" if attempt.succeeded else "failed").inc()
        if attempt.succeeded and event is not None:
            metrics.DELIVERY_AGE.observe((self._clock.now() - event.occurred_at).total_seconds())
        self._sent.append(Sent(claim, attempt))


def after(batch: Sequence[Sent], known: Iterable[Subscription], *, now: datetime) -> list[Subscription]:
    """The enabled subscriptions that these attempts changed: from when they fail, and whether they are disabled."""
    changed = []
    for before in known:
        one = before
        for sent in batch:
            if sent.claim.subscription_id == one.subscription_id and one.disabled_at is None:
                reason = disabling(sent.attempt, failing_since=one.failing_since, now=now)
                since = None if sent.attempt.succeeded else one.failing_since or sent.attempt.at
                one = replace(one, failing_since=since)
                if reason is not None:
                    one = replace(one, disabled_at=now, disabled_reason=reason, updated_at=now)
        if one != before:
            changed.append(one)
    return changed
