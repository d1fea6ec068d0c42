"""A day on which more windows close than anybody planned for: 50,000 tasks registered at once beside 200 live ones.

All of the 50,000 have ended; of some thousand the query window closes within half an hour. Virtual time, the real
service (bench/detection.py). Exit code 1 if more than 10 calls of an action arrived in any second, if a window that
could be served closed on a task nobody asked about, if what cannot be served was not said before the first was missed,
or if any task was left without an end.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog
from sqlalchemy import select

from app.core.budget import COOL_DOWN
from app.provider.simulator import DESCRIBE, LIST, Simulator
from app.store.tables import TASKS
from app.tracking.registration import NewTask
from app.wiring import open_service
from bench import virtual
from bench.inprocess import Carrier, jobs_of
from bench.live import APP_ID, BATCH, RTT, SECRET, Stage, settings_for
from bench.recordings import Recording, draw
from bench.virtual import START, VirtualClock

ALL, LIVE = 50_000, 200
DAY, HALF_HOUR = 86400.0, 1800.0
FIRST = 30.0
"""When the first window closes: to register all of them takes some seconds, and nothing can be done before."""

COMES_AT = 900.0
"""When the backlog is registered; live tasks are measured from then on."""

LASTS = 7200.0
"""Seconds until everything must have had its turn."""

RATE = 10 / (COOL_DOWN + RTT)
LIMIT = 10


@dataclass(slots=True)
class Day:
    """What happened. Moments are seconds from the backlog's registration."""

    served: int = 0
    tracking: dict[str, int] = field(default_factory=dict)
    said_at: float = math.inf
    said: int = 0
    first_missed: float = math.inf
    ended: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)
    busiest: int = 0
    polls: int = 0


@dataclass(frozen=True, slots=True)
class Old:
    """A task of the backlog; ``closes``: when its window does, in seconds from the registration."""

    task_id: str
    closes: float


