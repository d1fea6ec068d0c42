"""The verbs on subscriptions and their deliveries. Each owns its transactions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

import structlog

from app.clock import Clock
from app.core.deliveries import CALLER, Attempt, DeliveryStatus, Subscription
from app.core.public import time_text
from app.core.signing import parse_webhook_secret
from app.core.subscribers import subscription_disabled
from app.errors import InvalidRequest, NameConflict, NoSuchSubscription
from app.secret_box import SecretBox
from app.store import delivery_lists as deliveries
from app.store import events as event_store
from app.store import subscriptions as store
from app.store.connection import Connection
from app.store.deliveries import due
from app.store.delivery_lists import Delivery, DeliveryFilter
from app.store.engine import Database
from app.store.pages import Page
from app.tracking.audit import NOBODY, Caller, note, retell
from app.tracking.posting import Post

log = structlog.get_logger(__name__)

OVERLAP = timedelta(hours=24)
"""How long a rotated secret signs beside its successor."""

MOST_SUBSCRIPTIONS = 200
"""Each event is compared with all of them, in the transaction of its change."""

PAGE = 500
"""Events a replay looks at in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """A request to tell somebody; without ``secret`` one is made."""

    name: str
    url: str = field(repr=False)
    types: Sequence[str]
    app_id: int | None
    labels: Mapping[str, str]
    max_in_flight: int
    description: str | None
    secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Which events to send again."""

    since: datetime
    until: datetime | None
    types: Sequence[str] | None
    only: Literal["undelivered", "all"]
    dry_run: bool


class Subscriptions:
    """Keep subscriptions, and show and steer their deliveries. ``check_url`` raises InvalidRequest."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        box: SecretBox,
        post: Post,
        *,
        check_url: Callable[[str], object],
        new_secret: Callable[[], str],
    ) -> None:
        self._database, self._clock, self._box, self._post = database, clock, box, post
        self._check_url, self._new_secret = check_url, new_secret

    # -- keeping

    async def create(self, wanted: NewSubscription, *, by: Caller = NOBODY) -> tuple[Subscription, str | None]:
        """The subscription, and its secret if it is new. Raises InvalidRequest, NameConflict."""
        self._check_url(wanted.url)
        if not self._box.can_keep:
            raise InvalidRequest("subscriptions have secrets: set SECRET_KEY, which encrypts them in the database")
        secret = self._new_secret() if wanted.secret is None else wanted.secret
        key = parse_webhook_secret(secret)
        now = self._clock.now()
        new = Subscription(
            subscription_id=f"sub_{self._clock.token()}",
            name=wanted.name,
            url=wanted.url,
            types=tuple(sorted(set(wanted.types))),
            app_id=wanted.app_id,
            labels=wanted.labels,
            max_in_flight=wanted.max_in_flight,
            description=wanted.description,
            secrets=((self._box.seal(key), None),),
            created_at=now,
            updated_at=now,
        )
        async with self._database.write(alone=True) as connection:
            if await store.add(connection, new):
                if await store.count(connection) > MOST_SUBSCRIPTIONS:
                    raise InvalidRequest(f"there are {MOST_SUBSCRIPTIONS} subscriptions, which is the most")
                await note(connection, by, "subscription.create", new.subscription_id, at=now, name=new.name)
                return new, secret
            there = await store.named(connection, wanted.name)
            assert there is not None
        if _settings(there) != _settings(new) or (wanted.secret and key != self._newest_key(there)):
            raise NameConflict(f"a subscription named {wanted.name} exists with other settings")
        return there, None

    def _newest_key(self, one: Subscription) -> bytes:
        return self._box.open(one.secrets[0][0])

    async def get(self, subscription_id: str) -> Subscription:
        """Raises NoSuchSubscription."""
        async with self._database.read() as connection:
            return _existing(await store.find(connection, subscription_id), subscription_id)

    async def page(self, *, after: str | None, limit: int) -> list[Subscription]:
        """Some of them, by name."""
        async with self._database.read() as connection:
            return await store.page(connection, after=after, limit=limit)

    async def change(
        self, subscription_id: str, given: Mapping[str, Any], *, enabled: bool | None, by: Caller = NOBODY
    ) -> Subscription:
        """Set these fields; it holds for deliveries that wait. Raises InvalidRequest, NoSuchSubscription."""
        if "url" in given:
            self._check_url(given["url"])
        async with self._database.write(alone=True) as connection:
            before = await self._lock(connection, subscription_id)
            after = self._switched(replace(before, **given), enabled)
            if after != before:
                after = replace(after, updated_at=self._clock.now())
                await store.save(connection, after)
                await note(
                    connection,
                    by,
                    "subscription.change",
                    subscription_id,
                    at=after.updated_at,
                    name=after.name,
                    changed=_changed(before, after),
                )
            if before.disabled_at is None and after.disabled_at is not None:
                row = event_store.row(
                    subscription_disabled(after), id=self._clock.token(), at=after.disabled_at, source="api"
                )
                await event_store.add(connection, [row])
            if after != before and after.disabled_at is None:
                due(connection)
        return after

    def _switched(self, one: Subscription, enabled: bool | None) -> Subscription:
        if enabled is False and one.disabled_at is None:
            return replace(one, disabled_at=self._clock.now(), disabled_reason=CALLER)
        if enabled and one.disabled_at is not None:
            return replace(one, disabled_at=None, disabled_reason=None, failing_since=None)
        return one

    async def delete(self, subscription_id: str, *, by: Caller = NOBODY) -> None:
        """Remove it and cancel what waits. Raises NoSuchSubscription."""
        async with self._database.write(alone=True) as connection:
            gone = await self._lock(connection, subscription_id)
            await deliveries.cancel(connection, subscription_id)
            await store.remove(connection, subscription_id)
            now = self._clock.now()
            await note(connection, by, "subscription.delete", subscription_id, at=now, name=gone.name)

    async def rotate(
        self, subscription_id: str, secret: str | None, *, by: Caller = NOBODY
    ) -> tuple[Subscription, str]:
        """A new secret; those before sign beside it for 24 h at most. Raises InvalidRequest, NoSuchSubscription."""
        secret = self._new_secret() if secret is None else secret
        key = parse_webhook_secret(secret)
        now = self._clock.now()
        async with self._database.write(alone=True) as connection:
            one = await self._lock(connection, subscription_id)
            kept = [(sealed, until or now + OVERLAP) for sealed, until in one.secrets if until is None or now < until]
            secrets = ((self._box.seal(key), None), *kept[: KEPT_SECRETS - 1])
            one = replace(one, secrets=secrets, updated_at=now)
            await store.save(connection, one)
            await note(connection, by, "subscription.rotate_secret", subscription_id, at=now, name=one.name)
        return one, secret

    async def _lock(self, connection: Connection, subscription_id: str) -> Subscription:
        return _existing(await store.find(connection, subscription_id, lock=True), subscription_id)

    # -- sending by hand

    async def ping(self, subscription_id: str) -> Attempt:
        """Send something that means nothing, also while it is disabled. Raises NoSuchSubscription."""
        to = await self.get(subscription_id)
        at = time_text(self._clock.now())
        data = {"subscription_id": to.subscription_id, "name": to.name}
        text = json.dumps({"type": "ping", "timestamp": at, "data": data}, separators=(",", ":"), ensure_ascii=False)
        return await self._post.send(to, f"ping_{self._clock.token()}", text.encode())

    async def deliveries(self, wanted: DeliveryFilter, *, before: int | None, limit: int) -> Page[Delivery]:
        """A page of deliveries, newest first."""
        async with self._database.read() as connection:
            return await deliveries.page(connection, wanted, before=before, limit=limit)

    async def redeliver(self, subscription_id: str, delivery: int, *, by: Caller = NOBODY) -> Delivery:
        """Send it at once, whatever became of it. Raises NoSuchSubscription."""
        now = self._clock.now()
        async with self._database.write() as connection:
            _existing(await store.find(connection, subscription_id, lock=True), subscription_id)
            if await deliveries.find(connection, subscription_id, delivery) is None:
                raise NoSuchSubscription(f"{subscription_id} has no such delivery")
            await deliveries.redeliver(connection, delivery, now=now)
            await note(connection, by, "delivery.redeliver", subscription_id, at=now, delivery_id=f"dlv_{delivery}")
            found = await deliveries.find(connection, subscription_id, delivery)
        assert found is not None
        return found

    async def replay(self, subscription_id: str, wanted: Replay, *, by: Caller = NOBODY) -> int:
        """Queue past events behind live ones; how many. Raises InvalidRequest, NoSuchSubscription.

        In transactions of a size that keeps nobody waiting: after a failure repeat it, what is queued stays so.
        """
        to = await self.get(subscription_id)
        if to.disabled_at is not None and not wanted.dry_run:
            raise InvalidRequest("the subscription is disabled; enable it first")
        types = sorted(set(to.types) & set(wanted.types if wanted.types is not None else to.types))
        count, after, more, line = 0, 0, bool(types), None
        while more:
            async with self._database.write() as connection:
                found = await event_store.between(
                    connection, wanted.since, wanted.until, after=after, types=types, limit=PAGE
                )
                page = await self._replay_page(connection, to, found, wanted)
                count += page
                if page and not wanted.dry_run:
                    line = await self._note_replay(connection, by, to, wanted, count=count, line=line)
            more = len(found) == PAGE
            after = found[-1].seq if found else 0
        return count

    async def _note_replay(
        self, connection: Connection, by: Caller, to: Subscription, wanted: Replay, *, count: int, line: int | None
    ) -> int:
        """One line, however many transactions: it counts what is queued so far."""
        span = {"since": time_text(wanted.since), "until": time_text(wanted.until)}
        details = {"name": to.name, "only": wanted.only, "count": count, **span}
        if line is None:
            now = self._clock.now()
            return await note(connection, by, "subscription.replay", to.subscription_id, at=now, **details)
        await retell(connection, line, **details)
        return line

    async def _replay_page(
        self, connection: Connection, to: Subscription, found: Sequence[event_store.StoredEvent], wanted: Replay
    ) -> int:
        over = {DeliveryStatus.FAILED.value, DeliveryStatus.CANCELLED.value}
        over |= {DeliveryStatus.DELIVERED.value} if wanted.only == "all" else set()
        stands = await deliveries.statuses(connection, to.subscription_id, [one.seq for one in found])
        missing = [
            one
            for one in found
            if to.wanted.matches(one.type, one.app_id, one.data.get("task", {}).get("labels", {}))
            and stands.get(one.seq) in {None, *over}
        ]
        if wanted.dry_run:
            return len(missing)
        # A subscription that was deleted meanwhile must be left nothing that waits.
        _existing(await store.find(connection, to.subscription_id, lock=True), to.subscription_id)
        return await deliveries.replay(connection, to.subscription_id, missing, sorted(over), now=self._clock.now())


KEPT_SECRETS = 5
"""Secrets that sign at once at most, however often they are rotated."""


def _settings(one: Subscription) -> tuple[Any, ...]:
    return one.url, set(one.types), one.app_id, dict(one.labels), one.max_in_flight, one.description


def _changed(before: Subscription, after: Subscription) -> list[str]:
    """What callers set that is another by now."""
    names = ("url", "types", "app_id", "labels", "max_in_flight", "description")
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return changed + (["enabled"] if (before.disabled_at is None) != (after.disabled_at is None) else [])


def _existing(found: Subscription | None, subscription_id: str) -> Subscription:
    if found is None:
        raise NoSuchSubscription(f"there is no subscription {subscription_id}")
    return found
