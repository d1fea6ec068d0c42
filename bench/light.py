"""How light the service is: its start, its memory, and what it does while nothing happens.

`start`: from the start of the program until /readyz answers 200, and the processor time of it, medians of five. `idle`:
memory and processor of `serve` while nothing is to be done. `week`: memory while so many tasks a day for seven days are
registered, followed, called back about and settled; time is not waited for, the days follow each other as fast as one
process gets through them. Exit code 1 if something is above its limit.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx

from bench import world
from bench.report import command_line, machine, run, say
from bench.world import APP_ID, DATABASES, RECORDING_STATUS, SECRET, Postgres, Program, Result, Stage

STARTS = 5
LONGEST_START = 1.5
"""Seconds from the start of the program to the first 200 of /readyz."""

MOST_MEMORY = 120e6
MOST_IDLE = 0.01
"""Of a core, while nothing is to be done."""

SETTLE, WATCH = 15.0, 40.0
"""Seconds an idle service is left alone, and then watched."""

DAYS = 7
MOST_GROWTH = 1e6
"""Bytes a day, from the second day on: on the first, pools fill and caches warm up."""

BATCH = 1000
LIMIT = 1000
"""Calls a second that this provider has granted, so that a week need not last a week."""

NOBODY = "http://127.0.0.1:9"
"""The URL of a provider that is not there."""

PROVIDER = f"""
from app.provider import simulator as s
provider = s.Simulator({{{APP_ID}: {SECRET!r}}}, callback_secrets={{{APP_ID}: {SECRET!r}}}, limit={LIMIT})
say = lambda line: print(line, flush=True)
s.run(provider, host="127.0.0.1", port=0, callback_url="URL/v1/callbacks/zego", report=say)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Serving:
    """`serve`, the one process of it, and the seconds it took to be ready."""

    program: Program
    url: str
    took: float


class Places:
    """Where `serve` is started again and again: a folder, a database, a provider."""

    def __init__(self, stage: Stage, database_url: str, provider_url: str = "", *, granted: int = 10) -> None:
        self._folder, self.port, self._starts = stage.folder, free_port(), 0
        self.url = f"http://127.0.0.1:{self.port}"
        apps = [{"app_id": APP_ID, "server_secret": SECRET, "callback_secret": SECRET, "poll_limit": granted}]
        self.env = {"DATABASE_URL": database_url, "ZEGO_API_URL": provider_url or NOBODY, "ZEGO_APPS": json.dumps(apps)}

    async def serve(self, stack: AsyncExitStack) -> Serving:
        """A new process, ready. It does not outlive the stack."""
        self._starts += 1
        if self._starts == 1 and self.env["DATABASE_URL"].startswith("postgresql"):
            migrate = world.program("migrate", RECORDING_STATUS, "migrate", folder=self._folder, env=self.env)
            await (await stack.enter_async_context(migrate)).ends(world.START)
        began = time.monotonic()
        command = (RECORDING_STATUS, "serve", "--port", str(self.port))
        name = f"service-{self._starts}"
        program = await stack.enter_async_context(world.program(name, *command, folder=self._folder, env=self.env))
        while not await _is_ready(self.port):
            if time.monotonic() > began + world.START:
                raise world.RowFailed(f"not ready after {world.START:.0f} s")
            await asyncio.sleep(0.01)
        return Serving(program, self.url, time.monotonic() - began)


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        writer.close()
    except OSError:
        return False
    return line.startswith(b"HTTP/1.1 200 ")


# -- the rows


@dataclass(frozen=True, slots=True)
class Start:
    """From nothing to ready; on a ``new`` database its tables are made first."""

    database: str
    new: bool

    @property
    def name(self) -> str:
        return f"start-{self.database}{'-new' if self.new else ''}"

    async def measure(self, stage: Stage, load: int) -> Result:
        places = Places(stage, await stage.database_url(self.database, self.name))
        seconds, processor, memory = [], [], 0
        for number in range(STARTS + 1):
            if self.new:
                places.env["DATABASE_URL"] = f"sqlite+aiosqlite:///{stage.folder}/{number}.db"
            async with AsyncExitStack() as stack:
                serving = await places.serve(stack)
                memory = serving.program.resident_bytes()
                seconds.append(serving.took)
                processor.append(serving.program.cpu_seconds())
                await serving.program.stop()
        took = statistics.median(seconds[1:])  # the first one makes the database, and reads the program from the disk
        faults = [f"ready after {took:.2f} s"] if took > LONGEST_START else []
        worked = statistics.median(processor[1:])
        return Result([f"{took:.2f} s", f"{worked:.2f} s", f"{memory / 1e6:.0f} MB"], faults)


