"""Webhooks measured: 10,000 deliveries of the real service to a sink on this machine, 4 subscriptions, one hanging.

For every row the service is a program of its own; this one makes events happen and is the sink. First a light load: how
soon after the change (its `occurred_at`, so from a little before the commit) each of the three healthy subscriptions
hears of it. Then a burst: how many deliveries a second leave once all events are committed, and how many for a second
of the service's processor time. At last the hanging one answers, and gets what it is owed. Exit code 1 if less than 300
a second of processor time left, the 99th percentile under light load is above 250 ms, anything was lost, or the events
of a task arrived at a healthy subscription out of order.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import httpx

from bench import world
from bench.report import command_line, machine, quantile, run
from bench.world import DATABASES, Postgres, Result, Service, Stage

LEAST = 300.0
"""Deliveries for a second of processor time."""

MOST_MS = 250.0
"""The 99th percentile of the time from a change to its arrival, under light load."""

NAMES = ("first", "second", "third", "hanging")
HEALTHY = NAMES[:3]
PATIENCE = 120.0
"""Seconds in which a phase must end."""


# -- the sink


@dataclass(slots=True)
class Arrivals:
    """What arrived at one subscription: ids and versions by task in their order, and how late each came."""

    ids: Counter[str] = field(default_factory=Counter)
    versions: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    late: list[float] = field(default_factory=list)
    last_at: float = 0.0

    def take(self, body: bytes) -> None:
        now = time.time()
        event = json.loads(body)["data"]
        if event["id"] not in self.ids:
            self.versions[event["task_id"]].append(event["task_version"])
            self.late.append(now - datetime.fromisoformat(event["occurred_at"]).timestamp())
            self.last_at = time.monotonic()
        self.ids[event["id"]] += 1

    @property
    def duplicates(self) -> int:
        return self.ids.total() - len(self.ids)

    @property
    def disordered(self) -> int:
        """Tasks whose events did not come in order."""
        return sum(versions != sorted(versions) for versions in self.versions.values())


class Sink:
    """Answers 200 at once to everybody but the hanging one, which it answers not at all until ``hangs`` ends."""

    def __init__(self) -> None:
        self.arrived = {name: Arrivals() for name in NAMES}
        self.hangs = True

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                name = head.split(maxsplit=2)[1].decode().removeprefix("/")
                if name == "hanging" and self.hangs:
                    await reader.read()  # until the other side gives up
                    break
                self.arrived[name].take(body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()


# -- what happens

Api = httpx.AsyncClient


async def subscribe(api: Api, port: int) -> None:
    for name in NAMES:
        body = {"name": name, "url": f"http://127.0.0.1:{port}/{name}", "types": ["task.registered", "task.updated"]}
        (await api.post("/v1/subscriptions", json=body)).raise_for_status()


def task_ids(kind: str, number: int) -> list[str]:
    return [f"{kind}{index:012d}" for index in range(number)]


async def happen(api: Api, ids: Sequence[str], *, times: int) -> int:
    """Register the tasks, and change each so often but once; how many events that makes."""
    for number in range(times):
        for begin in range(0, len(ids), 500):
            tasks = [{"task_id": id_, "labels": {"n": str(number)}} for id_ in ids[begin : begin + 500]]
            (await api.post("/v1/tasks/batch", json={"tasks": tasks})).raise_for_status()
    return len(ids) * times


async def happen_lightly(api: Api, ids: Sequence[str], *, rate: float, seconds: float) -> int:
    """Change one task after the other, so many a second; how many events that makes."""
    events = 0
    began = asyncio.get_running_loop().time()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(began + number / rate - asyncio.get_running_loop().time())
        change = {"labels": {"n": str(number + 1)}}
        (await api.patch(f"/v1/tasks/{ids[number % len(ids)]}", json=change)).raise_for_status()
        events += 1
    return events


async def until_arrived(sink: Sink, names: Sequence[str], number: int) -> None:
    """Until each of these has so many, or too much time is over: the rest counts as lost."""
    deadline = time.monotonic() + PATIENCE
    while any(len(sink.arrived[name].ids) < number for name in names) and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.02)


# -- a row


@dataclass(frozen=True, slots=True)
class Load:
    """Events in the burst, events a second before it, and for how many seconds."""

    burst: int
    light: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Observed:
    """What there was to see: ``late`` in seconds under light load; the burst's deliveries after its last commit."""

    events: int
    late: list[float]
    left: int
    seconds: float
    processor: float
    arrived: dict[str, Arrivals]

    @property
    def lost(self) -> int:
        return sum(self.events - len(one.ids) for one in self.arrived.values())


