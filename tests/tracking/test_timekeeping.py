"""Wall clocks leap. What is scheduled, leased and queued by the old one neither waits for the new one nor is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from apscheduler.schedulers import base
from sqlalchemy import insert, select

from app.clock import SystemClock
from app.core.deliveries import DEFAULT_TYPES, LEASE, LONGEST_WAIT
from app.core.recording import Status, Tracking
from app.core.schedule import Pace, Plan, Policy, Urgency, longest_wait
from app.provider.simulator import Simulator, serve
from app.settings import load_settings
from app.store import polls, sweeps
from app.store.tables import POLLS
from app.store.tables_webhooks import DELIVERIES
from app.ticker import Job, Ticker
from app.tracking.registration import NewTask
from app.tracking.subscriptions import NewSubscription
from app.wiring import Service, open_service, running
from tests.sink import Sink, open_sink
from tests.world import APP, SECRET, HandClock, MakeSettings, claim, observe, seen_file, sqlite_url, task_id

HOUR = timedelta(hours=1)


class LeapingClock(HandClock):
    """Set by hand, and by the database's clock: that of a machine which leaps."""

    leap = timedelta(0)
    """What the next synchronisation finds out."""

    def synchronise(self, wall: datetime) -> None:
        self._now, self.leap = self._now + self.leap, timedelta(0)


@pytest.fixture
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as sink:
        yield sink


@pytest.fixture
async def service(settings: MakeSettings, clock: LeapingClock, sink: Sink) -> AsyncIterator[Service]:
    async with open_service(sink.settings(settings), clock=clock) as service:
        await service.timekeeping.run_once()
        yield service


async def register(service: Service, *numbers: int) -> None:
    numbers = numbers or (0,)
    await service.registration.register_batch([NewTask(task_id=task_id(number), labels={}) for number in numbers])


async def waits(service: Service) -> dict[str, timedelta]:
    """How far ahead each queued poll lies."""
    async with service.database.read() as connection:
        rows = await connection.execute(select(POLLS.c.task_id, POLLS.c.next_poll_at))
    return {row.task_id: row.next_poll_at - service.clock.now() for row in rows}


async def claimable(service: Service) -> set[str]:
    """The tasks that can be claimed now, one after the other."""
    found = set()
    async with service.database.write() as connection:
        while taken := await polls.claim(
            connection, APP, order=polls.STORED, now=service.clock.now(), horizon=timedelta(0)
        ):
            found.add(taken.task_id)
    return found


async def test_after_a_leap_back_everything_followed_is_due_and_nothing_else_moved(
    service: Service, clock: LeapingClock
) -> None:
    await register(service, 0, 1, 2, 3)
    await observe(service, task_id(0), Status.ONGOING)
    await observe(service, task_id(1), Status.COMPLETED, seen_file())
    held = await claim(service, task_id(2))
    settled = (await waits(service))[task_id(1)]
    clock.leap = -HOUR
    assert await service.timekeeping.run_once() == 3
    assert (await waits(service)) == {
        task_id(0): timedelta(0), task_id(1): settled + HOUR, task_id(2): timedelta(0), task_id(3): timedelta(0)
    }  # fmt: skip
    assert await claimable(service) == {task_id(0), task_id(2), task_id(3)}
    async with service.database.write() as connection:  # what the crashed holder of a lease says late moves nothing
        assert not await polls.plan(connection, held, Plan(urgency=Urgency.ROUTINE, at=clock.now() + HOUR))
    assert await service.timekeeping.run_once() == 0


async def test_polls_go_on_though_nobody_saw_the_clock_leap(service: Service, clock: LeapingClock) -> None:
    await register(service, 0, 1)
    await observe(service, task_id(0), Status.ONGOING)
    longest = longest_wait(Policy(), Pace())
    clock.advance(-longest.total_seconds())  # as if the process had been started anew: it knows of no step
    assert await service.timekeeping.run_once() == 1
    assert await claimable(service) == {task_id(0)}
    assert (await waits(service))[task_id(1)] == longest
    assert longest <= timedelta(minutes=15)


async def test_after_a_leap_ahead_everything_is_due_once_and_windows_still_close_by_themselves(
    service: Service, clock: LeapingClock
) -> None:
    await register(service, 0, 1)
    await observe(service, task_id(0), Status.ONGOING, began_at=clock.now())
    clock.leap = HOUR
    assert await service.timekeeping.run_once() == 0
    await service.housekeeping.run_once()
    assert await claimable(service) == {task_id(0), task_id(1)}
    assert (await service.tasks.get(task_id(0))).tracking is Tracking.ACTIVE


@pytest.mark.parametrize("seconds", [1, -1, 61, -61])
async def test_a_leap_makes_no_difference_to_what_is_known(
    service: Service, clock: LeapingClock, seconds: float
) -> None:
    await register(service)
    await observe(service, task_id(), Status.COMPLETED, seen_file())
    clock.leap = timedelta(seconds=seconds * 60)
    await service.timekeeping.run_once()
    await observe(service, task_id(), Status.COMPLETED, seen_file(), seen_file("late"))
    task = await service.tasks.get(task_id())
    assert (task.tracking, len(task.files), task.version) == (Tracking.SETTLED, 2, 3)


