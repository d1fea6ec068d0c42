"""What it costs a registration of 1,000 tasks that triggers count tasks, on both engines.

    python -m bench.counting [--rounds 20]

Registrations with the triggers and without them take turns in one process, so that both meet the same machine. Fails
above 1.25 at the ratio of the fastest, which other programs disturb least.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from app.clock import SystemClock
from app.settings import load_settings
from app.store import schema
from app.store.engine import Database
from app.tracking.registration import NewTask
from app.wiring import Service, open_service
from bench.world import postgres

TASKS = 1000
LIMIT = 1.25
TRIGGERS = ("came", "moved", "went")


async def measure(engine: str, url: str, rounds: int) -> float:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    database = Database(url, SystemClock())
    await schema.migrate(database)
    await database.close()
    took: dict[bool, list[float]] = {True: [], False: []}
    settings = load_settings(database_url=url, zego_app_id=1, zego_server_secret="none")
    async with open_service(settings, role="api") as service:
        on, off = await _switches(service)
        for number in range(2 * rounds + 2):
            counting = number % 2 == 0
            await _run(service, on if counting else off)
            batch = [NewTask(task_id=f"{number:04d}{one:012d}", app_id=1, labels={}) for one in range(TASKS)]
            began = time.perf_counter()
            await service.registration.register_batch(batch)
            if number >= 2:  # the first of each builds statements
                took[counting].append(time.perf_counter() - began)
    ratios = []
    for name, figure in (("median", statistics.median), ("fastest", min)):
        with_them, without = figure(took[True]), figure(took[False])
        ratios.append(with_them / without)
        print(f"| {engine}, {name} | {with_them * 1000:.0f} | {without * 1000:.0f} | {ratios[-1]:.3f} |", flush=True)
    return ratios[-1]


async def _switches(service: Service) -> tuple[list[str], list[str]]:
    """Statements that switch the triggers on and off."""
    if not service.database.is_sqlite:
        of = [f"ALTER TABLE tasks {{}} TRIGGER task_counts_{name}" for name in TRIGGERS]
        return [one.format("ENABLE") for one in of], [one.format("DISABLE") for one in of]
    async with service.database.read() as connection:
        made = await connection.ask("SELECT sql FROM sqlite_master WHERE name LIKE 'task_counts_%'")
        on = [row["sql"].replace("CREATE TRIGGER", "CREATE TRIGGER IF NOT EXISTS") for row in made]
    return on, [f"DROP TRIGGER task_counts_{name}" for name in TRIGGERS]


async def _run(service: Service, statements: Sequence[str]) -> None:
    async with service.database.write() as connection:
        for statement in statements:
            await connection.ask(statement)


async def main(rounds: int) -> int:
    print(f"| engine | {TASKS:,} tasks, counted: ms | not counted: ms | ratio |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="counting-") as name:
        worst = await measure("SQLite", f"sqlite+aiosqlite:///{name}/recordings.db", rounds)
        with postgres(Path(name, "postgresql")) as server:
            url = server.create_database("counting").replace("postgresql://", "postgresql+asyncpg://")
            worst = max(worst, await measure("PostgreSQL", url, rounds))
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    sys.exit(asyncio.run(main(parser.parse_args().rounds)))