@dataclass(frozen=True, slots=True)
class Row:
    """The service in one process on this database."""

    name: str

    async def measure(self, stage: Stage, load: Load) -> Result:
        url, sink = await stage.database_url(self.name, self.name), Sink()
        server = await asyncio.start_server(sink.converse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = {
            "WEBHOOK_ALLOW_HTTP": "true",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "WEBHOOK_ALLOWED_PORTS": str(port),
            "SWEEP_INTERVAL": "0",
            "LOG_LEVEL": "info",
        }
        nobody = "http://127.0.0.1:9"
        async with (
            server,
            world.service(1, url, nobody, stage.folder, settings=settings) as service,
            httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=60) as api,
        ):
            await subscribe(api, port)
            return result(await observe(service, api, sink, load))


async def observe(service: Service, api: Api, sink: Sink, load: Load) -> Observed:
    ids = task_ids("lite", 10)
    events = await happen(api, ids, times=1)  # all at once: the load to come is lighter, and finds its connections
    await until_arrived(sink, HEALTHY, events)
    for one in sink.arrived.values():
        one.late.clear()
    events += await happen_lightly(api, ids, rate=load.light, seconds=load.seconds)
    await until_arrived(sink, HEALTHY, events)
    late = [seconds for name in HEALTHY for seconds in sink.arrived[name].late]
    events += await happen(api, task_ids("many", load.burst // 5), times=5)
    there = sum(len(sink.arrived[name].ids) for name in HEALTHY)
    began, processor = time.monotonic(), service.cpu_seconds()
    await until_arrived(sink, HEALTHY, events)
    left = sum(len(sink.arrived[name].ids) for name in HEALTHY) - there
    seconds = max(sink.arrived[name].last_at for name in HEALTHY) - began
    processor = service.cpu_seconds() - processor
    sink.hangs = False
    await until_arrived(sink, NAMES, events)
    await service.stop()
    return Observed(events, late, left, seconds, processor, sink.arrived)


HEAD: tuple[str, ...] = ("Database", "Deliveries", "Light load, from change to arrival: p50 / p99 / max")
HEAD += ("Burst: left after its last commit", "a second", "for a second of processor time")
HEAD += ("Lost", "Twice (of them to the hanging one)", "Tasks out of order")


def result(seen: Observed) -> Result:
    late = [seconds * 1000 for seconds in seen.late]
    rate, per_core = seen.left / seen.seconds, seen.left / seen.processor
    disordered = sum(seen.arrived[name].disordered for name in HEALTHY)
    twice = sum(one.duplicates for one in seen.arrived.values())
    cells = [f"{seen.events * len(NAMES):,}"]
    cells += [" / ".join(f"{quantile(late, part):.0f}" for part in (0.5, 0.99, 1.0)) + " ms"]
    cells += [f"{seen.left:,}", f"{rate:.0f}", f"{per_core:.0f}", str(seen.lost)]
    cells += [f"{twice} ({seen.arrived['hanging'].duplicates})", str(disordered)]
    checks = {
        f"{per_core:.0f} for a second of processor time": per_core >= LEAST,
        f"p99 {quantile(late, 0.99):.0f} ms": quantile(late, 0.99) <= MOST_MS,
        f"{seen.lost} lost": not seen.lost,
        f"{disordered} tasks out of order": not disordered,
    }
    return Result(cells, [fault for fault, holds in checks.items() if not holds])


# -- all rows


def markdown(load: Load, rows: Sequence[Row], results: dict[str, Result], postgres: Postgres | None) -> str:
    """The table; a result with a fault is in bold."""
    lines: list[Sequence[str]] = [HEAD, ("---", *["---:"] * (len(HEAD) - 1))]
    for row in rows:
        came = results.get(row.name, Result(["not measured"] * (len(HEAD) - 1), ["not measured"]))
        lines.append((row.name, *(f"**{cell}**" if came.faults else cell for cell in came.cells)))
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", conditions(load, postgres)]) + "\n"


def conditions(load: Load, postgres: Postgres | None) -> str:
    return (
        f"{load.light:g} events a second for {load.seconds:g} s, then {load.burst:,} at once; 4 subscriptions, one of "
        f"them hanging throughout; {machine(postgres)}"
    )


async def main() -> int:
    """The exit code."""
    parser = command_line(__doc__)
    parser.add_argument("--burst", type=int, default=2300, help="events at once (default 2300)")
    parser.add_argument("--light", type=float, default=5.0, help="events a second before that (default 5)")
    parser.add_argument("--seconds", type=float, default=40.0, help="for so long (default 40)")
    options = parser.parse_args()
    load = Load(options.burst, options.light, options.seconds)
    rows = [Row(name) for name in DATABASES]
    return await run(options, rows, load, tasks=0, markdown=partial(markdown, load))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
