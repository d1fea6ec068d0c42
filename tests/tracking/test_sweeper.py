"""The sweep over the provider's list against the simulator over real HTTP: it hurries, discovers and bears trouble.

Most of it happens on a clock on which waiting takes no time; PostgreSQL's budget has a clock of its own, so these tests
are for SQLite, and the last one sweeps on both in real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.core.recording import Status
from app.core.schedule import Policy, Urgency
from app.errors import TaskNotFound
from app.provider.simulator import ListReading, Server, Simulator, serve
from app.settings import Settings, load_settings
from app.store.tables import POLLS
from app.tracking.registration import NewTask
from app.tracking.statistics import AppStatistics
from app.wiring import Service, open_service
from tests.clocks import VirtualClock
from tests.world import APP, SECRET, MakeSettings, sqlite_url

# Where waiting takes no time, spare budget would be used up for ever.
NEVER_EARLY = Policy(recording_early=timedelta(days=1))

READINGS = [
    ListReading(),
    ListReading(key="TaskList", narrow=True, oldest_first=True, empty="null"),
    ListReading(narrow=True, empty="absent"),
]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def settings(tmp_path: Path) -> MakeSettings:
    def make(**given: Any) -> Settings:
        url = sqlite_url(tmp_path / "sweeps.db")
        return load_settings(**{"database_url": url, "zego_app_id": APP, "zego_server_secret": SECRET, **given})

    return make


@asynccontextmanager
async def world(
    settings: MakeSettings, clock: VirtualClock, reading: ListReading | None = None, **given: Any
) -> AsyncIterator[tuple[Service, Simulator]]:
    """A service and its provider on one clock; nothing happens by itself."""
    simulator = Simulator(
        {APP: SECRET}, time=lambda: clock.now().timestamp(), monotonic=clock.monotonic, list_reading=reading
    )
    async with (
        serve(simulator) as server,
        open_service(settings(zego_api_url=server.url, **given), clock=clock, policy=NEVER_EARLY) as service,
    ):
        yield service, simulator


async def register(service: Service, *task_ids: str) -> None:
    await service.registration.register_batch([NewTask(task_id=task_id, labels={}) for task_id in task_ids])


async def urgency(service: Service, task_id: str) -> Urgency:
    async with service.database.read() as connection:
        row = await connection.execute(select(POLLS.c.urgency).where(POLLS.c.task_id == task_id))
        return Urgency(row.scalar_one())


async def hurried(service: Service, *task_ids: str) -> list[str]:
    return [one for one in task_ids if await urgency(service, one) is Urgency.HURRIED]


async def sweep(service: Service, clock: VirtualClock) -> int:
    """The next sweep."""
    clock.advance(20)
    return await service.sweeper.run_once()


async def numbers(service: Service) -> AppStatistics:
    return (await service.stats.collect()).apps[0]


def calls(simulator: Simulator) -> int:
    return simulator.stats()["apps"][str(APP)]["DescribeTasks"]["calls"]


@pytest.mark.parametrize("reading", READINGS, ids=str)
async def test_a_task_that_left_the_running_list_is_polled_at_once_and_once(
    settings: MakeSettings, clock: VirtualClock, reading: ListReading
) -> None:
    async with world(settings, clock, reading) as (service, simulator):
        lasting = [simulator.start("normal", duration=9000) for _ in range(3)]
        ending = simulator.start("normal", duration=60, upload=3600)
        await register(service, ending, *lasting)
        clock.advance(5)
        await service.poller.run_once()
        assert await sweep(service, clock) == 4
        await service.poller.run_once()
        assert await hurried(service, ending, *lasting) == []
        clock.advance(60)
        await sweep(service, clock)
        assert await hurried(service, ending, *lasting) == [ending]
        await service.poller.run_once()
        assert (await service.tasks.get(ending)).status is Status.COMPLETED
        await sweep(service, clock)
        assert await hurried(service, ending, *lasting) == []


async def test_a_listed_status_that_differs_from_ours_hurries_once(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock) as (service, simulator):
        task_id = simulator.start("paused", duration=1000)
        await register(service, task_id)
        clock.advance(10)
        await service.poller.run_once()
        await sweep(service, clock)
        assert await hurried(service, task_id) == []
        clock.advance(450)
        await sweep(service, clock)
        assert await hurried(service, task_id) == [task_id]
        await service.poller.run_once()
        assert (await service.tasks.get(task_id)).status is Status.PAUSED
        await sweep(service, clock)
        assert await hurried(service, task_id) == []


async def test_a_list_that_never_shows_a_task_costs_it_nothing(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock) as (service, simulator):
        simulator.start("normal", duration=9000)
        await register(service, "NotInTheList_123")
        for _ in range(3):
            await sweep(service, clock)
            assert await hurried(service, "NotInTheList_123") == []


@pytest.mark.parametrize("reading", READINGS, ids=str)
async def test_hundreds_of_tasks_are_listed_in_slices_within_the_limit(
    settings: MakeSettings, clock: VirtualClock, reading: ListReading
) -> None:
    async with world(settings, clock, reading) as (service, simulator):
        now = clock.now().timestamp()
        began = [now - 17.0 * number for number in range(300)] + [now - 500] * 70  # 70 within one second
        tasks = [simulator.start("normal", began_at=at, duration=90000) for at in began]
        await register(service, *tasks)
        assert await sweep(service, clock) == len(tasks)
        first = calls(simulator)
        assert await sweep(service, clock) == len(tasks)
        assert calls(simulator) - first <= 370 / 40 + 6
        assert simulator.stats()["apps"][str(APP)]["DescribeTasks"]["busiest_second"] <= 10


async def test_an_idle_service_does_not_sweep(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock) as (service, simulator):
        assert await sweep(service, clock) == 0
        task_id = simulator.start("normal", duration=10, upload=1)
        await register(service, task_id)
        clock.advance(100)
        await service.poller.run_once()
        assert await sweep(service, clock) == 0
        assert calls(simulator) == 0
        assert (await numbers(service)).sweep_state == "idle"


async def test_an_idle_service_looks_for_something_to_sweep_every_few_seconds(
    settings: MakeSettings, clock: VirtualClock
) -> None:
    async with world(settings, clock) as (service, simulator):
        assert await service.sweeper.run_once() == 0
        await register(service, simulator.start("normal", duration=9000))
        clock.advance(4)
        assert await service.sweeper.run_once() == 0  # it has not looked
        clock.advance(1)
        assert await service.sweeper.run_once() == 1


async def test_a_sweep_waits_for_its_interval_and_only_one_process_does_it(
    settings: MakeSettings, clock: VirtualClock
) -> None:
    async with world(settings, clock) as (service, simulator):
        await register(service, simulator.start("normal", duration=9000))
        async with open_service(service.settings, clock=clock) as second:
            assert await service.sweeper.run_once() == 1
            assert await second.sweeper.run_once() == 0
            clock.advance(14)
            assert await service.sweeper.run_once() == 0
            clock.advance(1)
            assert await second.sweeper.run_once() == 1
            assert await service.sweeper.run_once() == 0


async def test_what_the_list_vouches_for_is_polled_seldom(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock) as (service, simulator):
        task_id = simulator.start("normal", duration=9000)
        await register(service, task_id)
        clock.advance(5)
        await service.poller.run_once()
        await sweep(service, clock)
        await service.paces.run_once()
        assert service.paces.of(APP).vouched
        clock.advance(60)
        await service.poller.run_once()
        next_poll_at = (await service.tasks.get(task_id)).polling.next_poll_at
        assert next_poll_at is not None
        assert (next_poll_at - clock.now()).total_seconds() > 200
        clock.advance(200)  # without sweeps it is not vouched for any more
        await service.paces.run_once()
        assert not service.paces.of(APP).vouched


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("throttled", "throttled"),
        ("html", "not_json"),
        ("reset", "connection_broken"),
        ("system_error", "system_error"),
        ("http_500", "http_error"),
    ],
)
async def test_a_list_that_is_refused_or_garbled_is_said_and_lived_without(
    settings: MakeSettings, clock: VirtualClock, fault: str, code: str
) -> None:
    async with world(settings, clock) as (service, simulator):
        task_id = simulator.start("normal", duration=9000)
        await register(service, task_id)
        await service.poller.run_once()
        simulator.faults = simulator.faults.merged({fault: 1.0})
        assert await sweep(service, clock) == 0
        failing = await numbers(service)
        assert failing.sweep_state == "failing"
        assert failing.sweep is not None
        assert failing.sweep.error is not None
        assert failing.sweep.error["code"] == code
        simulator.faults = simulator.faults.merged({fault: 0.0})
        clock.advance(30)
        assert await sweep(service, clock) == 1
        working = await numbers(service)
        assert (working.sweep_state, working.sweep and working.sweep.error) == ("working", None)


async def test_a_list_that_makes_tasks_up_ends_and_is_said(
    settings: MakeSettings, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(settings, clock) as (service, simulator):
        await register(service, *(simulator.start("normal", duration=9000) for _ in range(3)))
        await service.poller.run_once()
        monkeypatch.setattr("app.tracking.sweeper.MOST_LISTED", 3)
        assert await sweep(service, clock) == 3
        monkeypatch.setattr("app.tracking.sweeper.MOST_LISTED", 2)
        assert await sweep(service, clock) == 0
        failing = (await numbers(service)).sweep
        assert failing is not None
        assert failing.error is not None
        assert failing.error["code"] == "list_too_long"


async def test_garbled_pages_never_make_tasks_leave_the_list(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock) as (service, simulator):
        tasks = [simulator.start("normal", duration=90000) for _ in range(120)]
        await register(service, *tasks)
        clock.advance(5)
        await service.poller.run_once()
        assert await sweep(service, clock) == 120
        simulator.faults = simulator.faults.merged({"garbage": 0.5, "reset": 0.2})
        for _ in range(10):
            await sweep(service, clock)
            assert await hurried(service, *tasks) == []


async def test_a_refused_app_is_not_asked_for_its_list_again_and_again(
    settings: MakeSettings, clock: VirtualClock
) -> None:
    async with world(settings, clock, zego_server_secret="not the secret") as (service, simulator):
        await register(service, "NobodyKnowsThis_")
        for _ in range(20):
            await sweep(service, clock)
        assert 2 <= calls(simulator) <= 12  # 400 s: probes once a minute, and what was under way at first
        assert (await numbers(service)).sweep_state == "failing"


async def test_discovery_registers_what_nobody_registered(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock, discover=True) as (service, simulator):
        now = clock.now().timestamp()
        running = simulator.start("normal", room_id="room-7", duration=9000)
        over = simulator.start("normal", began_at=now - 86400, duration=600)
        too_old = simulator.start("normal", began_at=now - 4 * 86400, duration=600)
        await sweep(service, clock)
        task = await service.tasks.get(running)
        assert (task.registered_via, task.room_id) == ("sweep", "room-7")
        assert task.began_at == datetime.fromtimestamp(now, tz=clock.now().tzinfo)
        assert (await service.tasks.get(over)).registered_via == "sweep"
        with pytest.raises(TaskNotFound):
            await service.tasks.get(too_old)
        short = simulator.start("normal", duration=5, upload=1)  # begins and ends between two sweeps
        await sweep(service, clock)
        assert (await service.tasks.get(short)).registered_via == "sweep"
        await service.poller.run_once()
        assert (await service.tasks.get(over)).status is Status.COMPLETED


async def test_without_discovery_the_list_registers_nothing(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock) as (service, simulator):
        stranger = simulator.start("normal", duration=9000)
        await register(service, simulator.start("normal", duration=9000))
        assert await sweep(service, clock) == 2
        with pytest.raises(TaskNotFound):
            await service.tasks.get(stranger)


async def test_discovery_does_not_bring_back_what_was_deleted(settings: MakeSettings, clock: VirtualClock) -> None:
    async with world(settings, clock, discover=True) as (service, simulator):
        task_id = simulator.start("normal", duration=9000)
        await sweep(service, clock)
        await service.tasks.delete(task_id)
        await sweep(service, clock)
        with pytest.raises(TaskNotFound):
            await service.tasks.get(task_id)


async def test_sweeps_and_polls_share_a_database_in_real_time(polling_service: Service, provider: Server) -> None:
    tasks = [provider.simulator.start("normal", duration=60000) for _ in range(12)]
    await register(polling_service, *tasks)
    await polling_service.poller.run_once()
    await register(polling_service, provider.simulator.start("normal", duration=60000))
    await asyncio.gather(polling_service.poller.run_once(), polling_service.sweeper.run_once())
    async with polling_service.database.read() as connection:
        shown = (await connection.execute(select(POLLS.c.listed))).scalars().all()
    assert len([status for status in shown if status in (1, 2)]) >= 12
