"""What is kept for RETENTION_DAYS, and what goes then: tasks with all that hangs on them, receipts, events."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from app.core.recording import Status, Tracking
from app.errors import FeedPositionLost, TaskNotFound
from app.store import callbacks as callback_store
from app.store import feed, purging
from app.store.feed import FeedFilter
from app.store.tables import METADATA, TASKS
from app.store.tables_webhooks import ATTEMPTS, DELIVERIES
from app.tracking import housekeeping
from app.tracking.registration import NewTask
from app.wiring import Service, open_service
from tests.world import APP, HandClock, MakeSettings, observe, seen_file, task_id

DAY = 86400.0
EVERYTHING = FeedFilter()


async def register(service: Service, *numbers: int, **more: Any) -> None:
    wanted = [NewTask(task_id=task_id(number), labels={"team": "support"}, **more) for number in numbers]
    await service.registration.register_batch(wanted)


async def settle(service: Service, number: int = 0, files: int = 1) -> None:
    seen = [seen_file(f"file-{one}") for one in range(files)]
    await observe(service, task_id(number), Status.COMPLETED, *seen, began_at=service.clock.now())
    assert (await service.tasks.get(task_id(number))).tracking is Tracking.SETTLED


async def pass_window(service: Service, clock: HandClock) -> None:
    """Let the windows close, and be told so; a task nobody could be asked about stays active."""
    clock.advance(3 * DAY)
    await service.housekeeping.run_once()


async def rows(service: Service) -> dict[str, int]:
    """How many rows each table has, of those that have any and are about tasks."""
    apart = {"permits", "budgets", "sweeps", "lost_positions", "task_counts", "call_counts"}
    async with service.database.read() as connection:
        counts = {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in METADATA.sorted_tables
        }
    return {name: count for name, count in counts.items() if count and name not in apart}


async def kept(service: Service, *numbers: int) -> list[int]:
    found = []
    for number in numbers:
        try:
            await service.tasks.get(task_id(number))
        except TaskNotFound:
            continue
        found.append(number)
    return found


async def receive(service: Service, about: str, forget_after: timedelta | None = None) -> None:
    """Keep a callback's receipt; with ``forget_after``, one about a task that nobody registered."""
    now = service.clock.now()
    receipt = callback_store.Receipt(
        received_at=now,
        app_id=APP,
        task_id=about,
        event_type=1,
        sequence=1,
        verdict=callback_store.ACCEPTED,
        forget_at=now + forget_after if forget_after else None,
        signed=service.clock.token(),
        said="said",
        body=None,
    )
    async with service.database.write() as connection:
        await callback_store.add(connection, [receipt])


# -- tasks


async def test_90_days_after_it_settled_a_task_goes_with_all_that_hangs_on_it(
    service: Service, clock: HandClock
) -> None:
    await register(service, 0)
    await settle(service, files=3)
    await receive(service, task_id())
    clock.advance(90 * DAY)
    await service.housekeeping.run_once()
    assert await kept(service, 0) == [0]
    clock.advance(0.001)
    await service.housekeeping.run_once()
    assert await rows(service) == {"tombstones": 1}
    with pytest.raises(TaskNotFound):
        await service.tasks.history(task_id(), after=0, limit=10)


async def test_a_task_that_expired_or_is_not_tracked_goes_and_one_that_is_active_never(
    service: Service, clock: HandClock
) -> None:
    await register(service, 0, 1)
    await observe(service, task_id(0), Status.ONGOING, began_at=clock.now())
    await service.tasks.untrack(task_id(1))
    # Nobody has been asked about this one yet: it stays active, however old.
    await register(service, 2, started_at=clock.now() - timedelta(days=4))
    clock.advance(3 * DAY + 60)
    await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id(0))).tracking is Tracking.EXPIRED
    clock.advance(89 * DAY)
    await service.housekeeping.run_once()
    assert await kept(service, 0, 1, 2) == [0, 2]
    clock.advance(2 * DAY)
    await service.housekeeping.run_once()
    clock.advance(1000 * DAY)
    await service.housekeeping.run_once()
    assert await kept(service, 0, 1, 2) == [2]
    assert (await service.tasks.history(task_id(2), after=0, limit=10))[0].type == "task.registered"


async def test_a_task_that_was_reopened_is_kept_from_its_second_settling_on(service: Service, clock: HandClock) -> None:
    await register(service, 0)
    await settle(service)
    clock.advance(DAY)
    await observe(service, task_id(), Status.ONGOING)
    clock.advance(DAY)
    await observe(service, task_id(), Status.COMPLETED, seen_file("file-0"))
    clock.advance(89 * DAY)
    await service.housekeeping.run_once()
    assert await kept(service, 0) == [0]
    clock.advance(DAY + 1)
    await service.housekeeping.run_once()
    assert await kept(service, 0) == []


