"""The process dies between any two steps of a delivery: it is sent at least once, with the same id, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from sqlalchemy import select, update

from app.core.deliveries import LEASE, SCHEDULE
from app.outgoing.answers import Answer
from app.outgoing.sender import Sender
from app.store.models import EventRow
from app.store.models_webhooks import DeliveryRow
from app.wiring import Service, open_service
from tests.sink import Letter, Reply, Sink, open_sink
from tests.tracking.test_webhooks import deliveries, happen, register, subscribe
from tests.unruly import Fuse
from tests.world import HandClock, MakeSettings, task_id


class DyingSender:
    """Dies before a POST, or after it, when the fuse says so."""

    def __init__(self, sender: Sender, fuse: Fuse) -> None:
        self._sender, self._fuse = sender, fuse

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self._fuse.burn()
        answer = await self._sender.post(url, headers, body)
        self._fuse.burn()
        assert isinstance(answer, Answer)
        return answer


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as sink:
        yield sink


async def deliver_and_die(service: Service, left: int) -> bool:
    """Let the deliverer work until it dies before that many more acts; False if it got through."""
    fuse = Fuse()
    service.webhooks._post._sender = DyingSender(  # type: ignore[assignment]
        service.webhooks._post._sender, fuse
    )
    fuse.guard(service.database)
    fuse.left = left
    ends = [asyncio.ensure_future(service.webhooks.run_once()), asyncio.ensure_future(fuse.blown.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    mine = [*ends, *service.webhooks._flying]
    for one in mine:
        one.cancel()
    await asyncio.gather(*mine, return_exceptions=True)
    return fuse.blown.is_set()


async def test_killed_at_any_step_a_delivery_is_made_at_least_once(
    settings: MakeSettings, clock: HandClock, sink: Sink
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # who dies tells nobody
    chosen, left, died = sink.settings(settings), 0, True
    async with open_service(chosen, clock=clock) as service:
        for path in ("/steady", "/late"):
            await subscribe(service, sink.url(path), path[1:])
    while died:
        sink.letters.clear()
        tasks = [2 * left, 2 * left + 1]
        refused: set[str] = set()

        def answer(letter: Letter, refused: set[str] = refused) -> Reply:
            """The second refuses each for the first time."""
            first = letter.path == "/late" and letter.id not in refused
            refused.add(letter.id)
            return Reply(500 if first else 200)

        sink.answer = answer
        async with open_service(chosen, clock=clock) as service:
            for number in tasks:
                await register(service, number)
                await happen(service, number)
                await happen(service, number)
            died = await deliver_and_die(service, left)
        async with open_service(chosen, clock=clock) as service:
            for wait in (LEASE, SCHEDULE[0], LEASE):
                clock.advance(wait.total_seconds())
                await service.webhooks.run_once()
            standing = await deliveries(service)
            assert {one.status for one in standing} == {"delivered"}, left
            for number in tasks:
                history = await service.tasks.history(task_id(number), after=0, limit=9)
                told = [one.id for one in history if one.type == "task.updated"]
                for path in ("/steady", "/late"):
                    arrived = [x.id for x in sink.letters if x.path == path and x.event["task_id"] == task_id(number)]
                    assert list(dict.fromkeys(arrived)) == told, left
        left += 1
    assert left > 15


async def test_killed_at_any_step_an_end_is_told_exactly_once(
    settings: MakeSettings, clock: HandClock, sink: Sink
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # who dies tells nobody
    chosen, left, died = sink.settings(settings), 0, True
    sink.answer = lambda letter: Reply({"/gone": 410, "/fails": 500}.get(letter.path, 200))
    async with open_service(chosen, clock=clock) as service:
        await subscribe(service, sink.url("/fails"), "fails")
        gone, _ = await subscribe(service, sink.url("/gone"), "gone")
        await subscribe(service, sink.url("/watch"), "watch", types=["subscription.disabled", "delivery.failed"])
    while died:
        sink.letters.clear()
        async with open_service(chosen, clock=clock) as service:
            await service.subscriptions.change(gone.subscription_id, {}, enabled=True)
            await register(service, left)
            await happen(service, left)
            async with service.database.write() as connection:
                last = update(DeliveryRow).where(DeliveryRow.status == "pending")
                await connection.execute(last.values(tries=len(SCHEDULE)))
                before = len((await connection.execute(select(EventRow.seq))).all())
            died = await deliver_and_die(service, left)
        async with open_service(chosen, clock=clock) as service:
            for _ in range(2):
                clock.advance(LEASE.total_seconds())
                await service.webhooks.run_once()
            async with service.database.read() as connection:
                rows = await connection.execute(select(EventRow.type).order_by(EventRow.seq).offset(before))
            assert sorted(rows.scalars()) == ["delivery.failed", "delivery.failed", "subscription.disabled"], left
            watched = {letter.id for letter in sink.letters if letter.path == "/watch"}
            assert len(watched) == 3, left
        left += 1
    assert left > 15
