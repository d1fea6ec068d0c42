"""What tests are made of: a clock set by hand, ready-made ids and observations, and doors to a service."""

from __future__ import annotations

import asyncio
import functools
import os
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy.util import greenlet_spawn

from app.clock import SystemClock
from app.core.recording import FileStatus, Observation, SeenFile, Status
from app.core.schedule import Urgency
from app.errors import ProviderError
from app.main import connect, create_app
from app.provider.client import Described
from app.settings import Settings
from app.store import polls, schema
from app.store.engine import Database
from app.store.polls import Claim
from app.wiring import Service
from tests.described import described

BARE = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
"""The environment of programs that tests start: none of a developer's settings, but what measures the tests goes on."""

APP, SECRET = 1, "server-secret-of-app-1"
OTHER_APP, OTHER_SECRET = 2, "server-secret-of-app-2"
TWO_APPS = [{"app_id": APP, "server_secret": SECRET}, {"app_id": OTHER_APP, "server_secret": OTHER_SECRET}]

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""Where a clock set by hand begins."""

MakeSettings = Callable[..., Settings]


def sqlite_url(file: Path) -> str:
    """Where this SQLite database is; if it is not there yet, it is made, with our schema and no rows."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_migrated())
    return f"sqlite+aiosqlite:///{file}"


@functools.cache
def _migrated() -> bytes:
    """Migrating takes longer than most tests."""
    with tempfile.TemporaryDirectory(prefix="empty-") as folder, ThreadPoolExecutor(1) as aside:
        file = Path(folder, "empty.db")
        aside.submit(asyncio.run, migrate(f"sqlite+aiosqlite:///{file}")).result()
        return file.read_bytes()


async def migrate(url: str) -> None:
    """Give a database our schema."""
    database = Database(url, SystemClock())
    await schema.migrate(database)
    await database.close()


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

    def secret(self, size: int) -> bytes:
        return next(self._tokens).to_bytes(size)

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
    """A client of the service's API, with this key. Errors that nobody expected fail the test, and so do answers that
    the API's description does not tell of."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with _app_on(service) as app:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://127.0.0.1",
            headers=headers,
            event_hooks=described() if service.role != "worker" else {},
        ) as client:
            yield client


_idle_apps: defaultdict[tuple[bool, str | None, str | None], list[FastAPI]] = defaultdict(list)


@contextmanager
def _app_on(service: Service) -> Iterator[FastAPI]:
    """The application on this service: one that an earlier test is done with, since its routes take long to build."""
    idle = _idle_apps[service.role == "worker", service.settings.public_url, service.settings.api_contact]
    app = idle.pop() if idle else create_app(service)
    connect(app, service)
    yield app
    idle.append(app)


async def register(client: httpx.AsyncClient, number: int = 0, **more: Any) -> dict[str, Any]:
    """Register the task of this number, and return it as answered."""
    response = await client.post("/v1/tasks", json={"task_id": task_id(number), **more})
    assert response.is_success, response.text
    task: dict[str, Any] = response.json()
    return task


async def polled(client: httpx.AsyncClient, number: int = 0, *, seconds: float = 5.0) -> None:
    """Wait until the task of this number was polled."""
    async with asyncio.timeout(seconds):
        while not (await client.get(f"/v1/tasks/{task_id(number)}")).json()["polling"]["poll_count"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# -- a database that can be taken away


class Gate:
    """The only way to a PostgreSQL server: a socket in ``folder`` that is passed on to the server's own."""

    NAME = ".s.PGSQL.5432"

    def __init__(self, folder: Path, server: Path) -> None:
        self._from, self._to = folder / self.NAME, server / self.NAME
        self._conversations: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._accept, self._from)

    async def shut(self) -> None:
        """Break off every connection and let in no new one."""
        if self._server is None:
            return
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self._from.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(self._converse(reader, writer))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(self._to)
        try:
            await asyncio.gather(_pass_on(reader, questions), _pass_on(answers, writer))
        finally:
            for one in (writer, questions):
                one.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


class BreakableDatabase:
    """A database that can be taken away from a service and given back."""

    def __init__(self, url: str, gate: Gate | Path) -> None:
        self.url, self._gate = url, gate

    async def take_away(self, service: Service | None = None) -> None:
        """From this service; None: before there is one."""
        if isinstance(self._gate, Gate):
            await self._gate.shut()
            return
        assert service, "a file is made by whoever looks for it"
        await greenlet_spawn(service.database.engine.dispose)  # an open file outlives its removal
        self._gate.rename(self._gate.with_name("away"))

    async def give_back(self) -> None:
        if isinstance(self._gate, Gate):
            await self._gate.open()
        else:
            self._gate.with_name("away").rename(self._gate)


# -- what the provider tells, without asking it


def seen_file(file_id: str = "file", status: FileStatus = FileStatus.UPLOADED, **facts: Any) -> SeenFile:
    """A file as an answer lists it."""
    return SeenFile(file_id=file_id, status=status, status_code=list(FileStatus).index(status) + 1, **facts)


async def claim(service: Service, task_id: str) -> Claim:
    """The claim of this task, as the poller takes it, whatever else is due."""
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    async with service.database.write() as connection:
        await polls.hurry(connection, [polls.Hurry(task_id, APP, long_ago, claim_no=0)], Urgency.HURRIED)
        order = (Urgency.HURRIED,)
        taken = await polls.claim(connection, APP, order=order, now=service.clock.now(), horizon=timedelta(0))
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
        await service.observations.observe(connection, claimed, Described(seen, body, request_id="request"))


async def fail(service: Service, task_id: str, error: ProviderError) -> None:
    """Let a poll of the task end in this error, now."""
    claimed = await claim(service, task_id)
    async with service.database.write() as connection:
        await service.observations.poll_failed(connection, claimed, error)