async def test_with_0_everything_is_kept_for_ever(settings: MakeSettings, clock: HandClock) -> None:
    async with open_service(settings(retention_days=0), clock=clock) as service:
        await register(service, 0)
        await settle(service)
        before = await rows(service)
        clock.advance(36500 * DAY)
        await service.housekeeping.run_once()
        assert await rows(service) == before


async def test_a_purged_task_can_be_registered_again_and_goes_on_counting_while_the_feed_tells_of_it(
    service: Service, clock: HandClock
) -> None:
    await register(service, 0)
    await settle(service)
    clock.advance(60 * DAY)
    await service.tasks.set_labels(task_id(), {"late": "yes"}, if_versions=None)
    last = (await service.tasks.get(task_id())).version
    clock.advance(31 * DAY)
    await service.housekeeping.run_once()
    assert await kept(service, 0) == []
    assert [event.task_version for event in (await service.feed.read(0, EVERYTHING, limit=10)).events] == [last]
    await register(service, 0)
    task = await service.tasks.get(task_id())
    assert (task.version, task.tracking, task.status) == (last + 1, Tracking.ACTIVE, Status.PENDING)


async def test_until_its_window_closes_nothing_else_brings_a_purged_task_back(
    settings: MakeSettings, clock: HandClock
) -> None:
    async with open_service(settings(retention_days=1, discover=True), clock=clock) as service:
        await register(service, 0)
        await settle(service)
        clock.advance(DAY + 1)
        await service.housekeeping.run_once()
        assert await rows(service) == {"tombstones": 1}
        async with service.database.write() as connection:
            assert await callback_store.buried(connection, [task_id()], now=clock.now()) == {task_id()}
        clock.advance(4 * DAY)
        await service.housekeeping.run_once()
        assert await rows(service) == {}


