"""A world that misbehaves on request: a provider that can be cut off, frozen and slowed down, a service that dies.

Everything happens on one virtual loop and in one order, so what went wrong once goes wrong again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from sqlalchemy import Engine, event
from structlog.testing import capture_logs

from app.core.budget import DOUBT
from app.provider.simulator import Reply, Simulator
from app.settings import load_settings
from app.store.engine import Database
from app.wiring import Service, open_service
from bench.virtual import Inline, VirtualClock, VirtualLoop
from tests.world import APP, SECRET, sqlite_url

CALLBACK_SECRET = "callback-secret-of-app-1"
ROUND_TRIP = 0.1
INSTANT = 0.01
"""Seconds in which whatever can happen happens, but no call is answered."""

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a file's syncs cost nothing, if there is such a place: they are most of the time on a disk."""

WRONG_SIGNATURE = json.dumps({"Code": 100000005, "Message": "signature wrong", "RequestId": "1"}).encode()


class Crashed(BaseException):
    """The process is dead; nothing it still tries comes to anything."""


class Fuse:
    """Kills the process before its next statement, commit or call but ``left``."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.blown = asyncio.Event()

    def burn(self, *_: object) -> None:
        if self.left is not None:
            if self.left == 0:
                self.blown.set()
                raise Crashed
            self.left -= 1

    def guard(self, database: Database) -> None:
        for engine in database.engines:
            event.listen(engine, "checkout", self._lay)

    def _lay(self, connection: Any, *_: object) -> None:
        driver: Any = connection.driver_connection
        if "fetch_each" not in vars(driver):
            driver.fetch_each, driver.run = map(self._burning, (driver.fetch_each, driver.run))

    def _burning(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def burn(*given: Any) -> Any:
            self.burn()
            return act(*given)

        return burn


@dataclass(slots=True)
class _Request:
    """On its way to the provider, or its answer on the way back; it goes on though nobody waits for it any more."""

    sent_at: float
    query: dict[str, str]
    body: bytes
    reply: asyncio.Future[Reply]


class Line(httpx.AsyncBaseTransport):
    """The way to a simulator. ``cut``: nothing gets through; ``refused``: as a wrong signature is;
    ``frozen``: requests arrive when it thaws; ``keep``: so many answers are kept back until they are let go."""

    def __init__(self, simulator: Simulator, fuse: Fuse, loop: asyncio.AbstractEventLoop) -> None:
        self._simulator, self._fuse, self._loop = simulator, fuse, loop
        self.cut = self.refused = self.frozen = self.was_frozen = False
        self.keep = 0
        self.kept: list[tuple[_Request, Reply]] = []
        self._under_way: dict[int, tuple[asyncio.TimerHandle, _Request]] = {}
        self._waiting: list[_Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._fuse.burn()
        if self.cut:
            raise httpx.ConnectError("connection refused")
        await request.extensions["trace"]("http11.send_request_headers.started", {"request": request})
        query = dict(parse_qsl(request.url.query.decode("ascii"), keep_blank_values=True))
        sent = _Request(self._loop.time(), query, request.content, self._loop.create_future())
        delay = self._simulator.delay_before_arrival() + ROUND_TRIP / 2
        self._under_way[id(sent)] = self._loop.call_later(delay, self._arrive, sent), sent
        reply = await sent.reply
        if reply.reset:
            raise httpx.ReadError("connection reset")
        return httpx.Response(reply.status, headers=list(reply.headers), stream=httpx.ByteStream(reply.body))

    def let_arrive(self) -> None:
        """Let arrive what is on its way: the network does not stand still with the service's machine."""
        for timer, sent in list(self._under_way.values()):
            timer.cancel()
            self._arrive(sent)

    def _arrive(self, sent: _Request) -> None:
        self._under_way.pop(id(sent), None)
        if self.frozen:
            self._waiting.append(sent)
            return
        reply = self._simulator.answer(sent.query, sent.body)
        if self.refused:
            reply = Reply(body=WRONG_SIGNATURE)
        if self.keep:
            self.keep -= 1
            self.kept.append((sent, reply))
        elif not reply.hang:
            self._loop.call_later(reply.delay + ROUND_TRIP / 2, self._answer, sent, reply)

    def _answer(self, sent: _Request, reply: Reply) -> None:
        if not sent.reply.done():
            sent.reply.set_result(reply)

    def let_go(self, number: int) -> None:
        """Let one of the answers kept back come through."""
        if self.kept:
            self._answer(*self.kept.pop(number % len(self.kept)))

    def turn(self, to: str) -> None:
        """`cut`, `refuse` and `freeze` it; `thaw` it: what waited arrives, all at once; `mend` it altogether."""
        self.cut |= to == "cut"
        self.refused |= to == "refuse"
        self.frozen |= to == "freeze"
        self.was_frozen |= self.frozen
        if to == "mend":
            self.cut = self.refused = False
            self.keep = 0
            while self.kept:
                self.let_go(0)
        if to in ("thaw", "mend"):
            self.frozen = False
            self._take_in()

    def _take_in(self) -> None:
        """Let what waited arrive, but for what is older than the doubt about it: that got lost on its way."""
        waiting, self._waiting = self._waiting, []
        for sent in waiting:
            if self._loop.time() - sent.sent_at < DOUBT:
                self._arrive(sent)


