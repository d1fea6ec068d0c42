"""A running service, made to do everything that secrets take part in; what it says meanwhile is kept."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from app.clock import SystemClock
from app.core.signing import callback_signature
from app.provider.simulator import Reply as ProviderReply
from app.provider.simulator import Server, Simulator
from app.store.engine import Database
from app.store.tables import METADATA
from tests.described import operation_of
from tests.planted import KEYS, SECRETS, webhook_secret
from tests.sink import Reply, Sink
from tests.world import APP, task_id

PROGRAM = str(Path(sys.executable).parent / "recording-status")
SIGNED_URL = f"https://bucket.example/image.jpg?X-Amz-Signature={SECRETS['signature of a file URL']}"
PAGES = ("/", "/docs", "/docs/problems", "/openapi.json", "/livez", "/readyz", "/metrics", "/nowhere")


TROUBLE = {"http_500": 0.25, "html": 0.25, "reset": 0.25, "garbage": 0.25, "throttled": 0.25}


class Provider(Simulator):
    """The simulated provider, which also keeps the signatures it is called with."""

    def __init__(self) -> None:
        secrets = {APP: SECRETS["callback secret"]}
        super().__init__({APP: SECRETS["server secret"]}, callback_secrets=secrets, speed=100)
        self.signatures: set[str] = set()

    def answer(self, query: Mapping[str, str], body: bytes, method: str = "POST") -> ProviderReply:
        self.signatures.add(query["Signature"])
        return super().answer(query, body, method)


class Running:
    """A process of ours: its number, where it listens, and all it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.said = process, bytearray()

    async def url(self) -> str:
        async with asyncio.timeout(20):
            while not (found := re.search(rb"is ready on (http://[\d.:]+)", self.said)):
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.02)
        return found[1].decode()

    def listen(self, end: int) -> None:
        """Keep what comes from there, until nothing can come any more."""
        with open(end, "rb", buffering=0) as source:
            try:
                while piece := source.read(65536):
                    self.said += piece
            except OSError:  # the end of a terminal
                return


