"""A provider that means harm to some tasks: the others are followed all the same, and within the limit."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.core.recording import Attention, Status, Tracking
from app.core.schedule import Policy
from app.errors import TaskNotFound
from app.provider.fields import TEXT_LIMIT
from app.provider.wire import FILES_LIMIT
from app.tracking.registration import NewTask
from app.wiring import Service, open_service, running
from tests.provider.scripted import Behaviour, Request, Server, answer, endless, hang_up, listening
from tests.world import HandClock, MakeSettings, observe, open_client, seen_file, task_id

FAST = Policy(recording_early=timedelta(seconds=0.3), retry_first=timedelta(seconds=0.1))
MIB = 1024 * 1024


def told(status: int = 2, **data: Any) -> Behaviour:
    return answer({"Code": 0, "RequestId": "r1", "Data": {"Status": status, **data}})


def files(number: int) -> Behaviour:
    return answer(b'{"Code":0,"Data":{"Status":3,"RecordFiles":[%s{}]}}' % (b'{"FileId":"f","Status":3},' * number))


HARM: dict[str, tuple[Behaviour, str | None]] = {
    "another task": (told(3, TaskId=task_id(99)), "other_task"),
    "many files": (files(100_000), "too_many_files"),
    "megabytes": (told(RoomId="r" * MIB, RecordFiles=[{"FileId": "f", "Status": 1, "UserName": "u" * MIB}]), None),
    "long keys": (told(RecordFiles=[{"FileId": "f" * MIB, "Status": 1}]), "garbled"),
    "endless": (endless, "answer_too_large"),
    "bomb": (answer(gzip.compress(b" " * 64 * MIB), 200, "Content-Encoding: gzip"), "answer_too_large"),
    "deep": (answer(b"[" * 100_000), "not_json"),
    "seconds": (told(RecordBeginTimestamp=1769860000), None),
    "year 2999": (told(RecordBeginTimestamp=32503670000000), None),
    "negative": (told(RecordBeginTimestamp=-1, RecordEndTimestamp=-(2**63)), None),
    "redirect": (answer(b"", 307, "Location: http://127.0.0.1:9/"), "http_error"),
    "gone": (hang_up, "connection_broken"),
}
"""What is answered about a task, and the error that its task is left with."""

HEALTHY = range(50, 53)


@dataclass
class Nasty(Server):
    """Answers about each task as HARM says, about others honestly; counts when it was asked about which."""

    asked: list[tuple[float, str]] = field(default_factory=list)

    def choose(self, request: Request) -> Behaviour:
        if request.query["Action"] != "DescribeRecordStatus":
            return answer({"Code": 0, "Data": {"TotalCount": 0, "TaskidList": []}})
        about = json.loads(request.body)["TaskId"]
        self.asked.append((time.monotonic(), about))
        harm = {task_id(number): behaviour for number, (behaviour, _) in enumerate(HARM.values())}
        return harm.get(about) or told(RoomId=about)

    def busiest_second(self) -> int:
        moments = [at for at, _ in self.asked]
        return max(sum(at <= one < at + 1 for one in moments) for at in moments)


@pytest.fixture
async def nasty() -> AsyncIterator[Nasty]:
    server = Nasty()
    async with listening(server):
        yield server


async def polled(service: Service, numbers: range, *, times: int, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            tasks = [await service.tasks.get(task_id(number)) for number in numbers]
            if all(task.polling.poll_count >= times or task.polling.last_error for task in tasks):
                return
            await asyncio.sleep(0.1)


async def test_harm_to_some_tasks_touches_no_other_and_breaks_no_limit(settings: MakeSettings, nasty: Nasty) -> None:
    numbers = [*range(len(HARM)), *HEALTHY]
    async with (
        open_service(settings(zego_api_url=nasty.url, sweep_interval=0), policy=FAST) as service,
        running(service),
        open_client(service) as client,
    ):
        await service.registration.register_batch([NewTask(task_id=task_id(one), labels={}) for one in numbers])
        await polled(service, range(len(HARM)), times=1)
        before = len(nasty.asked)
        await polled(service, HEALTHY, times=3)
        for number in HEALTHY:
            task = await service.tasks.get(task_id(number))
            assert (task.status, task.room_id, task.polling.last_error) == (Status.ONGOING, task_id(number), None)
        for number, (name, (_, code)) in enumerate(HARM.items()):
            task = await service.tasks.get(task_id(number))
            error = task.polling.last_error
            assert (error.code if error else None, task.tracking) == (code, Tracking.ACTIVE), name
            assert (await client.get(f"/v1/tasks/{task_id(number)}")).status_code == 200
            assert task.window[0] - task.registered_at <= timedelta(days=3), name
        metrics = (await client.get("/metrics")).text
    assert nasty.busiest_second() <= 10
    assert before
    for code in ("other_task", "too_many_files", "answer_too_large", "garbled"):
        assert counted(metrics, f'provider_answers_refused_total{{app_id="1",code="{code}"}}') > 0
    for kind in ("text", "time"):
        assert counted(metrics, f'provider_values_ignored_total{{app_id="1",kind="{kind}"}}') > 0


def counted(metrics: str, series: str) -> float:
    (line,) = [line for line in metrics.splitlines() if line.startswith(f"recording_status_{series}")]
    return float(line.split()[-1])


LISTED = [
    {"TaskId": "x" * 40, "Status": 2},
    {"TaskId": "short", "Status": 2},
    {"TaskId": "\u00e9" * 16, "Status": 2},
    {"TaskId": "A" * 16, "Status": 2**62, "RecordBeginTimestamp": 1769860000, "RoomId": "r" * MIB},
]


async def test_ids_that_cannot_be_do_not_keep_discovery_from_the_others(settings: MakeSettings) -> None:
    server = Server([answer({"Code": 0, "Data": {"TotalCount": 4, "TaskidList": LISTED}}) for _ in range(2)])
    async with (
        listening(server),
        open_service(settings(zego_api_url=server.url, discover=True)) as service,
    ):
        assert await service.sweeper.run_once() == len(LISTED)
        task = await service.tasks.get("A" * 16)
        assert (task.registered_via, task.room_id) == ("sweep", None)
        assert task.window[0] - task.registered_at == timedelta(days=3)
        with pytest.raises(TaskNotFound):
            await service.tasks.get("short")


async def test_files_that_are_others_at_each_poll_do_not_grow_beyond_the_limit(
    service: Service, client: httpx.AsyncClient, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer keeps to the limit; together they would not. What is known stays, and the task says what is wrong."""
    monkeypatch.setattr("app.tracking.observations.FILES_LIMIT", 5)
    await service.registration.register(NewTask(task_id=task_id(), labels={}))
    await observe(service, task_id(), Status.ONGOING, *(seen_file(f"a{number}") for number in range(5)))
    for _ in range(5):
        clock.advance(60)
        await observe(service, task_id(), Status.ONGOING, *(seen_file(f"b{number}") for number in range(5)))
    task = (await client.get(f"/v1/tasks/{task_id()}")).json()
    assert (task["file_counts"], task["status"], task["attention"]) == ({"uploaded": 5}, "ongoing", ["failing"])
    assert task["polling"]["last_error"]["code"] == "too_many_files"
    assert str(FILES_LIMIT) in task["polling"]["last_error"]["message"]
    await observe(service, task_id(), Status.COMPLETED, *(seen_file(f"a{number}") for number in range(5)))
    assert (await service.tasks.get(task_id())).tracking is Tracking.SETTLED


@pytest.mark.parametrize("letter", ["A", "\u00fc", "\U0001f600"])
async def test_the_longest_texts_find_room_in_every_index(
    service: Service, client: httpx.AsyncClient, letter: str
) -> None:
    """Of such as no database can make shorter."""
    dice = random.Random(0)
    size = TEXT_LIMIT // len(letter.encode())
    first = ord(letter)
    long = "".join(chr(first + dice.randrange(60)) for _ in range(size))[:size]
    await service.registration.register(NewTask(task_id=task_id(), labels={}))
    file = seen_file(long, user_id=long, stream_id=long, user_name=long, file_url="https://" + "x" * 8000)
    await observe(service, task_id(), Status.COMPLETED, file, room_id=long)
    task = (await client.get(f"/v1/tasks/{task_id()}")).json()
    assert (task["room_id"], task["files"][0]["file_id"], task["tracking"]) == (long, long, "settled")
    assert Attention(0).words == task["attention"]
