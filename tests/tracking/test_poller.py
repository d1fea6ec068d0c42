"""The poller against the simulated provider over real HTTP: what is due gets asked, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.clock import SystemClock
from app.core.recording import Attention, Observation, Status, Tracking
from app.core.schedule import Policy, Urgency
from app.errors import DatabaseUnavailable, TaskUnknown
from app.provider.client import Described
from app.provider.simulator import Server, Simulator, serve
from app.store import polls
from app.store import tasks as task_store
from app.store.tables_calls import PERMITS
from app.store.trips import MANY_FILES
from app.tracking.registration import NewTask
from app.wiring import Service, open_service, running
from tests.world import APP, SECRET, MakeSettings, claim, observe, seen_file

FAST = Policy(recording_early=timedelta(seconds=0.2), retry_first=timedelta(seconds=0.1))
NO_HORIZON = timedelta(0)


async def register(service: Service, *task_ids: str) -> None:
    await service.registration.register_batch([NewTask(task_id=task_id, labels={}) for task_id in task_ids])


async def hurry(service: Service, task_id: str) -> None:
    """Make the task due now."""
    task = await service.tasks.get(task_id)
    async with service.database.write() as connection:
        due = polls.Hurry(task_id, APP, service.clock.now(), task.claim_no)
        await polls.hurry(connection, [due], Urgency.HURRIED)


def calls(provider: Server) -> int:
    counts = provider.simulator.stats()["apps"].get(str(APP), {}).get("DescribeRecordStatus")
    return counts["calls"] if counts else 0


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 5.0) -> None:
    """Wait until it holds; fail after so many seconds."""
    for _ in range(int(seconds * 100)):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"it did not come true in {seconds} s")


async def until_called(provider: Server, times: int = 1) -> None:
    async def called() -> bool:
        return calls(provider) >= times

    await until(called)


def busiest(provider: Server) -> int:
    return provider.simulator.stats()["apps"][str(APP)]["DescribeRecordStatus"]["busiest_second"]


async def test_what_is_due_is_asked_once_and_recorded(polling_service: Service, provider: Server) -> None:
    task_id = provider.simulator.start("normal", duration=6000)
    await register(polling_service, task_id)
    assert await polling_service.poller.run_once() == 1
    task = await polling_service.tasks.get(task_id)
    assert task.status in (Status.INITIALIZED, Status.ONGOING)
    assert task.polling.poll_count == 1
    assert await polling_service.poller.run_once() == 0
    assert calls(provider) == 1


async def test_a_burst_of_due_tasks_keeps_the_limit_and_uses_it(polling_service: Service, provider: Server) -> None:
    tasks = [provider.simulator.start("normal", duration=60000) for _ in range(35)]
    await register(polling_service, *tasks)
    began = polling_service.clock.monotonic()
    assert await polling_service.poller.run_once() == 35
    took = polling_service.clock.monotonic() - began
    assert busiest(provider) <= 10
    assert 3.0 <= took <= 6.0  # 35 calls at 10 a second; the upper bound only shows that nothing stood still


async def test_two_services_on_one_database_keep_one_limit(
    settings: MakeSettings, provider: Server, polling_service: Service
) -> None:
    tasks = [provider.simulator.start("normal", duration=60000) for _ in range(30)]
    await register(polling_service, *tasks)
    async with open_service(settings(zego_api_url=provider.url, poll_budget=10)) as second:
        made = await asyncio.gather(polling_service.poller.run_once(), second.poller.run_once())
    assert sum(made) == calls(provider) == 30
    assert busiest(provider) <= 10


async def test_a_process_takes_no_more_than_its_own_share(settings: MakeSettings, provider: Server) -> None:
    tasks = [provider.simulator.start("normal", duration=60000) for _ in range(6)]
    async with open_service(settings(zego_api_url=provider.url, poll_budget=2)) as service:
        await register(service, *tasks)
        await service.poller.run_once()
    assert busiest(provider) <= 2


async def test_one_garbled_answer_neither_stops_the_batch_nor_loses_the_task(
    polling_service: Service, provider: Server
) -> None:
    good, bad = provider.simulator.start("normal", duration=6000), provider.simulator.start("normal", duration=6000)
    await register(polling_service, bad)
    provider.simulator.faults = provider.simulator.faults.merged({"garbage": 1.0})
    await polling_service.poller.run_once()
    provider.simulator.faults = provider.simulator.faults.merged({"garbage": 0.0})
    await register(polling_service, good)
    await polling_service.poller.run_once()
    assert (await polling_service.tasks.get(good)).polling.poll_count == 1
    task = await polling_service.tasks.get(bad)
    assert task.tracking is Tracking.ACTIVE
    assert task.polling.last_error is not None
    assert task.polling.next_poll_at is not None
    assert task.polling.next_poll_at > polling_service.clock.now()


async def test_a_task_the_provider_does_not_know_is_asked_again(polling_service: Service, provider: Server) -> None:
    await register(polling_service, "NobodyKnowsThis_")
    await polling_service.poller.run_once()
    task = await polling_service.tasks.get("NobodyKnowsThis_")
    assert task.polling.last_error is not None
    assert task.polling.last_error.code == "not_found"
    assert task.polling.last_error.request_id
    assert task.polling.consecutive_failures == 1
    assert task.attention == Attention(0)
    assert task.polling.next_poll_at is not None


async def test_throttling_puts_tasks_back_without_counting_against_them(
    polling_service: Service, provider: Server
) -> None:
    task_id = provider.simulator.start("normal", duration=6000)
    provider.simulator.faults = provider.simulator.faults.merged({"throttled": 1.0})
    await register(polling_service, task_id)
    await polling_service.poller.run_once()
    task = await polling_service.tasks.get(task_id)
    assert task.polling.consecutive_failures == 0
    assert task.polling.last_error is not None
    assert task.polling.last_error.code == "throttled"


async def test_a_wrong_secret_pauses_the_app_and_readiness_says_why(settings: MakeSettings, provider: Server) -> None:
    tasks = [provider.simulator.start("normal", duration=6000) for _ in range(20)]
    wrong = settings(zego_api_url=provider.url, zego_server_secret="not the secret of this app")
    async with open_service(wrong) as service:
        await register(service, *tasks)
        drained = asyncio.create_task(service.poller.run_once())

        async def degraded() -> bool:
            return (await service.health.examine()).status == "degraded"

        await until(degraded)
        assert (await service.health.examine()).checks[f"provider.{APP}"] == "paused: signature_wrong"
        service.poller.stop()
        await drained
        assert calls(provider) <= 10
        task = await service.tasks.get(tasks[0])
        assert task.polling.consecutive_failures == 0


async def test_a_deleted_task_is_not_brought_back_by_the_answer_to_its_poll(
    polling_service: Service, provider: Server
) -> None:
    task_id = provider.simulator.start("normal", duration=6000)
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 0.3})
    await register(polling_service, task_id)
    polling = asyncio.create_task(polling_service.poller.run_once())
    await until_called(provider)
    await polling_service.tasks.delete(task_id)
    await polling
    async with polling_service.database.read() as connection:
        assert await task_store.find_task(connection, task_id) is None


@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "second"])
async def test_what_is_written_during_a_poll_stays_and_the_poll_counts(
    polling_service: Service, provider: Server, earlier: int
) -> None:
    """The second poll changes nothing: on PostgreSQL it is recorded by one statement, unless somebody was first."""
    task_id = provider.simulator.start("no_files", duration=6000)
    await register(polling_service, task_id)
    for _ in range(earlier):
        assert await polling_service.poller.run_once() == 1
        await hurry(polling_service, task_id)
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 0.3})
    polling = asyncio.create_task(polling_service.poller.run_once())
    await until_called(provider, earlier + 1)
    await polling_service.tasks.set_labels(task_id, {"team": "support"}, if_versions=None)
    await polling
    task = await polling_service.tasks.get(task_id)
    assert (task.labels, task.polling.poll_count, task.claim_no) == ({"team": "support"}, earlier + 1, earlier + 1)


@pytest.mark.parametrize("life", ["no_files", "normal", "lost_file"])
async def test_polls_that_change_nothing_are_recorded_like_any(
    polling_service: Service, provider: Server, life: str
) -> None:
    """Were it not for the counts, none would be seen; and their permits come back."""
    task_id = provider.simulator.start(life, duration=6000)
    await register(polling_service, task_id)
    for number in range(1, 4):
        assert await polling_service.poller.run_once() == 1
        task = await polling_service.tasks.get(task_id)
        assert (task.polling.poll_count, task.claim_no) == (number, number)
        assert all(file.claim_no == number for file in task.files.values())
        assert task.polling.next_poll_at is not None
        assert task.polling.last_polled_at is not None
        assert task.polling.next_poll_at > task.polling.last_polled_at
        await hurry(polling_service, task_id)
    async with polling_service.database.read() as connection:
        stand = await polling_service.budgets[APP].stand(connection)
        answer = await task_store.find_answer(connection, task_id)
    assert (stand.in_doubt, stand.paused) == (0, None)
    assert answer is not None
    assert answer[0] > task.registered_at


async def test_a_task_of_very_many_files_keeps_them_all(polling_service: Service, provider: Server) -> None:
    """A claim does not tell them on PostgreSQL."""
    task_id = provider.simulator.start("normal", duration=6000)
    await register(polling_service, task_id)
    await observe(polling_service, task_id, Status.ONGOING, *(seen_file(f"{n}") for n in range(MANY_FILES + 10)))
    await hurry(polling_service, task_id)
    assert await polling_service.poller.run_once() == 1
    task = await polling_service.tasks.get(task_id)
    assert task.polling.poll_count == 2
    assert sum(task.file_counts.values()) == len(task.files) >= MANY_FILES + 10


async def test_no_transaction_is_open_during_a_poll(polling_service: Service, provider: Server) -> None:
    await register(polling_service, provider.simulator.start("normal", duration=6000))
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 2.0})
    polling = asyncio.create_task(polling_service.poller.run_once())
    await until_called(provider)

    async def nothing_is_held() -> bool:
        return not any(pool.checkedout() for pool in polling_service.database.pools.values())

    await until(nothing_is_held, seconds=0.5)  # the poller looks now and then whether more is due
    assert not polling.done()
    assert await polling == 1


async def test_a_refresh_during_a_poll_is_not_forgotten(polling_service: Service, provider: Server) -> None:
    task_id = provider.simulator.start("normal", duration=6000)
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 0.3})
    await register(polling_service, task_id)
    polling = asyncio.create_task(polling_service.poller.run_once())
    await until_called(provider)
    await polling_service.tasks.refresh(task_id)
    await polling
    assert calls(provider) == 2


async def test_a_claim_whose_process_died_comes_due_again_by_its_lease(
    polling_service: Service, provider: Server
) -> None:
    task_id = provider.simulator.start("normal", duration=6000)
    await register(polling_service, task_id)
    now = polling_service.clock.now()
    async with polling_service.database.write() as connection:
        claim = await polls.claim(connection, APP, order=list(Urgency), now=now, horizon=NO_HORIZON)
        assert claim is not None
    async with polling_service.database.read() as connection:
        assert not await polls.any_due(connection, APP, now=now, horizon=NO_HORIZON)
        assert await polls.any_due(connection, APP, now=claim.until, horizon=NO_HORIZON)


async def test_registering_wakes_the_poller_at_once(settings: MakeSettings, provider: Server) -> None:
    async with open_service(settings(zego_api_url=provider.url), policy=FAST) as service, running(service):
        await asyncio.sleep(0.2)  # the first tick is over; the next comes in 0.8 s
        task_id = provider.simulator.start("normal", duration=6000)
        await service.registration.register(NewTask(task_id=task_id, labels={}))

        async def polled() -> bool:
            return (await service.tasks.get(task_id)).polling.poll_count > 0

        await until(polled, seconds=0.5)


async def test_stopping_lets_polls_under_way_finish_and_be_recorded(settings: MakeSettings, provider: Server) -> None:
    tasks = [provider.simulator.start("normal", duration=60000) for _ in range(15)]
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 0.5})
    async with open_service(settings(zego_api_url=provider.url)) as service:
        async with running(service):
            await register(service, *tasks)
            await until_called(provider, 10)
        polled = [await service.tasks.get(task_id) for task_id in tasks]
    assert sum(task.polling.poll_count for task in polled) == calls(provider) == 10


async def test_the_poller_goes_on_after_the_database_was_away(database_url: str, settings: MakeSettings) -> None:
    if not database_url.startswith("sqlite"):
        return  # a PostgreSQL of its own to stop comes with the failure drill; a locked file is the same path here
    async with serve(Simulator({APP: SECRET}, speed=100)) as provider:
        service_settings = settings(zego_api_url=provider.url)
        async with open_service(service_settings) as service, open_service(service_settings) as other:
            task_id = provider.simulator.start("normal", duration=6000)
            await register(service, task_id)
            async with other.database.write():
                with pytest.raises(DatabaseUnavailable):
                    await service.poller.run_once()
            assert await service.poller.run_once() == 1


async def test_the_services_clock_is_set_by_the_database(database_url: str, settings: MakeSettings) -> None:
    async with open_service(settings()) as service:
        before = service.clock.now()
        await service.database.synchronise()
        assert abs((service.clock.now() - before).total_seconds()) < 1
        assert isinstance(service.clock, SystemClock)


async def test_the_answer_of_a_process_that_was_frozen_writes_over_nothing_newer(
    settings: MakeSettings, provider: Server
) -> None:
    """It asked before it froze; its task and its permit went to another, which has heard more meanwhile."""
    task_id = provider.simulator.start("normal", duration=6000)
    async with open_service(settings(zego_api_url=provider.url)) as service:
        await register(service, task_id)
        frozen = await claim(service, task_id)
        newer = await claim(service, task_id)
        for claimed, status in ((newer, Status.COMPLETED), (frozen, Status.ONGOING)):
            seen = Observation(claim_no=claimed.claim_no, asked_at=service.clock.now(), status=status)
            async with service.database.write() as connection:
                await service.observations.observe(connection, claimed, Described(seen, "{}", request_id=None))
        task = await service.tasks.get(task_id)
        assert (task.status, task.claim_no) == (Status.COMPLETED, newer.claim_no)
        async with service.database.write() as connection:
            unknown = TaskUnknown("not_found", "as it was before")
            await service.observations.poll_failed(connection, frozen, unknown)
        assert (await service.tasks.get(task_id)).status is Status.COMPLETED


# -- our own faults


def break_once(patch: pytest.MonkeyPatch, place: object, name: str, times: int = 1) -> None:
    """What is called so raises an error that nobody expects, so many times."""
    whole, left = getattr(place, name), [None] * times

    async def broken(*args: object, **kwargs: object) -> object:
        if left:
            left.pop()
            raise RuntimeError("nobody expects this")
        return await whole(*args, **kwargs)

    patch.setattr(place, name, broken)


async def test_a_fault_of_ours_in_a_call_fails_that_poll_alone(
    polling_service: Service, provider: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [provider.simulator.start("normal", duration=6000) for _ in range(3)]
    await register(polling_service, *tasks)
    break_once(monkeypatch, polling_service.budgets[APP].provider, "describe")
    assert await polling_service.poller.run_once() == 3
    found = [(await polling_service.tasks.get(task_id)).polling for task_id in tasks]
    assert sorted(polling.consecutive_failures for polling in found) == [0, 0, 1]
    assert {polling.last_error.code for polling in found if polling.last_error} == {"crashed"}


async def test_an_answer_that_cannot_be_stored_is_not_asked_for_again_at_full_speed(
    polling_service: Service, provider: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = provider.simulator.start("normal", duration=6000)
    await register(polling_service, task_id)
    break_once(monkeypatch, polling_service.observations, "observe_at_once")
    assert await polling_service.poller.run_once() == 1
    polling = (await polling_service.tasks.get(task_id)).polling
    assert polling.last_error is not None
    assert (polling.consecutive_failures, polling.last_error.code) == (1, "crashed")
    await hurry(polling_service, task_id)
    assert await polling_service.poller.run_once() == 1
    assert (await polling_service.tasks.get(task_id)).polling.consecutive_failures == 0


async def test_where_not_even_the_failure_can_be_stored_the_poller_goes_on_and_the_claim_comes_back_by_its_lease(
    polling_service: Service, provider: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = (provider.simulator.start("normal", duration=6000) for _ in range(2))
    await register(polling_service, stuck)
    break_once(monkeypatch, polling_service.observations, "observe_at_once")
    break_once(monkeypatch, polling_service.observations, "poll_failed")
    assert await polling_service.poller.run_once() == 1
    await register(polling_service, other)
    assert await polling_service.poller.run_once() == 1
    task = await polling_service.tasks.get(stuck)
    assert (task.polling.poll_count, task.polling.consecutive_failures) == (0, 0)
    assert task.polling.next_poll_at is not None
    assert timedelta(seconds=10) < task.polling.next_poll_at - polling_service.clock.now() < timedelta(seconds=60)


async def test_permits_whose_times_lie_hours_ahead_are_set_right(polling_service: Service, provider: Server) -> None:
    """The clock they were written by was wrong, and is right again."""
    task_id = provider.simulator.start("normal", duration=6000)
    await register(polling_service, task_id)
    async with polling_service.database.write() as connection:
        ahead = PERMITS.c.free_at + polling_service.clock.monotonic() + 3600
        await connection.execute(update(PERMITS).values(free_at=ahead))
    async with asyncio.timeout(10):
        assert await polling_service.poller.run_once() == 1
    assert (await polling_service.tasks.get(task_id)).polling.poll_count == 1