@asynccontextmanager
async def serving(folder: Path, env: Mapping[str, str], *, terminal: bool) -> AsyncIterator[Running]:
    """`serve`, in a terminal (where the log has colours) or not. It is ended with SIGTERM."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "serve", "--port", "0", cwd=folder, env=env, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    running = Running(process)
    listening = asyncio.create_task(asyncio.to_thread(running.listen, ours))
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(12):
                await process.wait()
        except TimeoutError:
            process.kill()
        await listening


class Caller:
    """Asks the service, and keeps every answer under the name of its operation."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, bytes] = {}
        self._client = httpx.AsyncClient(base_url=url, timeout=20, event_hooks={"response": [self._keep]})

    async def _keep(self, response: httpx.Response) -> None:
        operation = operation_of(response.request)
        place = operation["operationId"] if operation else response.request.url.path
        place += "" if response.is_success else f" {response.status_code}"
        if "event-stream" in response.headers.get("content-type", ""):
            body = b"".join([line.encode() async for line in response.aiter_lines()])
        else:
            body = await response.aread()
        head = "".join(f"{name}: {value}\n" for name, value in response.headers.items()).encode()
        self.answers[place] = self.answers.get(place, b"") + head + body

    async def ask(self, method: str, path: str, *, key: str = KEYS["admin"], **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return await self._client.request(method, path, headers=headers | more.pop("headers", {}), **more)

    async def get(self, path: str, **params: Any) -> Any:
        response = await self.ask("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def garble(self) -> None:
        """Send what is no HTTP: the server answers it by itself, without any of our code."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.rpartition(":")[2]))
        writer.write(b"\x00 / HTTP/9\r\n\r\n")
        self.answers["no HTTP"] = await reader.read()
        writer.close()

    async def close(self) -> None:
        await self._client.aclose()


async def exercise(caller: Caller, provider: Server, sink: Sink) -> None:
    """Use everything that secrets take part in, rightly and wrongly."""
    subscriptions = await _subscribe(caller, sink)
    tasks = [provider.simulator.start(life, duration=30, upload=10) for life in ("normal", "lost_file")]
    await _register(caller, *tasks)
    await _call_back(caller, tasks[0])
    await _knock(caller)
    await asyncio.gather(*(until_settled(caller, one) for one in tasks))
    await _look_at_everything(caller, tasks[0])
    sink.answer = lambda letter: Reply()
    provider.simulator.faults = provider.simulator.faults.merged(TROUBLE)
    await _register(caller, *(task_id(number) for number in range(8)))
    await _deliver_again(caller, subscriptions)


async def _register(caller: Caller, *tasks: str) -> None:
    await caller.ask("POST", "/v1/tasks/batch", json={"tasks": [{"task_id": one} for one in tasks]})


async def until_settled(caller: Caller, task: str) -> None:
    async with asyncio.timeout(20):
        while (await caller.get(f"/v1/tasks/{task}", wait=5))["tracking"] == "active":
            pass


async def _subscribe(caller: Caller, sink: Sink) -> list[str]:
    """Subscriptions whose deliveries fail at first; the first has two secrets."""
    sink.answer = lambda letter: Reply(500, body=b"no")
    token = SECRETS["token of a subscriber"]
    made = []
    for name, url in (
        ("one", sink.url(f"/hook?token={token}")),
        ("two", sink.url("/two")),
        ("away", sink.url("/gone")),
    ):
        body: dict[str, Any] = {"name": name, "url": url, "types": ["task.registered", "task.settled"]}
        body |= {"secret": webhook_secret(SECRETS["first webhook secret"])} if name == "one" else {}
        made.append((await caller.ask("POST", "/v1/subscriptions", json=body)).json()["subscription_id"])
    there = f"/v1/subscriptions/{made[0]}"
    rotated = {"secret": webhook_secret(SECRETS["next webhook secret"])}
    await caller.ask("POST", f"{there}/rotate-secret", json=rotated)
    return made


async def _knock(caller: Caller) -> None:
    """Requests that are wrong, with secrets where they do not belong."""
    wrong, admin = SECRETS["a wrong key"], KEYS["admin"]
    for key in (wrong, KEYS["read"], ""):
        await caller.ask("GET", "/v1/callbacks", key=key)
        await caller.ask("GET", "/v1/tasks", key=key, params={"key": admin, "access_token": wrong})
        await caller.ask("GET", "/v1/tasks", key="", headers={"X-Api-Key": admin, "Authorization": f"Basic {wrong}"})
    refused = SECRETS["refused webhook secret"]
    url = f"https://user:{SECRETS['password in a URL']}@subscriber.example/"
    bodies: Sequence[Any] = (
        {"name": "x", "url": "https://subscriber.example/", "secret": refused},
        {"name": "x", "url": "https://subscriber.example/", "secret": webhook_secret(refused)[:-1]},
        {"name": "x", "url": "https://subscriber.example/", "secret": [refused], "key": refused},
        {"name": "x", "url": url},
        {"name": "one", "url": "https://subscriber.example/", "secret": webhook_secret(refused)},
        refused,
    )
    for body in bodies:
        await caller.ask("POST", "/v1/subscriptions", json=body)
    cut_off = json.dumps(bodies[0]).encode()[:-1]
    await caller.ask("POST", "/v1/subscriptions", content=cut_off, headers={"Content-Type": "application/json"})
    await caller.ask("POST", "/v1/subscriptions", content=refused, headers={"Content-Type": "text/plain"})
    await caller.ask("PUT", "/v1/subscriptions", json=bodies[0])
    await caller.garble()


async def _call_back(caller: Caller, task: str) -> None:
    """Callbacks of ours, with the address of a file: good ones, forged ones, repeats, and no callbacks at all."""
    for event, detail in (
        (1, {"upload_status": 1, "file_info": [{"file_id": "image.jpg", "file_url": SIGNED_URL, "status": 3}]}),
        (102, {"file_id": "live.m3u8", "file_url": SIGNED_URL, "stream_id": "s"}),
    ):
        timestamp, nonce = str(int(time.time())), f"{event}{time.monotonic_ns()}"
        signature = callback_signature(SECRETS["callback secret"], timestamp, nonce)
        signed = {"nonce": nonce, "timestamp": timestamp, "signature": signature}
        body = {"app_id": APP, "task_id": task, "event_type": event, "sequence": 1, "detail": detail, **signed}
        for changed in ({}, {}, {"sequence": 2}, {"signature": "0" * 40}, {"timestamp": "1"}, {"app_id": 99}):
            await caller.ask("POST", "/v1/callbacks/zego", key="", json=body | changed)
        await caller.ask("POST", "/v1/callbacks/zego", key="", content=json.dumps(body)[:-9])


async def _deliver_again(caller: Caller, subscriptions: list[str]) -> None:
    for one in subscriptions:
        there = f"/v1/subscriptions/{one}"
        for delivery in (await caller.get(f"{there}/deliveries"))["items"][:1]:
            await caller.ask("POST", f"{there}/deliveries/{delivery['delivery_id']}/redeliver")
        assert (await caller.ask("POST", f"{there}/ping")).json()["status_code"] == 200
    await caller.ask("DELETE", f"/v1/subscriptions/{subscriptions[1]}")


async def _look_at_everything(caller: Caller, task: str) -> None:
    one = f"/v1/tasks/{task}"
    for path in (one, f"{one}/files", f"{one}/answer", f"{one}/events", "/v1/tasks", "/v1/files", "/v1/events",
                 "/v1/callbacks", "/v1/subscriptions", "/v1/deliveries", "/v1/stats", "/v1/apps"):  # fmt: skip
        await caller.get(path)
    web = Path(__file__).parents[1] / "app" / "web"
    assets = [f"/assets/{path.relative_to(web)}" for path in web.rglob("*.*")]
    await asyncio.gather(*(caller.ask("GET", path) for path in (*PAGES, *assets)))


async def break_it(caller: Caller, database_url: str, subscription_url: str) -> None:
    """Faults of our own, at places where secrets are at hand: a secret nobody can open, and a table that is gone."""
    async with stored(database_url) as database:
        async with database.write() as connection:
            await connection.execute(text("UPDATE subscriptions SET secrets = '[[\"f1:garbled\", null]]'"))
        for one in (await caller.get("/v1/subscriptions"))["items"]:
            await caller.ask("POST", f"/v1/subscriptions/{one['subscription_id']}/ping")
        async with database.write() as connection:
            await connection.execute(text("ALTER TABLE subscriptions RENAME TO gone"))
        wanted = {"name": "new", "url": subscription_url, "secret": webhook_secret(SECRETS["first webhook secret"])}
        answer = await caller.ask("POST", "/v1/subscriptions", json=wanted)
        assert answer.status_code == 500
        async with database.write() as connection:  # other tests use this database after us
            await connection.execute(text("ALTER TABLE gone RENAME TO subscriptions"))


@asynccontextmanager
async def stored(database_url: str) -> AsyncIterator[Database]:
    """A look at the service's database from beside it."""
    database = Database(database_url, SystemClock())
    try:
        yield database
    finally:
        await database.close()


async def dump(database_url: str) -> bytes:
    """All that is stored: every byte of SQLite's files, or every value in PostgreSQL's tables as text."""
    if database_url.startswith("sqlite"):
        file = Path(database_url.removeprefix("sqlite+aiosqlite:///"))
        return b"".join(path.read_bytes() for path in sorted(file.parent.glob(f"{file.name}*")))
    rows: list[str] = []
    async with stored(database_url) as database, database.read() as connection:
        for table in METADATA.tables:
            rows += (await connection.execute(text(f"SELECT t::text FROM {table} t"))).scalars()
    return "\n".join(rows).encode()


def command_line(process: int) -> bytes:
    """What everybody on the machine can see of a process."""
    return Path(f"/proc/{process}/cmdline").read_bytes()
