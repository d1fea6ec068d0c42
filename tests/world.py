"""What tests are made of: a clock set by hand, ready-made ids and observations, and doors to a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx

from app.core.recording import FileStatus, Observation, SeenFile, Status
from app.core.schedule import Urgency
from app.errors import ProviderError
from app.main import create_app
from app.provider.client import Described
from app.settings import Settings
from app.store import polls
from app.store.polls import Claim
from app.wiring import Service

APP, SECRET = 1, "server-secret-of-app-1"
OTHER_APP, OTHER_SECRET = 2, "server-secret-of-app-2"
TWO_APPS = [{"app_id": APP, "server_secret": SECRET}, {"app_id": OTHER_APP, "server_secret": OTHER_SECRET}]

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""Where a clock set by hand begins."""

MakeSettings = Callable[..., Settings]


class HandClock:
    """app.clock.Clock, moved by ``advance`` alone; the database's own time is not listened to."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start
        self._elapsed = 0.0
        self._tokens = count(1)
        self.dice = 0.5
        """What ``jitter`` throws."""

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    def now(self) -> datetime:
        return self._now.replace(microsecond=self._now.microsecond // 1000 * 1000)

    def monotonic(self) -> float:
        return 1000.0 + self._elapsed

    def jitter(self) -> float:
        return self.dice

    def token(self) -> str:
        return f"{next(self._tokens):016x}"

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(seconds)

    def synchronise(self, wall: datetime) -> None:
        pass


def task_id(number: int = 0) -> str:
    """A TaskId; another number, another id. They sort as their numbers do, and carry no time."""
    return f"{number:016d}"


def text(moment: datetime) -> str:
    """A time as the API shows it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


# -- doors


@asynccontextmanager
async def open_client(service: Service, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service's API, with this key. Errors that nobody expected fail the test."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


async def register(client: httpx.AsyncClient, number: int = 0, **more: Any) -> dict[str, Any]:
    """Register the task of this number, and return it as answered."""
    response = await client.post("/v1/tasks", json={"task_id": task_id(number), **more})
    assert response.is_success, response.text
    task: dict[str, Any] = response.json()
    return task


# -- what the provider tells, without asking it


def seen_file(file_id: str = "file", status: FileStatus = FileStatus.UPLOADED, **facts: Any) -> SeenFile:
    """A file as an answer lists it."""
    return SeenFile(file_id=file_id, status=status, status_code=list(FileStatus).index(status) + 1, **facts)


async def claim(service: Service, task_id: str) -> Claim:
    """The claim of this task, as the poller takes it, whatever else is due."""
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    async with service.database.write() as connection:
        await polls.hurry(connection, task_id, APP, Urgency.DEADLINE, long_ago, claim_no=0)
        taken = await polls.claim(connection, APP, order=list(Urgency), now=service.clock.now())
    assert taken is not None
    assert taken.task_id == task_id
    return taken


async def observe(
    service: Service,
    task_id: str,
    status: Status = Status.ONGOING,
    *files: SeenFile,
    body: str = '{"Code":0}',
    **facts: Any,
) -> None:
    """Let a poll tell this of the task, now."""
    claimed = await claim(service, task_id)
    seen = Observation(claim_no=claimed.claim_no, asked_at=service.clock.now(), status=status, files=files, **facts)
    async with service.database.write() as connection:
        await service.tasks.observe(connection, claimed, Described(seen, body, request_id="request"))


async def fail(service: Service, task_id: str, error: ProviderError) -> None:
    """Let a poll of the task end in this error, now."""
    claimed = await claim(service, task_id)
    async with service.database.write() as connection:
        await service.tasks.poll_failed(connection, claimed, error)
