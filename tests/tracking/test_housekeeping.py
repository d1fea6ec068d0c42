"""Windows that close: the warning, the expiry, and what is kept of the task."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from app.core.recording import Attention, FileStatus, Observation, Outcome, Status, Tracking
from app.core.schedule import claim_order
from app.errors import TaskUnknown
from app.provider.client import Described
from app.store import polls
from app.store.tables import POLLS
from app.tracking.registration import NewTask
from app.wiring import Service, open_service
from tests.world import APP, OTHER_APP, TWO_APPS, HandClock, MakeSettings, claim, fail, observe, seen_file, task_id

DAYS = timedelta(days=1)


async def register(service: Service, number: int = 0, started_at: datetime | None = None) -> None:
    await service.registration.register(NewTask(task_id=task_id(number), labels={}, started_at=started_at))


async def events(service: Service, number: int = 0) -> list[str]:
    return [event.type for event in await service.tasks.history(task_id(number), after=0, limit=100)]


async def queued(service: Service) -> list[str]:
    async with service.database.read() as connection:
        return list((await connection.execute(select(POLLS.c.task_id).order_by(POLLS.c.task_id))).scalars())


async def test_six_hours_before_its_window_closes_an_unsettled_task_asks_for_attention_once(
    service: Service, clock: HandClock
) -> None:
    await register(service)
    await observe(service, task_id(), Status.ONGOING, began_at=clock.now())
    clock.advance(66 * 3600 - 1)
    await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id())).attention == Attention(0)
    clock.advance(1)
    for _ in range(3):
        await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id())).attention == Attention.EXPIRING
    assert (await events(service)).count("task.expiring") == 1


async def test_a_settled_task_is_not_about_to_expire(service: Service, clock: HandClock) -> None:
    await register(service)
    await observe(service, task_id(), Status.COMPLETED, seen_file("f"), began_at=clock.now())
    clock.advance(71 * 3600)
    await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id())).attention == Attention(0)


async def test_what_settles_or_turns_out_to_have_begun_later_is_not_expiring_any_more(
    service: Service, clock: HandClock
) -> None:
    for number in (0, 1):
        await register(service, number, started_at=clock.now() - 2.9 * DAYS)
    await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id(0))).attention == Attention.EXPIRING
    await observe(service, task_id(0), Status.COMPLETED, seen_file("f"), began_at=clock.now() - 2.9 * DAYS)
    await observe(service, task_id(1), Status.ONGOING, began_at=clock.now())
    assert (await service.tasks.get(task_id(0))).attention == Attention(0)
    assert (await service.tasks.get(task_id(1))).attention == Attention(0)


async def test_a_task_whose_beginning_the_provider_told_expires_by_the_clock_alone(
    service: Service, clock: HandClock
) -> None:
    await register(service)
    began_at = clock.now()
    await observe(service, task_id(), Status.ONGOING, seen_file("f", FileStatus.RECORDING), began_at=began_at)
    clock.advance(3 * 86400 + 59)
    await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id())).tracking is Tracking.ACTIVE
    clock.advance(1)
    await service.housekeeping.run_once()
    task = await service.tasks.get(task_id())
    assert (task.tracking, task.outcome, task.status) == (Tracking.EXPIRED, Outcome.UNRESOLVED, Status.ONGOING)
    assert task.file_counts == {"recording": 1}
    assert task.attention == Attention(0)
    assert await queued(service) == []
    assert (await events(service))[-2:] == ["task.expiring", "task.expired"]


async def test_a_task_whose_beginning_is_a_guess_expires_only_when_the_provider_does_not_know_it(
    service: Service, clock: HandClock
) -> None:
    await register(service, started_at=clock.now() - 4 * DAYS)
    for _ in range(3):
        clock.advance(3600)
        await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id())).tracking is Tracking.ACTIVE
    assert await queued(service) == [task_id()]
    await fail(service, task_id(), TaskUnknown("not_found", "no such task"))
    assert (await service.tasks.get(task_id())).tracking is Tracking.EXPIRED
    assert await queued(service) == []


async def test_many_windows_that_close_at_once_are_all_seen_to(service: Service, clock: HandClock) -> None:
    started_at = clock.now() - 2.9 * DAYS
    wanted = [NewTask(task_id=task_id(number), labels={}, started_at=started_at) for number in range(450)]
    await service.registration.register_batch(wanted)
    await service.housekeeping.run_once()
    flags = [(await service.tasks.get(one.task_id)).attention for one in wanted[::50]]
    assert set(flags) == {Attention.EXPIRING}
    assert await service.housekeeping.run_once() == 0


async def test_the_tasks_of_an_app_that_is_gone_keep_what_is_known_of_them_when_they_expire(
    settings: MakeSettings, clock: HandClock
) -> None:
    async with open_service(settings(zego_apps=TWO_APPS), clock=clock) as service:
        wanted = [NewTask(task_id=task_id(), app_id=APP, labels={})]
        await service.registration.register_batch(wanted)
        file = seen_file("f", FileStatus.UPLOADED_TO_BACKUP)
        await observe(service, task_id(), Status.ONGOING, file, began_at=clock.now())
    async with open_service(settings(zego_apps=TWO_APPS[1:]), clock=clock) as service:
        await service.housekeeping.run_once()
        task = await service.tasks.get(task_id())
        assert task.polling.last_error is not None
        assert task.polling.last_error.code == "app_not_configured"
        clock.advance(3 * 86400 + 120)
        await service.housekeeping.run_once()
        task = await service.tasks.get(task_id())
        assert (task.tracking, task.outcome) == (Tracking.EXPIRED, Outcome.UPLOADED_TO_BACKUP)
        assert task.file_counts == {"uploaded_to_backup": 1}
        assert OTHER_APP in service.budgets


@pytest.mark.parametrize("minutes", [9, 0.5])
async def test_a_window_that_closes_makes_a_task_due_before_all_that_waits(
    service: Service, clock: HandClock, minutes: float
) -> None:
    started_at = clock.now() - 3 * DAYS
    wanted = [NewTask(task_id=task_id(number), labels={}, started_at=clock.now()) for number in range(20)]
    closing = [
        NewTask(task_id=task_id(100 + number), labels={}, started_at=started_at + timedelta(minutes=minutes + number))
        for number in (2, 0, 1)
    ]
    await service.registration.register_batch([*wanted, *closing])
    claimed = []
    for turn in (1, 3, 5):
        async with service.database.write() as connection:
            taken = await polls.claim(
                connection, APP, order=claim_order(turn), now=clock.now(), horizon=timedelta(minutes=30)
            )
        claimed.append(taken and taken.task_id)
    assert claimed == [task_id(100), task_id(101), task_id(102)]


async def test_a_backup_copy_is_warned_of_a_day_before_it_goes_and_told_gone(
    service: Service, clock: HandClock
) -> None:
    """It is kept 3 days after it was first seen there (zego.md; when that begins is not documented)."""
    await register(service)
    files = [seen_file("a", FileStatus.UPLOADED_TO_BACKUP), seen_file("b", FileStatus.UPLOADED)]
    await observe(service, task_id(), Status.COMPLETED, *files, began_at=clock.now())
    clock.advance(2 * 86400 - 1)
    await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id())).attention == Attention(0)
    clock.advance(1)
    for _ in range(3):
        await service.housekeeping.run_once()
    warned = await service.tasks.get(task_id())
    assert warned.attention == Attention.BACKUP_EXPIRING
    assert (await events(service))[-2:] == ["task.updated", "file.backup_expiring"]
    clock.advance(86400)
    for _ in range(3):
        await service.housekeeping.run_once()
    assert (await service.tasks.get(task_id())).attention == Attention(0)
    assert (await events(service))[-4:] == [
        "task.updated", "file.backup_expiring", "task.updated", "file.backup_expired"
    ]  # fmt: skip
    told = (await service.tasks.history(task_id(), after=0, limit=100))[-1]
    assert (told.source, told.data["file"]["file_id"]) == ("timer", "a")
    assert told.task_version == (await service.tasks.get(task_id())).version


async def test_a_copy_that_was_delivered_meanwhile_is_not_warned_of(service: Service, clock: HandClock) -> None:
    await register(service)
    copy, whole = seen_file("a", FileStatus.UPLOADED_TO_BACKUP), seen_file("a", FileStatus.UPLOADED)
    await observe(service, task_id(), Status.COMPLETED, copy, began_at=clock.now())
    clock.advance(2 * 86400)
    await service.housekeeping.run_once()
    await observe(service, task_id(), Status.COMPLETED, whole, began_at=clock.now() - 2 * DAYS)
    assert (await service.tasks.get(task_id())).attention == Attention(0)
    clock.advance(2 * 86400)
    await service.housekeeping.run_once()
    assert "file.backup_expired" not in await events(service)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # on SQLite nothing comes in between
async def test_a_copy_that_is_delivered_in_the_moment_before_the_warning_is_not_warned_of(
    service: Service, clock: HandClock
) -> None:
    await register(service)
    copy, whole = seen_file("a", FileStatus.UPLOADED_TO_BACKUP), seen_file("a", FileStatus.UPLOADED)
    await observe(service, task_id(), Status.COMPLETED, copy, began_at=clock.now())
    clock.advance(2 * 86400)
    claimed = await claim(service, task_id())
    seen = Observation(claim_no=claimed.claim_no, asked_at=clock.now(), status=Status.COMPLETED, files=(whole,))
    async with service.database.write() as connection:
        await service.observations.observe(connection, claimed, Described(seen, "{}", request_id="request"))
        housekeeping = asyncio.create_task(service.housekeeping.run_once())
        await asyncio.sleep(0.3)  # it found the copy, and waits for its task
        assert not housekeeping.done()
    await housekeeping
    assert not [one for one in await events(service) if one.startswith("file.backup")]
    assert (await service.tasks.get(task_id())).attention == Attention(0)


async def test_after_a_long_absence_only_the_end_of_a_copy_is_told(service: Service, clock: HandClock) -> None:
    await register(service)
    await observe(service, task_id(), Status.COMPLETED, seen_file("a", FileStatus.UPLOADED_TO_BACKUP))
    clock.advance(10 * 86400)
    for _ in range(2):
        await service.housekeeping.run_once()
    told = [one for one in await events(service) if one.startswith("file.backup")]
    assert told == ["file.backup_expired"]
