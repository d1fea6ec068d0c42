"""How soon thousands who wait are told, what they cost, and whether one is missed.

Long-polls, each for a task of its own, and streams of the whole feed are held open at one process. Tasks are then
changed, ten a second, as fast as the provider's limit lets one app's tasks change; on PostgreSQL by way of another
process. A wake-up counts from the answer to the change (which is after its commit) to the first byte at the one who
waited. Exit code 1 if one was missed, or if the 99th percentile of either is above 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench import world
from bench.report import quantile
from bench.world import DATABASES, Postgres, Service

LATE_MS = 100.0
MOMENT = 3.0
"""Seconds for those who have their place to read where they stand: their coming at once is not what is measured."""

READY = 15.0
"""Seconds in which all must be waiting; with the changes after it less than the waits last."""

NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Load:
    """Who waits, and how many changes are made, so many a second."""

    polls: int
    streams: int
    changes: int
    rate: float


@dataclass(slots=True)
class Seen:
    """When each change was answered, and when those who waited were told of it, by task."""

    changed: dict[str, float] = field(default_factory=dict)
    polled: dict[str, float] = field(default_factory=dict)
    streamed: list[dict[str, float]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def task_ids(number: int) -> list[str]:
    return [f"waiting{one:09d}" for one in range(number)]


# -- who waits


async def long_poll(url: httpx.URL, task_id: str, seen: Seen) -> None:
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET /v1/tasks/{task_id}?wait=50&version=1 HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    at = time.monotonic()
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
    if body.get("version") == 2:
        seen.polled[task_id] = at
    elif task_id in seen.changed:
        seen.others.append(f"{task_id}: {head[:15]!r}")
    writer.close()


async def stream(url: httpx.URL, told: dict[str, float]) -> None:
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=2**20)
    writer.write(f"GET /v1/events/stream HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
    try:
        if b" 200 " not in (first := await reader.readline()):
            raise world.RowFailed(f"a stream was answered {first!r}")
        while line := await reader.readline():
            if line.startswith(b"data: "):
                found = re.search(rb'"task_id":"([^"]+)"', line)
                if found:
                    told.setdefault(found[1].decode(), time.monotonic())
    finally:
        writer.close()


# -- a row


async def measure(database: str, load: Load, folder: Path, postgres: Postgres | None) -> tuple[list[str], list[str]]:
    """The cells of a row, and what is wrong with it."""
    url = f"sqlite+aiosqlite:///{folder}/waiters.db" if postgres is None else postgres.create_database("waiters")
    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(quiet(url, folder))
        changing = held if postgres is None else await stack.enter_async_context(quiet(url, folder))
        ids = task_ids(load.polls)
        for first in range(0, len(ids), 1000):
            await changing.register(ids[first : first + 1000])
        before = held.resident_bytes()
        seen = Seen(streamed=[{} for _ in range(load.streams)])
        polls = [asyncio.create_task(long_poll(held.url, one, seen)) for one in ids]
        await held_open(held.url, load.polls)
        with_polls = held.resident_bytes()
        streams = [asyncio.create_task(stream(held.url, told)) for told in seen.streamed]
        await held_open(held.url, load.polls + load.streams)
        with_all = held.resident_bytes()
        processor, began = held.cpu_seconds(), time.monotonic()
        await change(changing, ids[: load.changes], load.rate, seen)
        processor = (held.cpu_seconds() - processor) / (time.monotonic() - began)
        await asyncio.sleep(1)
        for one in (*streams, *polls):
            one.cancel()
        await asyncio.gather(*streams, *polls, return_exceptions=True)
    return summary(load, seen, before, with_polls, with_all, processor)


async def held_open(url: httpx.URL, number: int) -> None:
    """Until so many wait at this process."""
    give_up = time.monotonic() + READY
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as api:
        while time.monotonic() < give_up:
            found = re.search(r"(?m)^\S*waiting_requests ([\d.]+)", (await api.get("/metrics")).text)
            if found and float(found[1]) >= number:
                await asyncio.sleep(MOMENT)
                return
            await asyncio.sleep(0.2)
    raise world.RowFailed(f"not all {number} waited after {READY:.0f} s")


@asynccontextmanager
async def quiet(url: str, folder: Path) -> AsyncIterator[Service]:
    """A process that polls nothing."""
    settings = {"SWEEP_INTERVAL": "0", "LOG_LEVEL": "warning"}
    async with world.service(1, url, NOBODY, folder, settings=settings) as service:
        async with httpx.AsyncClient(base_url=service.url, trust_env=False) as api:
            (await api.patch(f"/v1/apps/{world.APP_ID}", json={"polling": "paused"})).raise_for_status()
        yield service


async def change(service: Service, ids: Sequence[str], rate: float, seen: Seen) -> None:
    begin = time.monotonic()
    async with httpx.AsyncClient(base_url=service.url, trust_env=False, timeout=30) as api:
        for number, task_id in enumerate(ids):
            await asyncio.sleep(begin + number / rate - time.monotonic())
            (await api.patch(f"/v1/tasks/{task_id}", json={"labels": {"changed": "yes"}})).raise_for_status()
            seen.changed[task_id] = time.monotonic()


def summary(
    load: Load, seen: Seen, before: int, with_polls: int, with_all: int, processor: float
) -> tuple[list[str], list[str]]:
    polled = [1000 * (seen.polled[one] - at) for one, at in seen.changed.items() if one in seen.polled]
    streamed = [1000 * (told[one] - at) for told in seen.streamed for one, at in seen.changed.items() if one in told]
    missed = len(seen.changed) - len(polled) + len(seen.changed) * load.streams - len(streamed)
    cells = [f"{load.polls:,} + {load.streams}", times(polled), times(streamed), str(missed)]
    cells += [f"{before / 2**20:.0f} MB", f"{(with_polls - before) / max(load.polls, 1) / 1024:.1f} KB"]
    cells += [f"{(with_all - with_polls) / max(load.streams, 1) / 1024:.1f} KB", f"{processor:.0%}"]
    faults = [f"{missed} missed"] if missed else []
    faults += [f"{len(seen.others)} other answers, {seen.others[0]}"] if seen.others else []
    faults += [
        f"{name} p99 {quantile(values, 0.99):.0f} ms"
        for name, values in (("long-polls", polled), ("streams", streamed))
        if values and quantile(values, 0.99) > LATE_MS
    ]
    return cells, faults


def times(values: Sequence[float]) -> str:
    return " / ".join(f"{max(quantile(values, part), 0.0):.0f}" for part in (0.5, 0.99, 1.0)) + " ms" if values else "-"


HEAD: tuple[str, ...] = (
    "Database",
    "Long-polls + streams",
    "Long-poll woken after: p50 / p99 / max",
    "Stream told after: p50 / p99 / max",
    "Missed",
    "Memory before",
    "per long-poll",
    "per stream",
    "Processor",
)


async def main(options: argparse.Namespace) -> int:
    """The exit code."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = Load(options.polls, options.streams, options.changes, options.rate)
    print(f"| {' | '.join(HEAD)} |\n| --- | ---: |{' ---: |' * (len(HEAD) - 2)}", flush=True)
    wrong = 0
    with ExitStack() as stack:
        for database in DATABASES:
            if not re.search(options.rows, database):
                continue
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            postgres = stack.enter_context(world.postgres(folder / "server")) if database == "postgresql" else None
            cells, faults = await measure(database, load, folder, postgres)
            print(f"| {' | '.join([database, *cells])} |", flush=True)
            for fault in faults:
                print(f"{database}: {fault}", file=sys.stderr)
            wrong += bool(faults)
    print(f"\n{load.changes} changes, {load.rate:g} a second; {platform.system()} {platform.machine()}, "
          f"{os.cpu_count()} processors; Python {platform.python_version()}.")  # fmt: skip
    return int(bool(wrong))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="a regular expression that picks databases")
    parser.add_argument("--polls", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--rate", type=float, default=10.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
