"""Callbacks as they are taken in: kept, judged, applied beside what polls say, and turned into hurried polls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from app.core.recording import FileStatus, Outcome, Status, Task, Tracking
from app.core.signing import callback_signature
from app.errors import CallbackRefused, CallbackUnreadable, DatabaseUnavailable
from app.store import callbacks as store
from app.store.callbacks import CallbackFilter, Stored
from app.store.tables import POLLS
from app.tracking.callbacks import KEPT_OF_ONE_SIGNATURE
from app.tracking.registration import NewTask
from app.wiring import Service, open_service
from tests.world import APP, OTHER_APP, HandClock, MakeSettings, observe, seen_file, task_id

CALLBACK_SECRET = "callback-secret-of-app-1"
IMAGE = {"file_id": "a.jpg", "output_file_format": "jpg", "status": 3, "user_name": "Ann"}


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    async with open_service(settings(zego_callback_secret=CALLBACK_SECRET), clock=clock) as service:
        yield service


@pytest.fixture
async def discovering(settings: MakeSettings, clock: HandClock) -> AsyncIterator[Service]:
    """A service that registers what callbacks show."""
    async with open_service(settings(zego_callback_secret=CALLBACK_SECRET, discover=True), clock=clock) as service:
        yield service


def body(service: Service, event_type: int = 5, number: int = 0, *, nonce: str = "", **more: Any) -> bytes:
    """A callback about the task of this number, signed now; each has a nonce of its own unless one is given."""
    timestamp = str(int(more.pop("sent_at", service.clock.now()).timestamp()))
    nonce = nonce or service.clock.token()
    told = {
        "app_id": APP,
        "task_id": task_id(number),
        "event_type": event_type,
        "nonce": nonce,
        "timestamp": timestamp,
        "signature": callback_signature(CALLBACK_SECRET, timestamp, nonce),
        "sequence": 0,
        "detail": {},
    }
    return json.dumps(told | more).encode()


async def register(service: Service, number: int = 0, **more: Any) -> None:
    await service.registration.register(NewTask(task_id=task_id(number), labels={}, **more))


async def polled(service: Service, number: int = 0, status: Status = Status.ONGOING, **facts: Any) -> None:
    """The task is registered, and a poll found it so."""
    await register(service, number)
    await observe(service, task_id(number), status, **facts)


async def due_at(service: Service, number: int = 0) -> datetime | None:
    async with service.database.read() as connection:
        statement = select(POLLS.c.next_poll_at).where(POLLS.c.task_id == task_id(number))
        due: datetime | None = (await connection.execute(statement)).scalar()
        return due


async def arrived(service: Service, **wanted: Any) -> Sequence[Stored]:
    return (await service.callbacks.list_callbacks(CallbackFilter(**wanted), before=None, limit=500)).items


async def history(service: Service, number: int = 0) -> list[str]:
    return [event.type for event in await service.tasks.history(task_id(number), after=0, limit=500)]


# -- who signed it


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"app_id": 99}, "app_unknown"),
        ({"app_id": None}, "app_unknown"),
        ({"app_id": "one"}, "app_unknown"),
        ({"signature": "0" * 40}, "signature_wrong"),
        ({"signature": ""}, "signature_wrong"),
        ({"signature": None}, "signature_wrong"),
        ({"signature": "é" * 40}, "signature_wrong"),
        ({"timestamp": "1"}, "signature_wrong"),
    ],
)
async def test_a_callback_nobody_signed_is_refused_and_leaves_nothing_but_a_count(
    service: Service, more: dict[str, Any], reason: str
) -> None:
    await polled(service)
    before = await due_at(service)
    with pytest.raises(CallbackRefused) as refused:
        await service.callbacks.receive(body(service, **more))
    assert refused.value.reason == reason
    assert service.callbacks.refused == {reason: 1}
    assert await arrived(service) == []
    assert await due_at(service) == before


@pytest.mark.parametrize("minutes", [-10.02, 10.02, -60 * 24, 60 * 24])
async def test_a_callback_of_another_time_is_stale(service: Service, minutes: float) -> None:
    sent_at = service.clock.now() + timedelta(minutes=minutes)
    with pytest.raises(CallbackRefused) as refused:
        await service.callbacks.receive(body(service, sent_at=sent_at))
    assert refused.value.reason == "stale"


@pytest.mark.parametrize("minutes", [-9.98, 9.98, 0])
async def test_a_callback_within_ten_minutes_of_now_is_fresh(service: Service, minutes: float) -> None:
    await service.callbacks.receive(body(service, sent_at=service.clock.now() + timedelta(minutes=minutes)))
    assert len(await arrived(service)) == 1


@pytest.mark.parametrize("timestamp", ["now", "", "12e9", "1.5", "-1", "٣" * 10])
async def test_a_timestamp_that_is_no_number_is_refused_though_it_is_signed(service: Service, timestamp: str) -> None:
    signature = callback_signature(CALLBACK_SECRET, timestamp, "7")
    with pytest.raises(CallbackRefused) as refused:
        await service.callbacks.receive(body(service, nonce="7", timestamp=timestamp, signature=signature))
    assert refused.value.reason == "timestamp_malformed"


async def test_an_app_without_a_callback_secret_takes_no_callbacks(settings: MakeSettings, clock: HandClock) -> None:
    async with open_service(settings(), clock=clock) as service:
        with pytest.raises(CallbackRefused) as refused:
            await service.callbacks.receive(body(service))
        assert refused.value.reason == "no_callback_secret"


async def test_what_is_no_callback_is_told_apart_from_what_is_wrongly_signed(service: Service) -> None:
    with pytest.raises(CallbackUnreadable):
        await service.callbacks.receive(b"\xff\x00 hello")
    assert service.callbacks.refused == {"unreadable_body": 1}


# -- what it does


async def test_a_callback_makes_the_poll_due_and_changes_neither_status_nor_outcome(
    service: Service, clock: HandClock
) -> None:
    await polled(service)
    before = await service.tasks.get(task_id())
    clock.advance(1)
    await service.callbacks.receive(body(service, 5))
    task = await service.tasks.get(task_id())
    assert await due_at(service) == clock.now()
    assert (task.status, task.tracking, task.outcome, task.version) == (
        before.status, before.tracking, before.outcome, before.version,
    )  # fmt: skip
    assert task.told.last is not None
    assert (task.told.last.event_type, task.told.last.event.value) == (5, "ended")
    assert await history(service) == ["task.registered", "task.updated", "callback.received"]


@pytest.mark.parametrize(
    ("event_type", "detail"),
    [
        (1, {"upload_status": 1, "file_info": [{"file_id": "f", "status": 3}]}),
        (1, {"upload_status": 2, "file_info": [{"file_id": "f", "status": 5}]}),
        (1, {"upload_status": 1, "file_info": []}),
        (2, {"quit_reason": 6}),
        (5, {}),
        (7, {}),
    ],
)
async def test_no_callback_moves_a_status_a_polled_file_or_an_outcome(
    service: Service, clock: HandClock, event_type: int, detail: dict[str, Any]
) -> None:
    await register(service)
    await observe(service, task_id(), Status.ONGOING, seen_file("f", FileStatus.RECORDING))
    before = await service.tasks.get(task_id())
    clock.advance(5)
    await service.callbacks.receive(body(service, event_type, detail=detail))
    after = await service.tasks.get(task_id())
    assert (after.status, after.status_code, after.tracking, after.outcome) == (
        before.status, before.status_code, before.tracking, before.outcome,
    )  # fmt: skip
    assert after.files == before.files


async def test_a_hundred_callbacks_of_a_task_cost_a_few_polls(service: Service, clock: HandClock) -> None:
    await polled(service)
    polls_made = 0
    for _ in range(100):
        clock.advance(1)
        await service.callbacks.receive(body(service, 5))
        due = await due_at(service)
        if due is not None and due <= clock.now():
            await observe(service, task_id())
            polls_made += 1
    assert 5 <= polls_made <= 8


@pytest.mark.parametrize(
    ("event_type", "detail"), [(4, {}), (6, {"stream_id": "s"}), (1, {"upload_status": 1, "file_info": [IMAGE]})]
)
async def test_chatter_costs_no_poll_of_its_own(
    service: Service, clock: HandClock, event_type: int, detail: dict[str, Any]
) -> None:
    await polled(service)
    planned = await due_at(service)
    for _ in range(20):
        clock.advance(1)
        await service.callbacks.receive(body(service, event_type, detail=detail))
    assert await due_at(service) == planned


async def test_what_only_callbacks_tell_is_kept_beside(service: Service, clock: HandClock) -> None:
    await polled(service)
    playlist = {"stream_id": "s1", "file_id": "x.m3u8", "file_url": "https://bucket.example/x.m3u8"}
    for event_type, detail in (
        (2, {"quit_reason": 3}),
        (3, {"image_type": 2, "image_url": "https://cdn.example/wm.png"}),
        (6, {"stream_id": "s-missing"}),
        (4, {}),
        (4, {}),
        (102, playlist | {"media_track_type": 3}),
        (1, {"upload_status": 1, "file_info": [IMAGE]}),
    ):
        clock.advance(1)
        await service.callbacks.receive(body(service, event_type, detail=detail))
    task = await service.tasks.get(task_id())
    assert task.told.quit_reason_code == 3
    assert [(one.code, one.detail, one.count) for one in task.told.notices] == [
        ("image_download_failed", "watermark: https://cdn.example/wm.png", 1),
        ("stream_missing", "s-missing", 1),
        ("room_empty", "", 2),
    ]
    assert [one.url for one in task.told.playlists] == ["https://bucket.example/x.m3u8"]
    image = task.files["a.jpg"]
    assert (image.source, image.seen.status, image.seen.user_name) == ("callback", FileStatus.UPLOADED, "Ann")
    assert task.file_counts == {"uploaded": 1}


async def test_screenshots_stand_in_the_files_and_leave_the_outcome_alone(service: Service, clock: HandClock) -> None:
    await polled(service)
    for name in ("a.jpg", "b.jpg"):
        detail = {"upload_status": 1, "file_info": [IMAGE | {"file_id": name}]}
        await service.callbacks.receive(body(service, 1, detail=detail))
    ended = clock.now()
    clock.advance(200)
    await observe(service, task_id(), Status.COMPLETED, ended_at=ended)
    task = await service.tasks.get(task_id())
    assert (task.tracking, task.outcome, task.outcome_basis) == (Tracking.SETTLED, Outcome.NO_FILES, "poll")
    assert sorted(task.files) == ["a.jpg", "b.jpg"]
    assert task.file_counts == {"uploaded": 2}


async def test_a_settled_task_is_looked_at_again_when_a_callback_comes(service: Service, clock: HandClock) -> None:
    await register(service)
    await observe(service, task_id(), Status.COMPLETED, seen_file("f"))
    assert (await service.tasks.get(task_id())).tracking is Tracking.SETTLED
    clock.advance(2)
    await service.callbacks.receive(body(service, 1, detail={"file_info": [{"file_id": "g", "status": 3}]}))
    assert await due_at(service) == clock.now()
    assert (await service.tasks.get(task_id())).tracking is Tracking.SETTLED


async def test_an_untracked_task_is_not_polled_for_a_callback(service: Service) -> None:
    await polled(service)
    await service.tasks.untrack(task_id())
    await service.callbacks.receive(body(service, 5))
    assert await due_at(service) is None
    assert (await service.tasks.get(task_id())).told.last is not None


async def test_an_unknown_event_is_kept_and_hurries(service: Service, clock: HandClock) -> None:
    await polled(service)
    clock.advance(1)
    await service.callbacks.receive(body(service, 977, detail={"new": True}))
    assert await due_at(service) == clock.now()
    last = (await service.tasks.get(task_id())).told.last
    assert last is not None
    assert (last.event_type, last.event.value) == (977, "unknown")


# -- repeats and forgeries


async def test_a_repeat_has_no_effect(service: Service, clock: HandClock) -> None:
    await polled(service)
    callback = body(service, 4)
    await service.callbacks.receive(callback)
    before = await service.tasks.get(task_id())
    due, told = await due_at(service), await history(service)
    clock.advance(5)
    await service.callbacks.receive(callback)
    assert await service.tasks.get(task_id()) == before
    assert (await due_at(service), await history(service)) == (due, told)
    assert [one.verdict for one in await arrived(service)] == ["repeat", "accepted"]
    assert [one.body is None for one in await arrived(service)] == [True, False]


async def receive_at_once(service: Service, settings: MakeSettings, *bodies: bytes) -> list[str]:
    """Callbacks that come to two processes, of which neither can store any before both have come as far as they can."""
    async with open_service(settings(zego_callback_secret=CALLBACK_SECRET), clock=service.clock) as other:
        async with service.database.write() as connection:
            if not service.database.is_sqlite:
                await connection.execute(text("LOCK TABLE callbacks IN SHARE MODE"))
            to = zip((service, other), bodies, strict=True)
            at_once = [asyncio.create_task(one.callbacks.receive(body)) for one, body in to]
            await asyncio.sleep(0.3)
        await asyncio.gather(*at_once)
    return sorted(one.verdict for one in await arrived(service))


@pytest.mark.parametrize("before", [True, False])
async def test_of_copies_that_come_to_two_processes_at_once_one_counts(
    service: Service, settings: MakeSettings, before: bool
) -> None:
    if before:
        await register(service)
    copy = body(service, 4)
    assert await receive_at_once(service, settings, copy, copy) == ["accepted", "repeat"]
    if not before:
        await register(service)
    assert (await history(service)).count("callback.received") == 1


async def test_of_two_bodies_with_one_signature_that_come_at_once_one_is_suspicious(
    service: Service, settings: MakeSettings
) -> None:
    bodies = [body(service, 4, number, nonce="7") for number in (0, 1)]
    assert await receive_at_once(service, settings, *bodies) == ["accepted", "suspicious"]


async def test_a_signature_with_another_body_is_suspicious_and_only_hurries(service: Service, clock: HandClock) -> None:
    await polled(service)
    await service.callbacks.receive(body(service, 4, nonce="7"))
    before = await service.tasks.get(task_id())
    await service.callbacks.receive(body(service, 2, nonce="7", detail={"quit_reason": 6}))
    assert await due_at(service) == clock.now()
    after = await service.tasks.get(task_id())
    assert after.told.quit_reason_code is None
    assert after.told.last == before.told.last
    assert [(one.verdict, one.body is None) for one in await arrived(service)] == [
        ("suspicious", True),
        ("accepted", False),
    ]


async def test_one_signature_cannot_fill_the_database(service: Service) -> None:
    await polled(service)
    for number in range(2 * KEPT_OF_ONE_SIGNATURE):
        await service.callbacks.receive(body(service, 5, nonce="7", message=str(number)))
    assert len(await arrived(service)) == KEPT_OF_ONE_SIGNATURE
    assert service.callbacks.refused == {"signature_used_up": KEPT_OF_ONE_SIGNATURE}


async def test_many_callbacks_at_once_are_all_kept_and_judged_among_each_other(service: Service) -> None:
    await polled(service)
    same = body(service, 5, nonce="7")
    bodies = [body(service, 4, number=number % 3) for number in range(120)] + [same] * 3
    await asyncio.gather(*(service.callbacks.receive(one) for one in bodies))
    verdicts = [one.verdict for one in await arrived(service)]
    assert (verdicts.count("accepted"), verdicts.count("repeat")) == (121, 2)
    task = await service.tasks.get(task_id())
    assert [one.count for one in task.told.notices] == [40]


async def test_whoever_hangs_up_loses_no_callback(service: Service) -> None:
    receiving = asyncio.create_task(service.callbacks.receive(body(service, 5)))
    await asyncio.sleep(0)
    receiving.cancel()
    for _ in range(200):
        if await arrived(service):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it was not stored")


async def test_a_database_that_is_away_refuses_the_callback_and_the_next_is_taken_again(
    database_url: str, settings: MakeSettings, clock: HandClock
) -> None:
    if not database_url.startswith("sqlite"):
        return  # a locked file stands for both: what is tested is who gets told
    made = settings(zego_callback_secret=CALLBACK_SECRET)
    async with open_service(made, clock=clock) as service, open_service(made, clock=clock) as other:
        async with other.database.write():
            with pytest.raises(DatabaseUnavailable):
                await service.callbacks.receive(body(service, 5))
        await service.callbacks.receive(body(service, 5))
        assert len(await arrived(service)) == 1


# -- tasks that nobody registered


async def test_callbacks_of_an_unknown_task_are_remembered_and_applied_when_it_is_registered(
    service: Service, clock: HandClock
) -> None:
    await service.callbacks.receive(body(service, 2, detail={"quit_reason": 3}))
    await service.callbacks.receive(body(service, 1, detail={"file_info": [IMAGE]}))
    assert [one.known for one in await arrived(service)] == [False, False]
    clock.advance(3600)
    registered = await service.registration.register(NewTask(task_id=task_id(), labels={}))
    assert registered.task is not None
    assert registered.task.told.quit_reason_code == 3
    task = await service.tasks.get(task_id())
    assert task.told.quit_reason_code == 3
    assert list(task.files) == ["a.jpg"]
    assert [one.known for one in await arrived(service)] == [True, True]
    assert await history(service) == [
        "task.registered", "task.updated", "file.updated", "callback.received", "callback.received",
    ]  # fmt: skip
    await register(service)
    assert (await service.tasks.get(task_id())).version == task.version


async def test_they_are_applied_in_a_batch_too(service: Service) -> None:
    await service.callbacks.receive(body(service, 2, number=3, detail={"quit_reason": 4}))
    wanted = [NewTask(task_id=task_id(number), labels={}) for number in range(5)]
    await service.registration.register_batch(wanted)
    reasons = [(await service.tasks.get(one.task_id)).told.quit_reason_code for one in wanted]
    assert reasons == [None, None, None, 4, None]


async def test_callbacks_of_an_unknown_task_are_forgotten_after_four_days(service: Service, clock: HandClock) -> None:
    await polled(service, 1)
    await service.callbacks.receive(body(service, 5))
    await service.callbacks.receive(body(service, 5, number=1))
    clock.advance(4 * 86400 - 1)
    await service.housekeeping.run_once()
    assert len(await arrived(service)) == 2
    clock.advance(1)
    await service.housekeeping.run_once()
    assert [one.task_id for one in await arrived(service)] == [task_id(1)]


async def test_a_callback_that_came_while_its_task_was_being_registered_is_not_overlooked(
    service: Service, clock: HandClock
) -> None:
    await service.callbacks.receive(body(service, 2, detail={"quit_reason": 3}))
    kept = (await arrived(service))[0]
    await register(service)
    async with service.database.write() as connection:  # as if neither transaction had seen the other
        await store.erase(connection, task_id())
        receipt = store.Receipt(
            received_at=clock.now(), app_id=APP, task_id=task_id(), event_type=2, sequence=0, verdict="accepted",
            forget_at=clock.now() + timedelta(days=4), signed="s", said="t", body=kept.body,
        )  # fmt: skip
        await store.add(connection, [receipt])
    await service.housekeeping.run_once()
    assert [one.known for one in await arrived(service)] == [True]
    assert (await service.tasks.get(task_id())).told.quit_reason_code == 3


async def test_callbacks_of_a_task_of_another_app_are_not_its_own(settings: MakeSettings, clock: HandClock) -> None:
    apps = [
        {"app_id": APP, "server_secret": "s", "callback_secret": CALLBACK_SECRET},
        {"app_id": OTHER_APP, "server_secret": "s", "callback_secret": CALLBACK_SECRET},
    ]
    async with open_service(settings(zego_apps=json.dumps(apps)), clock=clock) as service:
        await register(service, app_id=OTHER_APP)
        await service.callbacks.receive(body(service, 2, detail={"quit_reason": 3}))
        assert (await service.tasks.get(task_id())).told.quit_reason_code is None
        assert [one.known for one in await arrived(service)] == [False]


async def test_with_discovery_a_callback_registers_its_task(discovering: Service) -> None:
    await discovering.callbacks.receive(body(discovering, 2, detail={"quit_reason": 3}))
    task = await discovering.tasks.get(task_id())
    assert (task.registered_via, task.status, task.told.quit_reason_code) == ("callback", Status.PENDING, 3)
    assert await due_at(discovering) == discovering.clock.now()
    assert (await arrived(discovering))[0].known


@pytest.mark.parametrize("id_", ["short", "", None, "x" * 17, "sixteen but odd!", "a" * 5000])
async def test_what_is_no_task_id_is_kept_but_never_registered(discovering: Service, id_: str | None) -> None:
    await discovering.callbacks.receive(body(discovering, 5, task_id=id_))
    (kept,) = await arrived(discovering)
    assert not kept.known
    assert len(kept.task_id or "") <= 64


async def test_a_forged_callback_registers_nothing(discovering: Service) -> None:
    await polled(discovering)
    await discovering.callbacks.receive(body(discovering, 4, nonce="7"))
    await discovering.callbacks.receive(body(discovering, 5, number=1, nonce="7"))
    async with discovering.database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(POLLS))).scalar() == 1


async def test_a_deleted_task_does_not_come_back_by_a_callback_nor_does_what_it_says(
    discovering: Service, clock: HandClock
) -> None:
    await polled(discovering)
    await discovering.callbacks.receive(body(discovering, 1, detail={"file_info": [IMAGE]}))
    await discovering.tasks.delete(task_id())
    assert await arrived(discovering) == []
    clock.advance(10)
    await discovering.callbacks.receive(body(discovering, 1, detail={"file_info": [IMAGE]}))
    assert [(one.known, one.body) for one in await arrived(discovering)] == [(False, None)]
    await register(discovering)
    assert (await discovering.tasks.get(task_id())).files == {}


# -- when the window has closed


async def until_expired(service: Service, clock: HandClock, began_at: datetime) -> Task:
    clock.advance((began_at + timedelta(days=3, minutes=2) - clock.now()).total_seconds())
    await service.housekeeping.run_once()
    return await service.tasks.get(task_id())


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        ([(1, {"file_info": [{"file_id": "f", "status": 3}, {"file_id": "g", "status": 3}]})], Outcome.UPLOADED),
        ([(1, {"file_info": [{"file_id": "f", "status": 4}]})], Outcome.UPLOADED_TO_BACKUP),
        ([(1, {"file_info": [{"file_id": "f", "status": 5}]})], Outcome.LOST),
        ([(1, {"file_info": [{"file_id": "f", "status": 3}, {"file_id": "g", "status": 5}]})], Outcome.PARTIALLY_LOST),
        ([(1, {"file_info": []})], Outcome.NO_FILES),
        ([(5, {}), (7, {})], Outcome.UNRESOLVED),
        ([(1, {"file_info": [IMAGE]})], Outcome.UNRESOLVED),
        ([], Outcome.UNRESOLVED),
    ],
)
async def test_an_expired_task_takes_its_outcome_from_callbacks_if_they_tell(
    service: Service, clock: HandClock, told: list[tuple[int, dict[str, Any]]], outcome: Outcome
) -> None:
    began_at = clock.now()
    await polled(service, began_at=began_at)
    for event_type, detail in told:
        await service.callbacks.receive(body(service, event_type, detail=detail))
    task = await until_expired(service, clock, began_at)
    assert (task.tracking, task.outcome) == (Tracking.EXPIRED, outcome)
    assert task.outcome_basis == ("poll" if outcome is Outcome.UNRESOLVED else "callback")
    assert all(file.source == "callback" for file in task.files.values())
    assert (await history(service)).count("task.expired") == 1
    assert await due_at(service) is None


async def test_a_callback_after_the_window_closed_still_tells(service: Service, clock: HandClock) -> None:
    began_at = clock.now()
    await polled(service, began_at=began_at)
    task = await until_expired(service, clock, began_at)
    assert task.outcome is Outcome.UNRESOLVED
    await service.callbacks.receive(body(service, 1, detail={"file_info": [{"file_id": "f", "status": 3}]}))
    task = await service.tasks.get(task_id())
    assert (task.tracking, task.outcome, task.outcome_basis) == (Tracking.EXPIRED, Outcome.UPLOADED, "callback")
    assert (await history(service))[-1] == "callback.received"
    assert await due_at(service) is None


async def test_what_polls_saw_at_its_end_no_callback_overrules(service: Service, clock: HandClock) -> None:
    began_at = clock.now()
    await register(service)
    files = (seen_file("f", FileStatus.LOST), seen_file("g", FileStatus.UPLOADING))
    await observe(service, task_id(), Status.COMPLETED, *files, began_at=began_at)
    detail = {"file_info": [{"file_id": "f", "status": 3}, {"file_id": "g", "status": 3}]}
    await service.callbacks.receive(body(service, 1, detail=detail))
    task = await until_expired(service, clock, began_at)
    assert (task.outcome, task.outcome_basis) == (Outcome.PARTIALLY_LOST, "poll")
    assert {name: file.seen.status for name, file in task.files.items()} == {
        "f": FileStatus.LOST,
        "g": FileStatus.UPLOADING,
    }