@dataclass(frozen=True, slots=True)
class Help:
    """`recording-status --help`."""

    name = "help"

    async def measure(self, stage: Stage, load: int) -> Result:
        seconds = []
        for _ in range(STARTS):
            began = time.monotonic()
            async with world.program("help", RECORDING_STATUS, "--help", folder=stage.folder) as program:
                await program.ends(world.START)
            seconds.append(time.monotonic() - began)
        return Result([f"{statistics.median(seconds):.2f} s", "", ""], [])


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to be done, on a database that was made just now, with a provider that is there."""

    database: str

    @property
    def name(self) -> str:
        return f"idle-{self.database}"

    async def measure(self, stage: Stage, load: int) -> Result:
        url = await stage.database_url(self.database, self.name)
        async with AsyncExitStack() as stack:
            provider = await stack.enter_async_context(world.provider(world.LATENCIES[1], stage.folder))
            serving = await Places(stage, url, provider.url).serve(stack)
            await asyncio.sleep(SETTLE)
            began, cpu, server = time.monotonic(), serving.program.cpu_seconds(), _server_seconds(stage)
            await asyncio.sleep(WATCH)
            seconds = time.monotonic() - began
            busy = (serving.program.cpu_seconds() - cpu) / seconds
            beside = (_server_seconds(stage) - server) / seconds
            memory = serving.program.resident_bytes()
        faults = [f"{memory / 1e6:.0f} MB"] if memory > MOST_MEMORY else []
        faults += [f"{busy:.2%} of a core"] if busy > MOST_IDLE else []
        return Result([f"{memory / 1e6:.0f} MB", f"{busy:.2%}", f"{beside:.2%}" if stage.postgres else ""], faults)


def _server_seconds(stage: Stage) -> float:
    """Processor time of PostgreSQL's processes so far."""
    return stage.postgres.cpu_seconds() if stage.postgres else 0.0


@dataclass(frozen=True, slots=True)
class Week:
    """A week's tasks through one process; its memory after each day."""

    database: str

    @property
    def name(self) -> str:
        return f"week-{self.database}"

    async def measure(self, stage: Stage, load: int) -> Result:
        places = Places(stage, await stage.database_url(self.database, self.name), granted=LIMIT)
        code = ("-c", PROVIDER.replace("URL", places.url))
        async with AsyncExitStack() as stack:
            provider = await stack.enter_async_context(
                world.program("provider", sys.executable, *code, folder=stage.folder)
            )
            places.env["ZEGO_API_URL"] = url = await provider.says(r"listens on (http://\S+)")
            serving = await places.serve(stack)
            api, control = [
                await stack.enter_async_context(httpx.AsyncClient(base_url=base, trust_env=False, timeout=600))
                for base in (serving.url, url)
            ]
            memory, began = [], time.monotonic()
            for day in range(DAYS):
                await _follow(api, control, load)
                memory.append(serving.program.resident_bytes())
                say(f"{self.name}: day {day + 1}: {memory[-1] / 1e6:.1f} MB after {time.monotonic() - began:.0f} s")
            settled = (await api.get("/v1/stats")).json()["tasks"]
        growth = statistics.linear_regression(range(1, DAYS), memory[1:]).slope
        faults = [f"grows by {growth / 1e6:.2f} MB a day"] if growth > MOST_GROWTH else []
        cells = [f"{load * DAYS:,}", " / ".join(f"{one / 1e6:.0f}" for one in memory), f"{growth / 1e6:+.2f} MB"]
        say(f"{self.name}: {settled}")
        return Result(cells, faults)


async def _follow(api: httpx.AsyncClient, control: httpx.AsyncClient, count: int) -> None:
    """Recordings of two seconds begin, are registered and settle."""
    for first in range(0, count, BATCH):
        about = {"life": "normal", "count": min(BATCH, count - first), "duration": 2, "upload": 1}
        started = (await control.post("/simulator/recordings", json=about)).raise_for_status().json()
        tasks = [{"task_id": task_id, "labels": {"team": "support"}} for task_id in started["task_ids"]]
        (await api.post("/v1/tasks/batch", json={"tasks": tasks})).raise_for_status()
    left = tasks
    while left:
        await asyncio.sleep(0.5)
        left = (
            (await api.get("/v1/tasks", params={"tracking": "active", "limit": 1})).raise_for_status().json()["items"]
        )


# -- the tables

Row = Start | Help | Idle | Week
ROWS: tuple[Row, ...] = (
    Start("sqlite", new=True),
    *(Start(database, new=False) for database in DATABASES),
    Help(),
    *(Idle(database) for database in DATABASES),
    *(Week(database) for database in DATABASES),
)
HEADS = {
    (Start, Help): ("Start", "Ready after", "Processor until then", "Memory then"),
    (Idle,): ("Idle", "Memory", "Processor", "PostgreSQL's own"),
    (Week,): ("Week", "Tasks", "MB after each day", "Growth a day, by the line through days 2 to 7"),
}


def table(kinds: tuple[type, ...], head: tuple[str, ...], results: dict[str, Result]) -> str:
    lines = [list(head), ["---"] + ["---:"] * (len(head) - 1)]
    for row in ROWS:
        if isinstance(row, kinds) and row.name in results:
            came = results[row.name]
            lines.append([row.name, *(f"**{cell}**" if came.faults else cell for cell in came.cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if len(lines) > 2 else ""


def markdown(rows: Sequence[Row], results: dict[str, Result], postgres: Postgres | None) -> str:
    tables = filter(None, (table(kinds, head, results) for kinds, head in HEADS.items()))
    return "\n\n".join([*tables, machine(postgres)]) + "\n"


async def main() -> int:
    """The exit code."""
    parser = command_line(__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="tasks a day (default 10,000)")
    options = parser.parse_args()
    return await run(options, ROWS, options.tasks, tasks=options.tasks, markdown=markdown)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
