"""Bad days: a provider that refuses, hangs, freezes or throttles for long, and a process that was held up.

Waiting is done on clocks that run faster than life; on SQLite the call budget runs by them too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.core.budget import CALL
from app.core.recording import Tracking
from app.provider.simulator import Simulator, serve
from app.settings import load_settings
from app.store.budget import Permit
from app.tracking.registration import NewTask
from app.wiring import Service, open_service, running
from tests.clocks import FastClock, VirtualClock
from tests.world import APP, SECRET, sqlite_url

SPEED = 10


@pytest.fixture
def clock() -> FastClock:
    return FastClock(SPEED)


@pytest.fixture
def simulator(clock: FastClock) -> Simulator:
    """A provider that counts its seconds as the service does."""
    return Simulator({APP: SECRET}, time=lambda: clock.now().timestamp(), monotonic=clock.monotonic)


@asynccontextmanager
async def service_at(url: str, path: Path, clock: FastClock | VirtualClock) -> AsyncIterator[Service]:
    settings = load_settings(
        database_url=sqlite_url(path / "trouble.db"),
        zego_app_id=APP,
        zego_server_secret=SECRET,
        zego_api_url=url,
    )
    async with open_service(settings, clock=clock) as service:
        yield service


async def register(service: Service, task_ids: list[str]) -> None:
    await service.registration.register_batch([NewTask(task_id=task_id, labels={}) for task_id in task_ids])


async def all_polled(service: Service, task_ids: list[str], *, seconds: float) -> float:
    """Wait until each task was polled; how many of the clock's seconds it took."""
    began = service.clock.monotonic()
    while service.clock.monotonic() - began < seconds:
        polled = [await service.tasks.get(task_id) for task_id in task_ids]
        if all(task.polling.poll_count for task in polled):
            return service.clock.monotonic() - began
        await asyncio.sleep(0.05)
    raise AssertionError(f"{sum(not task.polling.poll_count for task in polled)} tasks not polled in {seconds} s")


def counts(simulator: Simulator, action: str = "DescribeRecordStatus") -> dict[str, object]:
    found = simulator.stats()["apps"].get(str(APP), {}).get(action)
    return dict(found) if found else {"calls": 0, "busiest_second": 0}


async def test_calls_that_hang_are_given_up_and_law_1_holds_when_the_provider_returns(
    simulator: Simulator, clock: FastClock, tmp_path: Path
) -> None:
    async with serve(simulator) as server, service_at(server.url, tmp_path, clock) as service:
        tasks = [simulator.start("normal", duration=90000) for _ in range(25)]
        simulator.faults = simulator.faults.merged({"hang": 1.0})
        await register(service, tasks)
        async with running(service):
            await clock.sleep(4 * CALL)
            # All permits are in doubt, or so many that it counts as an outage; what follows are probes.
            assert 0 < int(str(counts(simulator)["calls"])) <= 10
            assert 0 < int(str(counts(simulator, "DescribeTasks")["calls"])) <= 5
            assert (await service.health.examine()).checks[f"provider.{APP}"] == "paused: unavailable"
            simulator.faults = simulator.faults.merged({"hang": 0.0})
            await all_polled(service, tasks, seconds=120)
        assert int(str(counts(simulator)["busiest_second"])) <= 10
        settled = [await service.tasks.get(task_id) for task_id in tasks]
        assert all(task.tracking is Tracking.ACTIVE for task in settled)
        assert all(task.polling.consecutive_failures == 0 for task in settled)


async def test_every_second_call_failing_costs_calls_but_no_task(
    simulator: Simulator, clock: FastClock, tmp_path: Path
) -> None:
    async with serve(simulator) as server, service_at(server.url, tmp_path, clock) as service:
        tasks = [simulator.start("normal", duration=90000) for _ in range(15)]
        simulator.faults = simulator.faults.merged({"http_500": 0.2, "reset": 0.1, "html": 0.1, "garbage": 0.1})
        await register(service, tasks)
        async with running(service):
            await all_polled(service, tasks, seconds=120)
        assert int(str(counts(simulator)["busiest_second"])) <= 10


async def test_throttling_by_others_halves_the_permits_and_they_come_back(
    simulator: Simulator, clock: FastClock, tmp_path: Path
) -> None:
    async with serve(simulator) as server, service_at(server.url, tmp_path, clock) as service:
        tasks = [simulator.start("normal", duration=90000) for _ in range(40)]
        simulator.faults = simulator.faults.merged({"throttled": 1.0})
        await register(service, tasks)
        async with running(service):
            await clock.sleep(12)
            before, began = int(str(counts(simulator)["calls"])), clock.monotonic()
            await clock.sleep(5)
            calls = int(str(counts(simulator)["calls"])) - before
            assert calls <= clock.monotonic() - began + 3  # one permit is left, for a call a second
            simulator.faults = simulator.faults.merged({"throttled": 0.0})
            await all_polled(service, tasks, seconds=120)


async def test_a_process_that_was_held_up_sends_nothing_on_its_lapsed_lease(
    simulator: Simulator, clock: FastClock, tmp_path: Path
) -> None:
    async with serve(simulator) as server, service_at(server.url, tmp_path, clock) as service:
        await register(service, [simulator.start("normal", duration=90000)])
        budget = service.budgets[APP]
        started = clock.monotonic()
        async with service.database.write() as connection:
            permit = await budget.take(connection, started)
        assert isinstance(permit, Permit)
        turn = budget.begin(permit, started)
        time.sleep((CALL + 1) / SPEED)  # noqa: ASYNC251 - the whole process stands still
        with pytest.raises(Exception, match="never_sent"):
            await budget.provider.describe("AnyTaskWhatever_", turn.call, claim_no=1, asked_at=clock.now())
        assert counts(simulator)["calls"] == 0


async def test_an_outage_of_five_minutes_loses_nothing_and_keeps_quiet(tmp_path: Path) -> None:
    clock = VirtualClock()
    simulator = Simulator({APP: SECRET}, time=lambda: clock.now().timestamp(), monotonic=clock.monotonic)
    async with serve(simulator) as server:
        port, tasks = server.port, [simulator.start("normal", duration=90000) for _ in range(12)]
    async with service_at(f"http://127.0.0.1:{port}", tmp_path, clock) as service:
        await register(service, tasks)
        drained = asyncio.create_task(service.poller.run_once())
        began = clock.monotonic()
        while clock.monotonic() - began < 300:
            await asyncio.wait({drained}, timeout=0.01)
        state = (await service.health.examine()).checks[f"provider.{APP}"]
        assert state == "paused: unavailable"
        back = clock.monotonic()
        async with serve(simulator, port=port):
            while not int(str(counts(simulator)["calls"])):
                await asyncio.wait({drained}, timeout=0.001)
            assert clock.monotonic() - back < 10
            service.poller.stop()
            await drained
        for task_id in tasks:
            task = await service.tasks.get(task_id)
            assert task.tracking is Tracking.ACTIVE
            assert task.polling.consecutive_failures == 0