async def test_much_is_purged_in_parts(service: Service, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PURGE_BATCHES", 2)
    await register(service, *range(250))
    async with service.database.write() as connection:  # as if each had been untracked
        await connection.execute(update(TASKS).values(tracking="untracked", closed_at=clock.now()))
    clock.advance(91 * DAY)
    left = []
    for _ in range(3):
        await service.housekeeping.run_once()
        left.append((await rows(service)).get("tasks", 0))
    assert left == [50, 0, 0]
    assert (await rows(service)).get("events", 0) == 0


async def test_tasks_with_many_files_go_in_transactions_of_their_own(
    service: Service, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "MOST_FILES", 5)
    await register(service, *range(4))
    for number, files in enumerate([7, 3, 2, 1]):
        clock.advance(1)
        await settle(service, number, files)
    clock.advance(91 * DAY)
    gone = []
    for _ in range(4):
        async with service.database.write() as connection:
            gone.append(await purging.purge_tasks(connection, before=clock.now(), limit=100))
    assert gone == [1, 2, 1, 0]
    assert "files" not in await rows(service)


# -- receipts


async def test_receipts_go_90_days_after_they_came_but_for_those_of_active_tasks(
    service: Service, clock: HandClock
) -> None:
    await register(service, 0, 1)
    await settle(service, 1)
    clock.advance(DAY)
    for number in (0, 1):
        await receive(service, task_id(number))
    clock.advance(88.5 * DAY)
    await receive(service, task_id(2), forget_after=timedelta(days=4))
    await service.housekeeping.run_once()
    assert (await rows(service))["callbacks"] == 3
    clock.advance(DAY + 1)  # task 1 settled a day before its callback: by now both are old
    await service.housekeeping.run_once()
    async with service.database.read() as connection:
        every = callback_store.CallbackFilter()
        found = await callback_store.list_callbacks(connection, every, before=None, limit=10)
    assert [one.task_id for one in found.items] == [task_id(2), task_id(0)]
    assert await kept(service, 0, 1) == [0]


# -- deliveries


async def test_deliveries_go_90_days_after_they_were_made_with_their_attempts_but_for_one_under_way(
    service: Service, clock: HandClock
) -> None:
    made: dict[str, Any] = {
        "subscription_id": "sub_1",
        "event_id": "evt_1",
        "type": "task.settled",
        "task_id": task_id(),
    }
    made |= {"status": "pending", "fresh": False, "behind": False, "claim_no": 0, "tries": 0, "next_attempt_at": None}
    attempt: dict[str, Any] = {"status_code": 500, "duration_ms": 1, "error": None, "response_excerpt": None}
    async with service.database.write() as connection:
        for number, claimed in enumerate((False, True)):
            row = {**made, "id": number, "event_seq": number, "claimed": claimed, "created_at": clock.now()}
            await connection.execute(insert(DELIVERIES).values(row))
            await connection.execute(insert(ATTEMPTS).values({**attempt, "delivery_id": number, "at": clock.now()}))
    clock.advance(90 * DAY)
    await service.housekeeping.run_once()
    assert await rows(service) == {"deliveries": 2, "attempts": 2}
    clock.advance(1)
    await service.housekeeping.run_once()
    assert await rows(service) == {"deliveries": 1, "attempts": 1}


# -- events


async def test_events_leave_the_feed_oldest_first_and_a_kept_tasks_history_keeps_them(
    service: Service, clock: HandClock
) -> None:
    await register(service, 0, 1)
    first = (await service.feed.read(0, EVERYTHING, limit=1)).next_after
    await service.tasks.untrack(task_id(1))
    await pass_window(service, clock)
    latest = await service.feed.latest()
    clock.advance(60 * DAY)
    await service.tasks.set_labels(task_id(0), {"late": "yes"}, if_versions=None)
    clock.advance(31 * DAY)
    await service.housekeeping.run_once()

    with pytest.raises(FeedPositionLost) as lost:
        await service.feed.read(first, EVERYTHING, limit=10)
    assert lost.value.oldest == latest
    page = await service.feed.read(0, EVERYTHING, limit=10)
    assert [event.type for event in page.events] == ["task.updated"]
    assert (
        await service.feed.read(latest, EVERYTHING, limit=10)
    ).events == page.events  # whoever was there missed none
    mine = FeedFilter(task_id=(task_id(0),))
    assert [event.type for event in (await service.feed.read(0, mine, limit=10)).events] == ["task.updated"]
    history = await service.tasks.history(task_id(0), after=0, limit=10)
    assert [event.type for event in history] == ["task.registered", "task.expiring", "task.updated"]
    with pytest.raises(TaskNotFound):
        await service.tasks.history(task_id(1), after=0, limit=10)


async def test_a_young_event_holds_back_those_behind_it_so_that_the_feed_never_has_a_hole(
    service: Service, clock: HandClock
) -> None:
    await register(service, 0)
    clock.advance(10 * DAY)
    await register(service, 1)
    clock.advance(-10 * DAY)  # a clock that was set back
    await register(service, 2)
    for number in range(3):
        await service.tasks.delete(task_id(number))
    clock.advance(91 * DAY)
    await service.housekeeping.run_once()
    events = (await service.feed.read(0, EVERYTHING, limit=10)).events
    assert [event.task_id for event in events] == list(map(task_id, [1, 2, 0, 1, 2]))


async def test_a_deleted_tasks_old_events_go_at_once_and_its_younger_ones_with_the_feed(
    service: Service, clock: HandClock
) -> None:
    await register(service, 0)
    await pass_window(service, clock)
    clock.advance(91 * DAY)
    await service.housekeeping.run_once()
    await service.tasks.delete(task_id())
    assert [event.type for event in await service.tasks.history(task_id(), after=0, limit=10)] == ["task.deleted"]
    clock.advance(91 * DAY)
    await service.housekeeping.run_once()
    assert await rows(service) == {}


async def test_a_reader_beside_the_purge_finds_every_event_or_is_told_that_its_position_is_lost(
    service: Service, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PURGES", housekeeping.PURGES | {"events": (feed.purge, 3)})
    monkeypatch.setattr(housekeeping, "PURGE_BATCHES", 1)
    await register(service, *range(60))  # half of them are kept, so their events stay behind the feed's beginning
    for number in range(0, 60, 2):
        await service.tasks.delete(task_id(number))
    await pass_window(service, clock)
    everything = (await service.feed.read(0, EVERYTHING, limit=500)).events
    order = [event.seq for event in everything]
    clock.advance(91 * DAY)

    async def read() -> None:
        after, seen = 0, list[int]()
        while len(seen) < len(order):
            try:
                page = await service.feed.read(after, EVERYTHING, limit=7)
            except FeedPositionLost as lost:
                after, seen = lost.oldest, []
                continue
            found = [event.seq for event in page.events]
            if not found:
                return
            seen += found
            place = order.index(seen[0])
            assert seen == order[place : place + len(seen)]
            after = page.next_after

    async def purge() -> None:
        while await service.housekeeping.run_once():
            pass

    await asyncio.gather(purge(), *(read() for _ in range(3)), *(read() for _ in range(3)))
    assert not (await service.feed.read(0, EVERYTHING, limit=10)).events
    assert {number for number in range(60) if number % 2} == set(await kept(service, *range(60)))
