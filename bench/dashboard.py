"""How long the dashboard takes from the first request to data in every panel, among many tasks, in a real Chromium.

    python -m bench.dashboard [--tasks 100000] [--engines sqlite,postgresql] [--loads 7]

The tasks ended over the last ten days, each with two callbacks; a thousand are still recorded, and two in a hundred
need a person. A process with the role `api` answers; the browser's cache is empty at each load. Fails above a second at
the median of the loads.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Table, insert

from app.clock import SystemClock
from app.core.recording import NO_ATTENTION, Attention, Outcome, Polling, Status, Task, Tracking
from app.core.told import CallbackEvent, LastCallback, Told
from app.store import counts, schema
from app.store.connection import Connection
from app.store.engine import Database
from app.store.rows import task_values
from app.store.tables import CALLBACKS, POLLS, TASKS, UtcDateTime
from app.tracking.housekeeping import COUNTS, COUNTS_AT_ONCE
from bench.world import RECORDING_STATUS, postgres, program
from tests.browser import open_browser, open_page

LIVE = 1000
OVER = timedelta(days=10)
LIMIT = 1.0
BATCH = 5000
LONG = timedelta(minutes=45)
MADE = 10_000
"""So many tasks that ended are made one by one; the others are copies of them, made by the database itself."""

SHOWN = """() => {
  const filled = (id, wanted) => document.querySelector(`#${id} .body ${wanted}`) !== null;
  return filled("health", ".headline") && filled("apps", ".card dd") && filled("attention", "tbody tr")
    && filled("outcomes", "svg") && filled("newest", "tbody tr") && filled("callbacks", "dd") && performance.now();
}"""
"""When there is something in each panel: milliseconds since the page was asked for."""

ASKED = """() => performance.getEntriesByType("resource").filter((one) => one.initiatorType === "fetch")
  .map((one) => [new URL(one.name).pathname + new URL(one.name).search, one.startTime, one.responseEnd])"""


def tasks(copies: int, now: datetime) -> Iterator[Task]:
    """Those that are recorded, and those that ended in one part of the time: the other parts are copies of it."""
    for place in range(LIVE + MADE):
        is_live = place < LIVE
        back = timedelta(minutes=50) * place / LIVE if is_live else OVER / copies * (place - LIVE) / MADE + LONG
        task = Task(
            task_id=f"{place:016d}", app_id=1, registered_at=now - back, updated_at=now - back,
            room_id=f"room-{place // 3}", labels={"team": "support"}, claim_no=20, began_at=now - back,
            status=Status.ONGOING, status_code=2, polling=Polling(last_polled_at=now, poll_count=20),
        )  # fmt: skip
        yield task if is_live else _ended(task, place, now - back + LONG)


def _ended(task: Task, place: int, at: datetime) -> Task:
    lost = place % 50 == 0
    values: dict[str, Any] = vars(task) | {
        "status": Status.COMPLETED,
        "status_code": 3,
        "tracking": Tracking.SETTLED,
        "outcome": Outcome.LOST if lost else Outcome.UPLOADED,
        "outcome_basis": "poll",
        "attention": Attention.LOST if lost else NO_ATTENTION,
        "ended_at": at,
        "end_first_asked_at": at + timedelta(seconds=1 + place % 10),
        "end_last_asked_at": at + timedelta(seconds=20),
        "settled_at": at + timedelta(seconds=20),
        "closed_at": at + timedelta(seconds=20),
        "file_counts": {"uploaded": 1},
        "told": Told(last=LastCallback(event_type=1, event=CallbackEvent.UPLOAD_FINISHED, received_at=at)),
    }
    return Task(**values)


async def fill(url: str, number: int) -> None:
    clock = SystemClock()
    database = Database(url, clock)
    await schema.migrate(database)
    now = clock.now()
    copies = max(1, number // MADE)
    made = tasks(copies, now)
    while batch := list(islice(made, BATCH)):
        async with database.write(durable=False) as connection:
            await connection.execute(insert(TASKS), [task_values(task) for task in batch])
            if polls := [_poll(task, now) for task in batch if task.tracking is Tracking.ACTIVE]:
                await connection.execute(insert(POLLS), polls)
            if callbacks := [_callback(task, event) for task in batch if task.ended_at for event in (5, 1)]:
                await connection.execute(insert(CALLBACKS), callbacks)
    for copy in range(1, copies):
        async with database.write(durable=False) as connection:
            for table in (TASKS, CALLBACKS):
                await _copy(connection, table, copy, OVER / copies * copy)
    drawn = 1
    while drawn:  # as housekeeping does, once a minute
        async with database.write() as connection:
            drawn = await counts.draw_together(connection, above=COUNTS, limit=COUNTS_AT_ONCE)
    if not database.is_sqlite:
        async with database.unhurried() as connection:
            await connection.say("VACUUM ANALYZE")  # as a server does by itself within minutes
    await database.checkpoint()
    await database.close()


async def _copy(connection: Connection, table: Table, copy: int, back: timedelta) -> None:
    """Once more all that ended, so much earlier and under other ids."""
    if connection.dialect.name == "sqlite":
        at, task_id = "strftime('%Y-%m-%d %H:%M:%f000', {0}, '-{1} seconds')", "printf('%016d', task_id + {0})"
    else:
        at, task_id = "{0} - interval '{1} seconds'", "lpad((task_id::bigint + {0})::text, 16, '0')"
    task_id = task_id.format(copy * MADE)
    values = {column.name: column.name for column in table.columns if column.name != "id"}
    values["task_id"] = task_id
    for column in table.columns:
        if isinstance(column.type, UtcDateTime):
            values[column.name] = at.format(column.name, back.total_seconds())
        elif column.name in ("signed", "said"):
            values[column.name] = f"replace({column.name}, task_id, {task_id})"
    await connection.ask(
        f"INSERT INTO {table.name} ({', '.join(values)}) SELECT {', '.join(values.values())} "
        f"FROM {table.name} WHERE task_id BETWEEN '{LIVE:016d}' AND '{LIVE + MADE - 1:016d}'"
    )


def _poll(task: Task, now: datetime) -> dict[str, Any]:
    return {
        "task_id": task.task_id, "app_id": 1, "urgency": 4, "claim_no": task.claim_no, "listed": 2, "early_at": None,
        "next_poll_at": now + timedelta(minutes=5), "closes_at": task.window[0],
    }  # fmt: skip


def _callback(task: Task, event: int) -> dict[str, Any]:
    return {
        "received_at": task.ended_at, "app_id": 1, "task_id": task.task_id, "event_type": event, "sequence": event,
        "verdict": "accepted", "forget_at": None, "signed": f"{task.task_id}-{event}".rjust(64, "0"),
        "said": f"{task.task_id}-{event}".rjust(64, "0"), "body": "{}" * 200,
    }  # fmt: skip


async def load(url: str, loads: int) -> list[float]:
    """Seconds until there is data in every panel, for each load; prints how long each request took."""
    took, requests = [], dict[str, list[float]]()
    async with open_browser() as browser:
        for _ in range(loads):
            async with open_page(browser, url, "about:blank") as page:
                await page.goto(url, wait_until="commit")
                shown = await page.wait_for_function(SHOWN, timeout=60_000, polling="raf")
                took.append(await shown.json_value() / 1000)
                for path, began, ended in await page.evaluate(ASKED):
                    if ended:  # the stream goes on
                        requests.setdefault(path, []).append(ended - began)
    for path, times in requests.items():
        print(f"    {path:<70} {statistics.median(times):6.0f} ms")
    return took


async def measure(engine: str, url: str, folder: Path, number: int, loads: int) -> float:
    began = time.monotonic()
    await fill(url, number)
    print(f"{engine}, {number:,} tasks (stored in {time.monotonic() - began:.0f} s)")
    env = {"DATABASE_URL": url, "ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "none", "ZEGO_CALLBACK_SECRET": "none"}
    arguments = (RECORDING_STATUS, "serve", "--role", "api", "--port", "0")
    async with program(f"{engine}-service", *arguments, folder=folder, env=env) as service:
        address = await service.says(r"is ready on (http://[^\s,]+)")
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
            for path in ("/v1/stats", "/v1/stats", "/metrics"):
                answer = await client.get(path)
                print(f"    alone: {path:<63} {answer.elapsed.total_seconds() * 1000:6.0f} ms")
        took = await load(address, loads)
        await service.stop()
    median = statistics.median(took)
    of = f"median of {loads}; {min(took):.2f} to {max(took):.2f}; load of the machine {os.getloadavg()[0]:.1f}"
    print(f"  data on screen after {median:.2f} s ({of})", flush=True)
    return median


async def main(number: int, engines: list[str], loads: int) -> int:
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="dashboard-") as name:
        folder = Path(name)
        for engine in engines:
            if engine == "sqlite":
                url = f"sqlite+aiosqlite:///{folder}/recordings.db"
                worst = max(worst, await measure(engine, url, folder, number, loads))
                continue
            with postgres(folder / "postgresql") as server:
                url = server.create_database("dashboard").replace("postgresql://", "postgresql+asyncpg://")
                worst = max(worst, await measure(engine, url, folder, number, loads))
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--engines", default="sqlite,postgresql")
    parser.add_argument("--loads", type=int, default=7)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.tasks, given.engines.split(","), given.loads)))
