"""kill -9 between any two steps of a delivery: it is made at least once, with the same id, and never lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import pytest
from sqlalchemy import update

from app.core.deliveries import LEASE, SCHEDULE
from app.store.tables_webhooks import DELIVERIES
from app.wiring import Service, open_service
from tests.dying import Deliverers, Order, open_deliverers
from tests.sink import Letter, Reply, Sink, open_sink
from tests.tracking.test_webhooks import deliveries, happen, register, subscribe
from tests.world import HandClock, MakeSettings, task_id

EACH = {"sqlite": 6, "postgresql": 15}
"""One of so many steps is died before, for the suite's time; 1 is all of them. A delivery takes more than that many."""

OUTCOMES: dict[str, set[tuple[str, tuple[int | None, ...]]]] = {
    "/steady": {("delivered", (200,))},
    "/late": {("delivered", (500, 200)), ("delivered", (200,))},  # who dies does not always tell that it was refused
    "/gone": {("failed", (410,))},
    "/watch": {("delivered", (200,))},
}
"""By subscriber: how a delivery may end, and what was answered to it."""


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def deliverers() -> Iterator[Deliverers]:
    with open_deliverers() as deliverers:
        yield deliverers


def answers(sink: Sink) -> None:
    """Let each subscriber answer as its name says; the late one refuses each webhook for the first time."""
    refused: set[str] = set()

    def answer(letter: Letter) -> Reply:
        first = letter.id not in refused
        refused.update({letter.id} if letter.path == "/late" else ())
        return Reply({"/gone": 410, "/late": 500 if first else 200}.get(letter.path, 200))

    sink.answer = answer


async def subscribe_all(service: Service, sink: Sink) -> dict[str, str]:
    """The subscribers' paths, by the ids of their subscriptions."""
    paths = {}
    for path, types in {
        "/steady": ["task.updated"],
        "/late": ["task.updated"],
        "/gone": ["task.registered"],
        "/watch": ["subscription.disabled", "delivery.failed"],
    }.items():
        one, _ = await subscribe(service, sink.url(path), path[1:], types=types)
        paths[one.subscription_id] = path
    return paths


async def queue(service: Service, number: int) -> None:
    """Two events for the steady and the late, and one, for the last time, for who is gone."""
    await register(service, number)
    await happen(service, number)
    await happen(service, number)
    async with service.database.write() as connection:
        last = update(DELIVERIES).where(DELIVERIES.c.status == "pending", DELIVERIES.c.type == "task.registered")
        await connection.execute(last.values(tries=len(SCHEDULE)))


def copies(sink: Sink) -> Counter[tuple[str, str]]:
    return Counter((letter.path, letter.id) for letter in sink.letters)


async def go_on(service: Service, clock: HandClock, sink: Sink) -> None:
    """Another process delivers the rest; not before its lease is over what the dead one may have sent."""
    await service.webhooks.run_once()
    assert set(copies(sink).values()) <= {1}
    for _ in range(2):
        clock.advance(LEASE.total_seconds())
        await service.webhooks.run_once()


async def told(service: Service, number: int) -> list[str]:
    """The ids of what the steady and the late are to hear of."""
    history = await service.tasks.history(task_id(number), after=0, limit=9)
    return [one.id for one in history if one.type == "task.updated"]


async def check(service: Service, sink: Sink, paths: dict[str, str], number: int, since: datetime) -> None:
    arrived = copies(sink)
    standing = await deliveries(service, created_after=since)
    assert {(paths[one.subscription_id], one.event_id) for one in standing} == set(arrived)
    for one in standing:
        path = paths[one.subscription_id]
        assert (one.status, tuple(x.status_code for x in one.attempts)) in OUTCOMES[path]
        assert one.next_attempt_at is None
        assert 0 <= arrived[path, one.event_id] - len(one.attempts) <= 1  # it died once
    for path in ("/steady", "/late"):
        assert [id for at, id in arrived if at == path] == await told(service, number)
    for key in arrived:
        assert len({letter.body for letter in sink.letters if (letter.path, letter.id) == key}) == 1
    ends = {letter.id: letter.event["type"] for letter in sink.letters if letter.path == "/watch"}
    assert sorted(ends.values()) == ["delivery.failed", "subscription.disabled"]  # each is told once


async def test_killed_at_any_step_a_delivery_is_made_at_least_once_and_an_end_told_once(
    settings: MakeSettings, clock: HandClock, sink: Sink, deliverers: Deliverers
) -> None:
    chosen = sink.settings(settings)
    answers(sink)
    step, died = 0, True
    async with open_service(chosen, clock=clock) as service:
        paths = await subscribe_all(service, sink)
        (gone,) = [id for id, path in paths.items() if path == "/gone"]
        while died:
            sink.letters.clear()
            since = clock.now()
            clock.advance(1)
            await service.subscriptions.change(gone, {}, enabled=True)
            await queue(service, step)
            died = await deliverers.deliver(Order(chosen.database_url, sink.port, clock.now(), step))
            await go_on(service, clock, sink)
            await check(service, sink, paths, step, since)
            step += EACH["sqlite" if service.database.is_sqlite else "postgresql"]
    assert step > 50
