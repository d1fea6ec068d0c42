"""Deliveries: what is queued for whom, how it is sent, tried again, given up; and that none holds up another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from app.core.deliveries import DEFAULT_TYPES, EVENT_TYPES, LEASE, SCHEDULE, Subscription, Verdict
from app.core.recording import FileStatus, Status
from app.store import deliveries as store
from app.store.connection import Connection
from app.store.delivery_lists import Delivery, DeliveryFilter
from app.store.tables_webhooks import DELIVERIES
from app.tracking.registration import NewTask
from app.tracking.subscriptions import NewSubscription, Replay
from app.wiring import Service, open_service, running
from tests.sink import Letter, Reply, Sink, is_signed_by, open_sink
from tests.world import HandClock, MakeSettings, observe, seen_file, task_id


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as sink:
        yield sink


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock, sink: Sink) -> AsyncIterator[Service]:
    async with open_service(sink.settings(settings), clock=clock) as service:
        yield service


async def subscribe(service: Service, url: str, name: str = "one", **more: Any) -> tuple[Subscription, str]:
    wanted: dict[str, Any] = {
        "types": DEFAULT_TYPES,
        "app_id": None,
        "labels": {},
        "max_in_flight": 10,
        "description": None,
        "secret": None,
    }
    one, secret = await service.subscriptions.create(NewSubscription(**wanted | {"name": name, "url": url} | more))
    assert secret
    return one, secret


async def register(service: Service, number: int = 0, **labels: str) -> None:
    await service.registration.register(NewTask(task_id=task_id(number), labels=labels))


async def happen(service: Service, number: int = 0) -> None:
    """One event more about this task."""
    task = await service.tasks.get(task_id(number))
    await service.tasks.set_labels(task_id(number), {"n": str(task.version)}, if_versions=None)


async def deliveries(service: Service, **wanted: Any) -> Sequence[Delivery]:
    """Oldest first."""
    return (await service.subscriptions.deliveries(DeliveryFilter(**wanted), before=None, limit=1000)).items[::-1]


async def until(condition: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


# -- what is queued


async def test_an_event_arrives_signed_with_its_id(service: Service, sink: Sink, clock: HandClock) -> None:
    _, secret = await subscribe(service, sink.url())
    await register(service)
    await observe(service, task_id(), Status.ONGOING)
    assert await service.webhooks.run_once() == 1
    (letter,) = sink.letters
    assert is_signed_by(letter, secret)
    assert letter.headers["content-type"] == "application/json"
    (told,) = [one for one in await service.tasks.history(task_id(), after=0, limit=9) if one.type == "task.updated"]
    assert (letter.id, letter.event["id"], letter.event["seq"]) == (told.id, told.id, told.seq)
    assert letter.said["type"] == letter.event["type"] == "task.updated"
    assert letter.said["timestamp"] == letter.event["occurred_at"]
    assert letter.event["data"]["task"]["status"] == "ongoing"
    (delivery,) = await deliveries(service)
    assert (delivery.status, delivery.next_attempt_at) == ("delivered", None)
    (attempt,) = delivery.attempts
    assert (attempt.at, attempt.status_code, attempt.error, attempt.response_excerpt) == (clock.now(), 200, None, "{}")
    assert await service.webhooks.run_once() == 0


async def test_only_what_is_wanted_is_queued(service: Service, sink: Sink) -> None:
    await subscribe(service, sink.url("/all"), "all", types=EVENT_TYPES)
    await subscribe(service, sink.url("/default"), "default")
    await subscribe(service, sink.url("/labels"), "labels", labels={"team": "a"}, types=EVENT_TYPES)
    await subscribe(service, sink.url("/app"), "app", app_id=2)
    await register(service, 0, team="a", more="b")
    await register(service, 1, team="b")
    for number in (0, 1):
        await observe(service, task_id(number), Status.COMPLETED, seen_file("f"))
    await service.tasks.delete(task_id(0))
    await service.webhooks.run_once()
    own = [["task.registered", "task.settled", "file.updated"], ["task.registered", "task.settled", "file.updated"]]
    assert sorted(sink.types("/all")) == sorted([*own[0], *own[1], "task.deleted"])
    assert sorted(sink.types("/default")) == ["task.deleted", "task.settled", "task.settled"]
    assert sink.types("/labels") == [*own[0], "task.deleted"]
    assert sink.types("/app") == []


async def test_without_subscribers_nothing_is_queued_and_only_events_after_creation_are(
    service: Service, sink: Sink
) -> None:
    await register(service)
    await happen(service)
    await subscribe(service, sink.url())
    await service.webhooks.run_once()
    assert sink.letters == []
    await happen(service)
    await service.webhooks.run_once()
    assert len(sink.letters) == 1


async def test_a_subscription_and_concurrent_events_neither_lose_nor_double(
    settings: MakeSettings, sink: Sink, clock: HandClock
) -> None:
    async with (
        open_service(sink.settings(settings), clock=clock) as service,
        open_service(sink.settings(settings), clock=clock) as other,
    ):
        for number in range(8):
            await register(service, number)
        stop = asyncio.Event()

        async def keep_happening(number: int) -> None:
            while not stop.is_set():
                await happen(service if number % 2 else other, number)

        writers = [asyncio.create_task(keep_happening(number)) for number in range(8)]
        await asyncio.sleep(0.1)
        one, _ = await subscribe(service, sink.url())
        acknowledged = {number: (await service.tasks.get(task_id(number))).version for number in range(8)}
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*writers)
        queued = await deliveries(service, subscription_id=one.subscription_id)
        assert len({one.event_id for one in queued}) == len(queued) > 8
        by_id = {one.event_id for one in queued}
        for number, version in acknowledged.items():
            told = await service.tasks.history(task_id(number), after=0, limit=1000)
            assert [x.id for x in told if (x.task_version or 0) > version and x.id not in by_id] == []
            versions = [x.task_version or 0 for x in told if x.id in by_id]
            assert versions == list(range(versions[0], versions[0] + len(versions)))


async def test_a_crash_of_the_change_takes_its_deliveries_with_it(service: Service, sink: Sink) -> None:
    await subscribe(service, sink.url(), types=EVENT_TYPES)
    await register(service)
    task = await service.tasks.get(task_id())
    with suppress(ZeroDivisionError):
        async with service.database.write() as connection:
            changed = replace(task, labels={"a": "b"})
            await service.observations._changes.save(connection, task, changed, source="api", now=service.clock.now())
            raise ZeroDivisionError
    assert [one.type for one in await deliveries(service)] == ["task.registered"]


# -- trying again


async def test_a_failed_delivery_is_tried_again_by_the_schedule_and_then_given_up(
    service: Service, sink: Sink, clock: HandClock
) -> None:
    await subscribe(service, sink.url())
    await subscribe(service, sink.url("/watch"), "watch", types=["delivery.failed"])
    sink.answer = lambda letter: Reply(200 if letter.path == "/watch" else 500, body=b"no\x00t today" + b"x" * 4000)
    await register(service)
    await happen(service)
    for number, wait in enumerate(SCHEDULE):
        await service.webhooks.run_once()
        assert len(sink.ids()) == number + 1
        (delivery,) = await deliveries(service)
        assert delivery.next_attempt_at == clock.now() + wait
        clock.advance(wait.total_seconds() - 0.001)
        assert await service.webhooks.run_once() == 0
        clock.advance(0.001)
    await service.webhooks.run_once()
    assert len(set(sink.ids())) == 1
    assert len(sink.ids()) == 8
    failed, told = await deliveries(service)
    assert (failed.status, failed.next_attempt_at, len(failed.attempts)) == ("failed", None, 8)
    assert len(failed.attempts[0].response_excerpt or "") == 2047  # 2 KiB without the NUL
    clock.advance(86400)
    await service.webhooks.run_once()
    assert len(sink.ids()) == 8
    (letter,) = [letter for letter in sink.letters if letter.path == "/watch"]
    event = letter.event
    assert (event["type"], event["app_id"], event["task_id"], event["task_version"]) == (
        "delivery.failed",
        None,
        None,
        None,
    )
    assert event["data"]["delivery"]["event_id"] == failed.event_id
    assert event["data"]["subscription"]["name"] == "one"
    assert told.status == "delivered"


async def test_the_wait_is_spread_by_a_fifth_each_way(service: Service, sink: Sink, clock: HandClock) -> None:
    await subscribe(service, sink.url())
    sink.answer = lambda letter: Reply(302, {"location": sink.url("/elsewhere")})
    clock.dice = 0.0
    await register(service)
    await happen(service)
    await service.webhooks.run_once()
    (delivery,) = await deliveries(service)
    assert delivery.next_attempt_at == clock.now() + timedelta(seconds=4)
    assert sink.ids("/elsewhere") == []


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [(429, "120", 120), (503, "7200", 7200), (503, "999999", 12 * 3600), (429, "1", 5), (500, "120", 5)],
)
async def test_retry_after_is_honoured_within_bounds(
    service: Service, sink: Sink, clock: HandClock, status: int, header: str, seconds: int
) -> None:
    await subscribe(service, sink.url())
    sink.answer = lambda letter: Reply(status, {"retry-after": header})
    await register(service)
    await happen(service)
    await service.webhooks.run_once()
    (delivery,) = await deliveries(service)
    assert delivery.next_attempt_at == clock.now() + timedelta(seconds=seconds)


async def test_gone_disables_and_what_waits_goes_on_when_it_is_enabled(
    service: Service, sink: Sink, clock: HandClock
) -> None:
    one, _ = await subscribe(service, sink.url())
    await subscribe(service, sink.url("/watch"), "watch", types=["subscription.disabled"])
    sink.answer = lambda letter: Reply(410 if letter.path == "/hook" else 200)
    await register(service)
    await happen(service)
    await service.webhooks.run_once()
    one = await service.subscriptions.get(one.subscription_id)
    assert (one.disabled_at, one.disabled_reason) == (clock.now(), "gone")
    assert [letter.event["data"]["subscription"]["disabled_reason"] for letter in sink.letters[1:]] == ["gone"]
    await happen(service)  # while it is disabled nothing is queued
    clock.advance(3600)
    await service.webhooks.run_once()
    assert len(sink.ids()) == 1
    sink.answer = lambda letter: Reply()
    await service.subscriptions.change(one.subscription_id, {}, enabled=True)
    await service.webhooks.run_once()
    assert len(sink.ids()) == 2
    assert len(set(sink.ids())) == 1


async def test_five_days_without_success_disable(service: Service, sink: Sink, clock: HandClock) -> None:
    one, _ = await subscribe(service, sink.url())
    sink.answer = lambda letter: Reply(500)
    await register(service)

    async def fails() -> None:
        await happen(service)
        await service.webhooks.run_once()

    await fails()
    clock.advance(5 * 86400 - 1)
    await fails()
    assert (await service.subscriptions.get(one.subscription_id)).disabled_at is None
    sink.answer = lambda letter: Reply(200)
    await fails()
    sink.answer = lambda letter: Reply(500)
    await fails()
    clock.advance(5 * 86400)
    await fails()
    one = await service.subscriptions.get(one.subscription_id)
    assert (one.disabled_at, one.disabled_reason) == (clock.now(), "failing")


async def test_what_nobody_answers_is_an_error_and_tried_again(service: Service, sink: Sink) -> None:
    await subscribe(service, "http://127.0.0.1:9/hook")
    await register(service)
    await happen(service)
    await service.webhooks.run_once()
    (delivery,) = await deliveries(service)
    assert delivery.status == "pending"
    assert (delivery.attempts[0].status_code, bool(delivery.attempts[0].error)) == (None, True)


# -- order, room, and nobody in another's way


async def test_events_of_a_task_leave_in_order_though_many_go_at_once(service: Service, sink: Sink) -> None:
    await subscribe(service, sink.url())
    for number in range(5):
        await register(service, number)
    for _ in range(6):
        for number in range(5):
            await happen(service, number)
    sink.answer = lambda letter: Reply(delay=0.02)
    await service.webhooks.run_once()
    assert len(sink.letters) == 30
    assert 1 < sink.most["/hook"] <= 5  # one of each task
    for number in range(5):
        versions = [
            letter.event["task_version"] for letter in sink.letters if letter.event["task_id"] == task_id(number)
        ]
        assert versions == sorted(versions)


async def test_a_delivery_that_waits_for_a_retry_holds_back_nothing(
    service: Service, sink: Sink, clock: HandClock
) -> None:
    await subscribe(service, sink.url())
    await register(service)
    await happen(service)
    await happen(service)
    first: list[str] = []

    def refuse_the_first(letter: Letter) -> Reply:
        first.append(letter.id)
        return Reply(500 if letter.id == first[0] else 200)

    sink.answer = refuse_the_first
    await service.webhooks.run_once()
    assert [one.status for one in await deliveries(service)] == ["pending", "delivered"]
    versions = [letter.event["task_version"] for letter in sink.letters]
    assert versions == [2, 3]


async def test_the_next_event_of_a_task_waits_for_the_answer_to_the_one_before(service: Service, sink: Sink) -> None:
    await subscribe(service, sink.url())
    await register(service)
    await register(service, 1)
    for _ in range(2):
        await happen(service)
    go_on = asyncio.Event()
    sink.answer = lambda letter: Reply(wait=go_on if letter.event["task_id"] == task_id() else None)
    sending = asyncio.create_task(service.webhooks.run_once())
    await until(lambda: len(sink.letters) == 1)
    await happen(service, 1)
    await until(lambda: len(sink.letters) == 2)
    assert [letter.event["task_id"] for letter in sink.letters] == [task_id(), task_id(1)]
    go_on.set()
    await sending
    assert len(sink.letters) == 3


async def test_no_more_than_max_in_flight_go_at_once_in_all_processes_together(
    settings: MakeSettings, sink: Sink, clock: HandClock
) -> None:
    async with (
        open_service(sink.settings(settings), clock=clock) as service,
        open_service(sink.settings(settings), clock=clock) as other,
    ):
        await subscribe(service, sink.url(), max_in_flight=3)
        for number in range(12):
            await register(service, number)
            await happen(service, number)
        go_on = asyncio.Event()
        sink.answer = lambda letter: Reply(wait=go_on)
        sending = [asyncio.create_task(one.webhooks.run_once()) for one in (service, other)]
        await until(lambda: len(sink.letters) == 3)
        await asyncio.sleep(0.1)
        assert len(sink.letters) == 3
        go_on.set()
        await asyncio.gather(*sending)
        assert (len(sink.letters), len(set(sink.ids())), sink.most["/hook"]) == (12, 12, 3)


async def test_a_hanging_endpoint_does_not_delay_healthy_ones(service: Service, sink: Sink) -> None:
    await subscribe(service, sink.url("/hangs"), "hangs")
    for name in ("a", "b"):
        await subscribe(service, sink.url(f"/{name}"), name)
    go_on = asyncio.Event()
    sink.answer = lambda letter: Reply(wait=go_on if letter.path == "/hangs" else None)
    for number in range(30):
        await register(service, number)
        await happen(service, number)
    sending = asyncio.create_task(service.webhooks.run_once())
    await until(lambda: len(sink.ids("/a")) == len(sink.ids("/b")) == 30)
    assert len(sink.ids("/hangs")) == 10
    await happen(service)  # and what comes now, too
    await until(lambda: len(sink.ids("/a")) == len(sink.ids("/b")) == 31)
    assert len(sink.ids("/hangs")) == 10
    go_on.set()
    await sending
    assert len(set(sink.ids("/hangs"))) == 31


async def test_no_transaction_is_open_during_a_post(service: Service, sink: Sink) -> None:
    await subscribe(service, sink.url())
    await register(service)
    await happen(service)
    go_on = asyncio.Event()
    sink.answer = lambda letter: Reply(wait=go_on)
    sending = asyncio.create_task(service.webhooks.run_once())
    await until(lambda: sink.letters)
    pools = {engine.pool for engine in {*service.database.engines, service.database.engine}}
    # It looks again and again for what comes due: not always one is out.
    await until(lambda: sum(pool.checkedout() for pool in pools) == 0)  # type: ignore[attr-defined]
    go_on.set()
    await sending


async def test_a_commit_wakes_the_deliverer(
    settings: MakeSettings, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.DELIVER_EVERY", timedelta(minutes=1))
    async with open_service(sink.settings(settings)) as service, running(service):
        await subscribe(service, sink.url())
        await register(service)
        await asyncio.sleep(0.3)  # the first tick is over; the next comes in a minute
        await happen(service)
        await until(lambda: sink.letters, seconds=10)


async def test_stopping_writes_down_what_was_answered(settings: MakeSettings, sink: Sink) -> None:
    async with open_service(sink.settings(settings)) as service:
        go_on = asyncio.Event()
        sink.answer = lambda letter: Reply(wait=go_on)
        async with running(service):
            await subscribe(service, sink.url())
            await register(service)
            await happen(service)
            await until(lambda: sink.letters)
            asyncio.get_running_loop().call_later(0.2, go_on.set)
        assert [one.status for one in await deliveries(service)] == ["delivered"]


# -- by hand


async def test_redelivery_sends_at_once_whatever_became_of_it(service: Service, sink: Sink, clock: HandClock) -> None:
    one, _ = await subscribe(service, sink.url())
    await register(service)
    await happen(service)
    await service.webhooks.run_once()
    (delivery,) = await deliveries(service)
    again = await service.subscriptions.redeliver(one.subscription_id, delivery.id)
    assert (again.status, again.next_attempt_at) == ("pending", clock.now())
    sink.answer = lambda letter: Reply(500)
    await service.webhooks.run_once()
    (delivery,) = await deliveries(service)
    assert delivery.next_attempt_at == clock.now() + SCHEDULE[0]
    assert len(delivery.attempts) == 2
    assert len(set(sink.ids())) == 1


async def test_a_redelivery_during_an_attempt_is_not_forgotten(service: Service, sink: Sink) -> None:
    one, _ = await subscribe(service, sink.url())
    await register(service)
    await happen(service)
    go_on = asyncio.Event()
    sink.answer = lambda letter: Reply(wait=go_on)
    sending = asyncio.create_task(service.webhooks.run_once())
    await until(lambda: sink.letters)
    (delivery,) = await deliveries(service)
    await service.subscriptions.redeliver(one.subscription_id, delivery.id)
    go_on.set()
    await sending
    assert len(sink.letters) == 2
    (delivery,) = await deliveries(service)
    assert (delivery.status, len(delivery.attempts)) == ("delivered", 2)


async def test_a_replay_sends_what_was_not_delivered_with_its_own_ids_behind_what_is_live(
    service: Service, sink: Sink, clock: HandClock
) -> None:
    await register(service)
    began = clock.now()
    clock.advance(60)
    for _ in range(3):
        await happen(service)
    one, _ = await subscribe(service, sink.url(), max_in_flight=1)
    clock.advance(60)
    await happen(service)
    past = [x for x in await service.tasks.history(task_id(), after=0, limit=9) if x.type == "task.updated"]

    async def replay(**how: Any) -> int:
        wanted: dict[str, Any] = {"since": began, "until": None, "types": None, "only": "undelivered", "dry_run": False}
        return await service.subscriptions.replay(one.subscription_id, Replay(**wanted | how))

    clock.advance(1)
    assert await replay(dry_run=True) == 3
    assert await replay(dry_run=True, types=["task.settled"]) == 0
    assert await replay(dry_run=True, until=began + timedelta(seconds=1)) == 0
    assert [x.status for x in await deliveries(service)] == ["pending"]
    assert await replay() == 3
    assert await replay() == 0
    clock.advance(1)
    await happen(service)
    await service.webhooks.run_once()
    live = [x for x in await service.tasks.history(task_id(), after=0, limit=9) if x.type == "task.updated"][3:]
    assert sink.ids() == [x.id for x in live] + [x.id for x in past[:3]]
    assert await replay() == 0
    assert await replay(only="all") == 5
    await service.webhooks.run_once()
    assert sink.ids()[5:] == [x.id for x in past[:4]] + [live[1].id]


async def test_deleting_cancels_what_waits(service: Service, sink: Sink) -> None:
    one, _ = await subscribe(service, sink.url())
    await register(service)
    await happen(service)
    await service.subscriptions.delete(one.subscription_id)
    assert await service.webhooks.run_once() == 0
    assert [x.status for x in await deliveries(service)] == ["cancelled"]
    await happen(service)
    async with service.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(DELIVERIES))).scalar() == 1


async def test_a_new_address_holds_for_what_waits(service: Service, sink: Sink, clock: HandClock) -> None:
    one, _ = await subscribe(service, "http://127.0.0.1:9/")
    await register(service)
    await happen(service)
    await service.webhooks.run_once()
    await service.subscriptions.change(one.subscription_id, {"url": sink.url()}, enabled=None)
    clock.advance(5)
    await service.webhooks.run_once()
    assert len(sink.letters) == 1


async def test_a_rotated_secret_signs_for_a_day_beside_its_successor(
    service: Service, sink: Sink, clock: HandClock
) -> None:
    one, old = await subscribe(service, sink.url())
    _, new = await service.subscriptions.rotate(one.subscription_id, None)
    assert old != new
    clock.advance(86399)
    await service.subscriptions.ping(one.subscription_id)
    clock.advance(1)
    await service.subscriptions.ping(one.subscription_id)
    both, alone = sink.letters
    assert [is_signed_by(both, secret) for secret in (old, new)] == [True, True]
    assert [is_signed_by(alone, secret) for secret in (old, new)] == [False, True]
    assert both.said["type"] == "ping"


async def test_a_settled_task_carries_as_many_files_as_fit(service: Service, sink: Sink) -> None:
    await subscribe(service, sink.url())
    for number, files in ((0, 3), (1, 80)):
        await register(service, number)
        seen = [seen_file(f"f{n:03}", FileStatus.UPLOADED, user_name="é" * 20) for n in range(files)]
        await observe(service, task_id(number), Status.COMPLETED, *seen)
    await service.webhooks.run_once()
    few, many = (letter for letter in sink.letters if letter.said["type"] == "task.settled")
    assert (len(few.event["data"]["files"]), few.event["data"]["files_truncated"]) == (3, False)
    data = many.event["data"]
    assert (data["files_truncated"], data["files_url"]) == (True, f"/v1/tasks/{task_id(1)}/files")
    assert [file["file_id"] for file in data["files"]] == [f"f{n:03}" for n in range(len(data["files"]))]
    assert 10 < len(data["files"]) < 80
    assert 18_000 < len(many.body) < 20 * 1024


# -- our own faults


async def test_a_delivery_that_cannot_be_written_down_takes_no_other_with_it(
    service: Service, sink: Sink, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscribe(service, sink.url(), types=EVENT_TYPES)
    for number in range(3):
        await register(service, number)
    settle = store.settle

    async def broken(connection: Connection, judged: Sequence[tuple[store.Claim, Verdict]]) -> list[store.Claim]:
        if any(claim.task_id == task_id(1) for claim, _ in judged):
            raise RuntimeError("nobody expects this")
        return await settle(connection, judged)

    monkeypatch.setattr(store, "settle", broken)
    await service.webhooks.run_once()
    assert len(sink.letters) == 3
    found = {one.task_id: one.status for one in await deliveries(service)}
    assert found == {task_id(0): "delivered", task_id(1): "pending", task_id(2): "delivered"}
    monkeypatch.setattr(store, "settle", settle)
    clock.advance(LEASE.total_seconds() + 1)
    await service.webhooks.run_once()
    assert {one.status for one in await deliveries(service)} == {"delivered"}
    assert len(sink.letters) == 4
