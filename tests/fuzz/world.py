"""The service that is fuzzed: behind a real socket, on a clock so fast that waiting takes no time, with something of
everything stored, and with a look into its database."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import uvicorn
import uvloop
from sqlalchemy import text
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.connections import server_config
from app.clock import SystemClock
from app.core.deliveries import DEFAULT_TYPES
from app.core.recording import FileStatus, Status
from app.core.signing import callback_signature
from app.errors import AnswerUnknown
from app.main import create_app
from app.settings import load_settings
from app.store.delivery_lists import DeliveryFilter
from app.store.engine import Database
from app.store.tables import METADATA
from app.tracking.registration import NewTask
from app.tracking.subscriptions import NewSubscription
from app.wiring import Service, open_service
from tests.clocks import FastClock
from tests.world import APP, SECRET, fail, observe, seen_file, task_id

CALLBACK_SECRET = "callback-secret-of-app-1"
KEY = "secret-of-the-administrators-key"
FASTER = 300
"""A wait of 50 s takes a sixth of a second."""

STREAM_FOR = 0.02
"""Seconds after which a stream is ended."""


class ShortStreams:
    """Ends a stream after a moment, as if its caller hung up: nobody can check an answer that has no end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/stream"):
            await self._app(scope, receive, send)
            return
        over, whole = asyncio.Event(), False

        async def until_over() -> Message:
            nonlocal whole
            if not whole:
                message = await receive()
                whole = not message.get("more_body")
                return message
            await over.wait()
            return {"type": "http.disconnect"}

        async def passed_on(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                asyncio.get_running_loop().call_later(STREAM_FOR, over.set)
            if not over.is_set():
                await send(message)

        await self._app(scope, until_over, passed_on)
        if over.is_set():
            await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(frozen=True)
class Fuzzed:
    """A service at work, and a view of what it stores."""

    url: str
    service: Service
    loop: asyncio.AbstractEventLoop
    delivery: tuple[str, str]
    """The ids of a subscription and of one of its deliveries."""
    look: Callable[[], Coroutine[Any, Any, object]]

    def stored(self) -> object:
        """A fingerprint of all that is stored: it changes with every commit that changes anything."""
        return asyncio.run_coroutine_threadsafe(self.look(), self.loop).result(30)

    def signed(self, number: int) -> dict[str, Any]:
        """The members by which a callback is believed; another number, another callback."""
        timestamp, nonce = str(int(self.service.clock.now().timestamp())), str(number)
        signature = callback_signature(CALLBACK_SECRET, timestamp, nonce)
        return {"app_id": APP, "timestamp": timestamp, "nonce": nonce, "signature": signature}


class Watch:
    """Notices what is stored by a request that was refused, or that only reads."""

    def __init__(self, served: Fuzzed) -> None:
        self._served, self._stored = served, served.stored()

    def after(self, method: str, path: str, status: int) -> None:
        """Look, after each request."""
        before, self._stored = self._stored, self._served.stored()
        if method in ("GET", "HEAD") or status >= 400:
            assert self._stored == before, f"{method} {path} stored something: {before} became {self._stored}"


@contextlib.contextmanager
def fuzzed(database_url: str) -> Iterator[Fuzzed]:
    """Serve in a thread of its own, on this database, which has its schema, until the block ends. Nothing polls."""
    begun: Future[tuple[Fuzzed, asyncio.Event]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        try:
            async with _serving(database_url) as served:
                begun.set_result((served, end))
                await end.wait()
        except BaseException as error:
            if begun.done():
                raise
            begun.set_exception(error)

    thread = threading.Thread(target=uvloop.run, args=[serve()], name="service")
    thread.start()
    try:
        served, end = begun.result()
        yield served
    finally:
        if begun.exception() is None:
            served.loop.call_soon_threadsafe(end.set)
        thread.join()


@asynccontextmanager
async def _serving(database_url: str) -> AsyncIterator[Fuzzed]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        port = listener.getsockname()[1]
        settings = load_settings(
            database_url=database_url,
            zego_api_url=f"http://127.0.0.1:{port}",
            zego_app_id=APP,
            zego_server_secret=SECRET,
            zego_callback_secret=CALLBACK_SECRET,
            api_keys=f"fuzzer:admin:{KEY}",
            webhook_allow_http=True,
            webhook_allowed_networks="127.0.0.0/8",
            webhook_allowed_ports=f"443,80,{port}",
        )
        async with open_service(settings, clock=FastClock(FASTER), role="api") as service:
            delivery = await _fill(service, f"http://127.0.0.1:{port}/livez")
            server = uvicorn.Server(server_config(ShortStreams(create_app(service)), shutdown_timeout=5))
            beside = [asyncio.create_task(server._serve([listener])), asyncio.create_task(service.follower.run())]
            async with watching(service.database) as look:
                yield Fuzzed(f"http://127.0.0.1:{port}", service, asyncio.get_running_loop(), delivery, look)
            service.stop()
            server.should_exit = True
            await asyncio.gather(*beside)


async def _fill(service: Service, target: str) -> tuple[str, str]:
    """Something of everything: tasks in several states, files, events, and a subscription with deliveries."""
    types = [*DEFAULT_TYPES, "file.updated"]
    await service.subscriptions.create(
        NewSubscription(
            name="seeded",
            url=target,
            types=types,
            app_id=None,
            labels={},
            max_in_flight=10,
            description=None,
            secret=None,
        )
    )
    for number in range(6):
        await service.registration.register(NewTask(task_id=task_id(number), app_id=APP, labels={"team": "fuzz"}))
    backup, lost = (seen_file(f"file-{word}", word) for word in (FileStatus.UPLOADED_TO_BACKUP, FileStatus.LOST))
    at = service.clock.now()
    await observe(service, task_id(1), Status.ONGOING, seen_file("file", FileStatus.RECORDING), room_id="room")
    ended: dict[str, Any] = {"began_at": at - timedelta(hours=1), "ended_at": at}
    await observe(service, task_id(2), Status.COMPLETED, seen_file("file"), backup, lost, **ended)
    await observe(service, task_id(3), Status.ENDED_ABNORMALLY, seen_file("file", FileStatus.UPLOADING), **ended)
    await fail(service, task_id(4), AnswerUnknown("unknown_code", "undocumented code 1"))
    await service.tasks.untrack(task_id(5))
    (delivery, *_) = (await service.subscriptions.deliveries(DeliveryFilter(), before=None, limit=1)).items
    return delivery.subscription_id, f"dlv_{delivery.id}"


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[Callable[[], Coroutine[Any, Any, object]]]:
    """A fingerprint of all that is stored: it changes with every commit that changes anything."""
    own = Database(database.url, SystemClock())
    if database.is_sqlite:
        question = "PRAGMA data_version"  # of a connection, always the same: it tells of others' commits
    else:
        question = " UNION ALL ".join(
            f"SELECT '{table}', count(*), max(xmin::text::bigint) FROM {table}" for table in METADATA.tables
        )

    async def look() -> object:
        async with own.read() as connection:
            return (await connection.execute(text(question))).all()

    try:
        yield look
    finally:
        await own.close()