def run_day(closing: int, loss: float, seed: int) -> Day:
    """One day; ``closing`` of the backlog's windows close within half an hour. None of a backlog: -1."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    recordings = draw(LIVE, COMES_AT + LASTS, most_files=1, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        return virtual.run(_watch(recordings, closing, loss, seed, Path(folder)))


async def _watch(recordings: Sequence[Recording], closing: int, loss: float, seed: int, folder: Path) -> Day:
    clock, day = VirtualClock(asyncio.get_running_loop(), seed), Day()
    simulator = Simulator({APP_ID: SECRET}, seed=seed, time=clock.unix, monotonic=clock.monotonic)
    settings = settings_for(folder, sweep=True)
    async with open_service(settings, clock=clock, transport=Carrier(simulator, RTT)) as service:
        stage = Stage(service, simulator, loss, seed)
        async with jobs_of(service), asyncio.TaskGroup() as group:
            playing = group.create_task(stage.play(recordings))
            await asyncio.sleep(COMES_AT)
            old = _begin(simulator, closing, random.Random(seed))
            for first in range(0, len(old), BATCH):
                wanted = [NewTask(task_id=one.task_id, labels={}) for one in old[first : first + BATCH]]
                await service.registration.register_batch(wanted)
            while asyncio.get_running_loop().time() < COMES_AT + LASTS:
                await asyncio.sleep(5)
                short = service.paces.of(APP_ID).closing.unservable
                if short and not day.said:
                    day.said_at = asyncio.get_running_loop().time() - COMES_AT
                day.said = max(day.said, short)
            found = await stage.found(recordings)
            playing.cancel()
        async with service.database.read() as connection:
            rows = (await connection.execute(select(TASKS.c.task_id, TASKS.c.tracking))).all()
    now_tracking = {row.task_id: row.tracking for row in rows}
    for one in old:
        word = now_tracking[one.task_id]
        day.tracking[word] = day.tracking.get(word, 0) + 1
        if one.closes <= HALF_HOUR:
            served = word == "settled"
            day.served += served
            day.first_missed = day.first_missed if served else min(day.first_missed, one.closes)
    _judge_live(day, recordings, found.ended, found.settled)
    counts = simulator.stats()["apps"][str(APP_ID)]
    day.busiest = max(counts[action]["busiest_second"] for action in (DESCRIBE, LIST))
    day.polls = counts[DESCRIBE]["calls"]
    return day


def _begin(simulator: Simulator, closing: int, dice: random.Random) -> list[Old]:
    """Recordings of an hour, long over: the first so many began almost three days ago, the others one to 2.9 days."""
    if closing < 0:
        return []
    now = START.timestamp() + COMES_AT
    closes = [dice.uniform(FIRST, HALF_HOUR) for _ in range(closing)]
    closes += [dice.uniform(0.1 * DAY, 2 * DAY) for _ in range(ALL - closing)]
    old = [
        Old(simulator.start("normal", began_at=now - 3 * DAY + seconds, duration=3600, upload=60), seconds)
        for seconds in closes
    ]
    dice.shuffle(old)
    return old


def _judge_live(day: Day, recordings: Sequence[Recording], ended: Sequence[float], settled: Sequence[float]) -> None:
    """How late what happened to the live tasks in the first hour was seen."""
    for one, end, files in zip(recordings, ended, settled, strict=True):
        if COMES_AT <= one.ended_at < COMES_AT + 3600:
            day.ended.append(min(end, COMES_AT + LASTS) - one.ended_at)
        if COMES_AT <= one.settled_at < COMES_AT + 3600:
            day.settled.append(min(files, COMES_AT + LASTS) - one.settled_at)


# -- the table

HEAD = (
    "Windows closing in 30 min",
    "Callbacks lost",
    "Asked in time",
    "Most that could be",
    "Said: cannot be served",
    "Said after",
    "First missed after",
    "Live: end, mean / p99",
    "Live: last file, mean / p99",
    "Settled / expired / active",
    "Busiest second",
)


def cells(closing: int, loss: float, day: Day) -> list[str]:
    could = min(closing, int(RATE * HALF_HOUR))
    none = closing < 0
    return [
        "no backlog" if none else f"{closing:,}",
        f"{loss:.0%}",
        "" if none else f"{day.served:,}",
        "" if none else f"{could:,}",
        "" if none else f"{day.said:,}",
        f"{day.said_at:.0f} s" if day.said else "",
        f"{day.first_missed:.0f} s" if day.first_missed < math.inf else "",
        _late(day.ended),
        _late(day.settled),
        "" if none else " / ".join(f"{day.tracking.get(word, 0):,}" for word in ("settled", "expired", "active")),
        str(day.busiest),
    ]


def _late(seconds: Sequence[float]) -> str:
    return f"{np.mean(seconds):.2f} / {np.quantile(seconds, 0.99):.2f} s"


def faults(closing: int, day: Day) -> list[str]:
    servable = 0 <= closing <= RATE * HALF_HOUR
    wrong = [f"{day.busiest} calls in a second"] if day.busiest > LIMIT else []
    wrong += [f"{closing - day.served} not asked in time"] if servable and day.served < closing else []
    wrong += ["not said in time"] if not servable and closing > 0 and day.said_at >= day.first_missed else []
    return [*wrong, "tasks without an end"] if day.tracking.get("active") else wrong


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="days measured at a time (default 2)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    days = [(closing, loss) for loss in (0.01,) for closing in (-1, 12_000, 40_000)]
    with ProcessPoolExecutor(options.jobs) as pool:
        seen = [pool.submit(run_day, closing, loss, options.seed) for closing, loss in days]
        results = [one.result() for one in seen]
    print(f"| {' | '.join(HEAD)} |\n|{' ---: |' * len(HEAD)}")
    wrong: list[str] = []
    for (closing, loss), day in zip(days, results, strict=True):
        print(f"| {' | '.join(cells(closing, loss, day))} |")
        wrong += faults(closing, day)
    print("\n".join(wrong), file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
