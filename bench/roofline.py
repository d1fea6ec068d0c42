"""The service beside a bare server that does the same with one statement (bench.bare), on both engines.

    python -m bench.roofline [--rows REGEX] [--engines sqlite,postgresql] [--rounds 5] [--seconds 2]
    python -m bench.roofline --quick

The two are loaded by turns; what counts is the service's share of the bare server's answers a second (of bytes a second
for pages), as the median of the rounds. Callbacks, and registrations, share a transaction with those that come at the
same time: a share of theirs is wanted where enough come to keep both servers busy, 64 at once. Exit code 1 if on
PostgreSQL a share is too small (`rows`), or the 99th percentile of a read is more than 3 times the bare server's.

`--quick` takes half a minute, on PostgreSQL alone, and fails if a share fell by more than a quarter below that in
bench/roofline.json, which `--keep` writes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import uvloop

from app.provider.simulator import Callback, Event
from bench import world
from bench.beside import AUTHORISED, CALLBACK_SECRET, LABELS, Both, Compared, Requests, Row, both, compare, task_id
from bench.hammer import request
from bench.report import machine, say
from bench.world import Postgres, Stage

TASKS = 1000
PAGE = 100
KEPT = Path(__file__).with_suffix(".json")
FALL = 0.25
BATCH = 1000
P99 = 3.0

# -- what is asked


def one(number: int) -> Iterator[bytes]:
    """Any task."""
    dice = random.Random(number)
    return (request("GET", f"/v1/tasks/{task_id(dice.randrange(TASKS))}", AUTHORISED) for _ in itertools.count())


def unchanged(number: int) -> Iterator[bytes]:
    """Any task, by somebody who has its newest version."""
    dice, known = random.Random(number), AUTHORISED | {"If-None-Match": 'W/"4"'}
    return (request("GET", f"/v1/tasks/{task_id(dice.randrange(TASKS))}", known) for _ in itertools.count())


def pages(places: list[str]) -> Requests:
    """Any of these pages of the list."""

    def asked(number: int) -> Iterator[bytes]:
        dice = random.Random(number)
        return (request("GET", f"/v1/tasks?limit={PAGE}&{dice.choice(places)}", AUTHORISED) for _ in itertools.count())

    return asked


def callbacks(number: int) -> Iterator[bytes]:
    """About stored tasks, one after the other."""
    for count in itertools.count(number * 1_000_000):  # the bare server, too, meets none again: it would write nothing
        told = Callback(world.APP_ID, task_id(count % TASKS), "room_1", time.time(), Event.STOPPED, count, {})
        body = told.body(CALLBACK_SECRET, secrets.token_hex(8), str(int(time.time())))
        yield request("POST", "/v1/callbacks/zego", {}, body)


def registrations(number: int) -> Iterator[bytes]:
    """Of new tasks."""
    while True:
        yield request("POST", "/v1/tasks", AUTHORISED, json.dumps(_new_task()).encode())


def batches(number: int) -> Iterator[bytes]:
    """Of so many new tasks each."""
    while True:
        tasks = [_new_task() for _ in range(BATCH)]
        yield request("POST", "/v1/tasks/batch", AUTHORISED, json.dumps({"tasks": tasks}).encode())


def _new_task() -> dict[str, object]:
    return {"task_id": secrets.token_urlsafe(12), "labels": LABELS}


async def rows(pair: Both) -> list[Row]:
    """All rows; the pages are those of this service."""
    cursors = [f"cursor={cursor}" for cursor in await _cursors(pair.url)]
    starts = [f"after={task_id(number)}" for number in range(0, TASKS - PAGE, PAGE)]
    written, created = frozenset({200, 201}), frozenset({201})
    return [
        Row("one task", one, one, share=0.6, p99=P99),
        Row("304", unchanged, unchanged, share=0.75, statuses=frozenset({304}), p99=P99),
        Row("page of 100", pages(cursors), pages(starts), share=0.4, p99=P99),
        Row("callback", callbacks, callbacks, statuses=written),
        Row("callback, 64 at once", callbacks, callbacks, share=0.5, statuses=written, connections=64),
        Row("registration", registrations, registrations, statuses=created),
        Row("registration, 64 at once", registrations, registrations, share=0.5, statuses=created, connections=64),
        Row("batch of 1,000", batches, batches, share=0.5, connections=1),
    ]


async def _cursors(url: str) -> list[str]:
    """Of all full pages but the first."""
    found: list[str] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False, headers=AUTHORISED, timeout=30) as client:
        while True:
            query = {"limit": str(PAGE)} | ({"cursor": found[-1]} if found else {})
            cursor = (await client.get("/v1/tasks", params=query)).json()["next_cursor"]
            if cursor is None:
                return found
            found.append(cursor)


# -- what it came to

HEAD = """| Database | Load | Service | Bare server | Share | p99 | Bare server's p99 | Ratio | Processor for one |
|---|---|---:|---:|---:|---:|---:|---:|---:|"""


def share(row: Row, came: Compared) -> float:
    return came.throughput if row.name.startswith("page") else came.rate


def line(row: Row, came: Compared) -> str:
    cells = [
        row.name,
        *(f"{rate:,.0f}/s" for rate in came.rates),
        f"{share(row, came):.2f}" + (f" (at least {row.share})" if row.share else ""),
        *(f"{p99 * 1000:.1f} ms" for p99 in came.p99s),
        f"{came.p99:.1f}",
        " / ".join(f"{seconds * 1e6:.0f}" for seconds in came.processor) + " µs",
    ]
    return " | ".join(cells)


def faults(row: Row, came: Compared) -> list[str]:
    enough, quick = row.share is None or share(row, came) >= row.share, row.p99 is None or came.p99 <= row.p99
    checks = {f"a share of {share(row, came):.2f}": enough, f"a p99 of {came.p99:.1f} times": quick}
    return [f"{row.name}: {fault}" for fault, holds in checks.items() if not holds]


async def measure(kind: str, stage: Stage, options: argparse.Namespace) -> list[tuple[Row, Compared]]:
    came = []
    async with both(kind, stage, TASKS) as pair:
        for row in await rows(pair):
            if re.search(options.rows, row.name):
                compared = await compare(pair, row, rounds=options.rounds, seconds=options.seconds)
                say(f"{kind} | {line(row, compared)}")
                came.append((row, compared))
        await pair.service.stop()
    return came


async def main(options: argparse.Namespace) -> int:
    """The exit code."""
    wrong, table, shares, server = [], [HEAD], dict[str, float](), "postgresql" in options.engines
    judge = fallen if options.quick else faults
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres: Postgres | None = stack.enter_context(world.postgres(folder / "server")) if server else None
        for kind in options.engines.split(","):
            for row, came in await measure(kind, Stage(folder, TASKS, postgres).of(kind), options):
                table.append(f"| {kind} | {line(row, came)} |")
                if kind == "postgresql":
                    wrong += judge(row, came)
                    shares[row.name] = round(share(row, came), 2)
        table += ["", f"{options.rounds} rounds of {options.seconds:g} s each by turns; {machine(postgres)}"]
    if options.keep:
        keep(shares)
    print("\n".join(table))
    for fault in wrong:
        say(fault)
    return int(bool(wrong))


def fallen(row: Row, came: Compared) -> list[str]:
    """How far a share fell since it was kept."""
    before = json.loads(KEPT.read_text()).get(row.name) if KEPT.exists() else None
    now = share(row, came)
    return [f"{row.name}: {now:.2f}, it was {before:.2f}"] if before and now < (1 - FALL) * before else []


def keep(shares: dict[str, float]) -> None:
    KEPT.write_text(json.dumps(shares, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="", help="only rows whose name matches this regular expression")
    parser.add_argument("--engines", default="sqlite,postgresql")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load in each round")
    parser.add_argument("--quick", action="store_true", help="compare with what was kept")
    parser.add_argument("--keep", action="store_true", help="keep the shares")
    given = parser.parse_args()
    if given.quick:
        given.engines, given.rounds, given.seconds = "postgresql", 3, 0.3
    return given


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main(arguments())))