async def test_the_sweep_goes_on_after_a_leap_back(service: Service, clock: LeapingClock) -> None:
    async def due() -> datetime:
        async with service.database.read() as connection:
            sweep = await sweeps.find(connection, APP)
        assert sweep
        return sweep.next_at

    async with service.database.write() as connection:
        await sweeps.put_off(connection, APP, clock.now() + timedelta(minutes=2))
    await service.timekeeping.run_once()
    assert await due() == clock.now() + timedelta(minutes=2)
    clock.leap = -HOUR
    await service.timekeeping.run_once()
    assert await due() == clock.now()


async def test_deliveries_go_out_after_a_leap_back(service: Service, clock: LeapingClock, sink: Sink) -> None:
    await service.subscriptions.create(
        NewSubscription(
            name="one", url=sink.url(), types=("task.registered", *DEFAULT_TYPES), app_id=None, labels={},
            max_in_flight=1, description=None, secret=None,
        )
    )  # fmt: skip
    await register(service)
    clock.leap = -HOUR
    await service.timekeeping.run_once()
    assert await service.webhooks.run_once() == 1
    assert len(sink.letters) == 1


@pytest.mark.parametrize(
    ("claimed", "tries", "longest"), [(True, 0, LEASE), (False, 2, LONGEST_WAIT)], ids=["a lease", "a retry"]
)
async def test_no_lease_and_no_wait_for_a_retry_outlasts_its_rule(
    service: Service, clock: LeapingClock, claimed: bool, tries: int, longest: timedelta
) -> None:
    async with service.database.write() as connection:
        row = {
            "subscription_id": "sub_1", "event_seq": 1, "event_id": "evt_1", "type": "task.settled", "task_id": None,
            "status": "pending", "created_at": clock.now(), "next_attempt_at": clock.now() + longest, "fresh": False,
            "behind": False, "claimed": claimed, "claim_no": 1, "tries": tries,
        }  # fmt: skip
        await connection.execute(insert(DELIVERIES), [row])
    clock.leap = -HOUR
    await service.timekeeping.run_once()
    async with service.database.read() as connection:
        at = (await connection.execute(select(DELIVERIES.c.next_attempt_at))).scalar_one()
    assert at == clock.now() + longest


async def test_refreshes_are_not_put_off_by_a_poll_in_the_future(service: Service, clock: LeapingClock) -> None:
    await register(service)
    await observe(service, task_id(), Status.ONGOING)
    clock.advance(-3600)
    await service.tasks.refresh(task_id())
    assert (await waits(service))[task_id()] == timedelta(seconds=5)


class LeapingSystemClock(SystemClock):
    """The machine's clock, which leaps; the budget's on SQLite does not, and neither does the provider's."""

    leap = 0.0

    def synchronise(self, wall: datetime) -> None:
        self._offset, self.leap = self._offset + self.leap, 0.0


async def test_law_1_holds_and_polls_go_on_while_the_clock_leaps(tmp_path: Path) -> None:
    clock = LeapingSystemClock()
    simulator = Simulator({APP: SECRET})
    async with serve(simulator) as provider:
        settings = load_settings(
            database_url=sqlite_url(tmp_path / "leaps.db"), zego_app_id=APP, zego_server_secret=SECRET,
            zego_api_url=provider.url, sweep_interval=0,
        )  # fmt: skip
        early = Policy(recording_early=timedelta(seconds=0.1))  # there is always something to ask
        async with open_service(settings, clock=clock, policy=early) as service, running(service):
            ids = [simulator.start("normal", duration=6000) for _ in range(12)]
            await service.registration.register_batch([NewTask(task_id=one, labels={}) for one in ids])
            for leap in (-540, 540, 540):  # beyond 10 minutes the provider would refuse our signatures
                await asyncio.sleep(0.7)
                clock.leap = leap
                service.ticker.wake("clock")
            await asyncio.sleep(0.7)
    counts = simulator.stats()["apps"][str(APP)]["DescribeRecordStatus"]
    assert counts["busiest_second"] <= 10
    assert counts["calls"] >= 12  # 26 on an idle machine; 7 if they stood still after the first leap


async def test_jobs_run_on_after_the_machines_clock_stepped_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler reads the wall clock; nothing but a machine of our own could turn that back for real."""
    stepped = timedelta(0)

    class Wall(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + stepped

    monkeypatch.setattr(base, "datetime", Wall)
    monkeypatch.setattr("app.ticker.wall_time", lambda: Wall.now(UTC))
    monkeypatch.setattr("app.ticker.WATCH_EVERY", 0.1)
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1

    ticker = Ticker([Job("count", run, every=timedelta(seconds=0.05))], SystemClock())
    ticker.start()
    await asyncio.sleep(0.2)
    stepped = -HOUR
    await asyncio.sleep(0.25)
    before = runs
    await asyncio.sleep(0.2)
    await ticker.stop()
    assert runs > before > 1