class World:
    """A simulated provider, a service on a database file of its own, and the loop that both live on."""

    def __init__(self, *, discover: bool) -> None:
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="laws-", dir=IN_MEMORY))
        self.logs = self._stack.enter_context(capture_logs())
        self._stack.enter_context(_in_turns())
        self.loop = VirtualLoop()
        self.accidents: list[dict[str, Any]] = []
        self.loop.set_exception_handler(self._note_accident)
        self.clock = VirtualClock(self.loop, seed=0)
        self.simulator = Simulator(
            {APP: SECRET},
            callback_secrets={APP: CALLBACK_SECRET},
            time=self.clock.unix,
            monotonic=self.clock.monotonic,
        )
        self.fuse = Fuse()
        self.line = Line(self.simulator, self.fuse, self.loop)
        self._discover = discover
        self._jobs: dict[str, asyncio.Task[object]] = {}
        self._url = sqlite_url(Path(self._folder, "laws.db"))
        self.eyes = Database(self._url, self.clock)
        """The database, for those who only look; it does not die with the service."""
        self.run(self._open())

    def run(self, steps: Coroutine[Any, Any, None]) -> None:
        """Do this on the world's loop."""
        self.loop.run_until_complete(steps)

    async def jump(self, seconds: float) -> None:
        """Let time pass in which the service's machine stands still, though not amid a transaction."""
        await asyncio.sleep(INSTANT)
        self.line.let_arrive()
        self.loop._jump.now += seconds
        await asyncio.sleep(INSTANT)

    def _note_accident(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Crashed):
            self.accidents.append(context)

    async def _open(self) -> None:
        settings = load_settings(
            database_url=self._url,
            zego_app_id=APP,
            zego_server_secret=SECRET,
            zego_callback_secret=CALLBACK_SECRET,
            zego_api_url="http://provider.example",
            discover=self._discover,
        )
        self._context: AbstractAsyncContextManager[Service] = open_service(
            settings, clock=self.clock, transport=self.line
        )
        self.service = await self._context.__aenter__()
        self.fuse.guard(self.service.database)

    async def _die(self) -> None:
        self.fuse.left = 0
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._context.__aexit__(None, None, None)
        self._jobs.clear()
        self.fuse.left = None
        self.fuse.blown.clear()

    async def crash(self, steps: Coroutine[Any, Any, None], *, left: int) -> None:
        """Kill the service before that many more acts of its, at the latest at the end of these steps of somebody else.

        Then start it anew on what it had committed.
        """
        self.fuse.left = left
        ends = [asyncio.create_task(steps), asyncio.create_task(self.fuse.blown.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        acted, _ = ends
        await self._die()
        if not acted.cancelled() and not isinstance(acted.exception(), Crashed):
            acted.result()
        await self._open()

    def start(self, name: str, job: Callable[[], Coroutine[Any, Any, object]]) -> asyncio.Task[object]:
        """Set a job to work, unless it still is."""
        if name not in self._jobs or self._jobs[name].done():
            self.look_after_jobs()
            self._jobs[name] = asyncio.create_task(job())
        return self._jobs[name]

    def look_after_jobs(self) -> None:
        """Raise what a job ended in, and what went wrong where nobody waited for it."""
        for name in [name for name, job in self._jobs.items() if job.done()]:
            self._jobs.pop(name).result()
        wrong = [entry for entry in self.logs if entry["log_level"] in ("error", "critical")]
        assert not wrong, wrong
        assert not self.accidents, self.accidents
        self.logs.clear()

    def close(self) -> None:
        """Kill the service and leave nothing behind."""
        self.run(self._die())
        self.run(self.eyes.close())
        self.loop.close()
        self._stack.close()


# -- SQLite without threads


class _InTurns(Inline):
    """Lets others go on before every statement."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return fn(*args, **kwargs)


def _in_turns() -> ExitStack:
    """While it lasts, every SQLite database is worked on in the loop's own thread, statement by statement."""

    def connect(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> None:
        options["async_creator_fn"] = lambda *at, **how: _InTurns(lambda: sqlite3.connect(*at, **how))

    event.listen(Engine, "do_connect", connect)
    stack = ExitStack()
    stack.callback(event.remove, Engine, "do_connect", connect)
    return stack
