"""How fast ends are found: the real service on virtual time, beside simpler ways to poll and the best there can be.

Recordings start at random and the service follows them as in production, but for the clock, which jumps: poller,
sweeper, callbacks, schedule and SQLite are the real ones. Measured is what its events say against the truth. Exit code
1 if more than 10 calls of an action arrived in any second, or if something was reported before it was so.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import structlog

from app.core.budget import COOL_DOWN
from bench import live, virtual
from bench.baselines import ROUND_ROBIN, poll_every
from bench.bound import lower_bound
from bench.recordings import Found, Recording, draw
from bench.report import machine, say

PERMITS = 10
RATE = PERMITS / (COOL_DOWN + live.RTT)
"""Calls a second that the limit allows at this distance; the simpler ways and the bound have as many."""

SHORTEST = 900.0
"""Seconds not measured at the beginning, and at most waited at the end; more if a round over all tasks takes longer."""

TOO_EARLY = -0.002
"""Seconds late: moments are stored cut to milliseconds."""


# -- a row


@dataclass(frozen=True, slots=True)
class World:
    """On average ``live`` tasks, with 1 to ``most_files`` files each, whose callbacks get lost with this probability;
    measured for so many hours."""

    live: int
    loss: float
    most_files: int
    hours: float
    seed: int

    @property
    def warm(self) -> float:
        """When measuring begins."""
        return max(SHORTEST, 3 * self.live / RATE)

    @property
    def until(self) -> float:
        """What happens before is measured."""
        return self.warm + self.hours * 3600

    @property
    def longest(self) -> float:
        """When what is not found counts as found, or as missed."""
        return self.until + max(SHORTEST, 4 * self.live / RATE)

    def recordings(self) -> list[Recording]:
        return draw(self.live, self.longest, most_files=self.most_files, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Result:
    """What a way came to in a world: the cells of its row, and what is wrong with it."""

    cells: list[str]
    faults: list[str]


def follow(world: World, *, sweep: bool) -> Result:
    """The service, with or without its sweep over the provider's list."""
    # Most lines of the log are not even built: they would take a tenth of the time.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    recordings, began = world.recordings(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        watch = partial(live.watch, recordings, until=world.until, longest=world.longest, folder=Path(folder))
        seen = virtual.run(watch(loss=world.loss, sweep=sweep, seed=world.seed))
    work = (time.process_time() - began) / seen.seconds * 3600
    busiest = max(seen.busiest, seen.busiest_of_lists)
    cells, faults = judge(world, recordings, seen.found, seen.seconds)
    cells += [f"{seen.found.calls / seen.seconds:.2f}", f"{seen.lists / seen.seconds:.2f}", str(busiest), f"{work:.0f}"]
    return Result(cells, [*faults, f"{busiest} calls in a second"] if busiest > PERMITS else faults)


def poll(world: World, *, interval: float) -> Result:
    """Without callbacks, sweep and schedule of its own: each task at this interval, or as often as calls allow."""
    recordings, until = world.recordings(), world.longest
    found = poll_every(interval, recordings, rate=RATE, rtt=live.RTT, loss=world.loss, until=until)
    cells, faults = judge(world, recordings, found, until)
    return Result([*cells, f"{found.calls / until:.2f}"], faults)


def bound(world: World) -> Result:
    """What no polling beats by these calls alone (the sweep has lists of its own); none reaches both means at once."""
    least = [lower_bound(world.live, world.loss, RATE, goal) for goal in ("ended", "settled")]
    return Result([f"≥ {least[0]:.2f}", "", f"≥ {least[1]:.2f}"], [])


def judge(world: World, recordings: Sequence[Recording], found: Found, now: float) -> tuple[list[str], list[str]]:
    """How late ends and last files' ends were visible, and how many were missed; what was seen too early is a fault."""
    cells, faults, missed = [], [], 0
    ended, settled = [one.ended_at for one in recordings], [one.settled_at for one in recordings]
    for so_at, visible_at in ((ended, found.ended), (settled, found.settled)):
        so, visible = np.array(so_at), np.array(visible_at)
        measured = (so >= world.warm) & (so < world.until)
        missed += int(np.count_nonzero(visible[measured] > now))
        late = np.minimum(visible, now)[measured] - so[measured]
        cells += [f"{late.mean():.2f}", " / ".join(f"{part:.1f}" for part in np.quantile(late, [0.5, 0.95, 0.99]))]
        early = int(np.count_nonzero(late < TOO_EARLY))
        faults += [f"{early} reported too early"] if early else []
    return [*cells, f"{missed} of {np.count_nonzero(measured)}"], faults


# -- all rows

WAYS: dict[str, Callable[[World], Result]] = {
    "the service, sweep on": partial(follow, sweep=True),
    "the service, sweep off": partial(follow, sweep=False),
    "round robin": partial(poll, interval=ROUND_ROBIN),
    "every 30 s": partial(poll, interval=30.0),
    "the bound": bound,
}
Row = tuple[World, str]
HEAD: tuple[str, ...] = (
    "Live tasks",
    "Callbacks lost",
    "Way",
    "End: mean",
    "p50 / p95 / p99",
    "Last file: mean",
    "p50 / p95 / p99",
)
HEAD += ("Missed", "Polls/s", "Lists/s", "Busiest second", "CPU s per hour")


def name(row: Row) -> str:
    world, way = row
    return f"{world.most_files}-{world.live}-{world.loss:g}-{way}"


def all_rows(options: argparse.Namespace) -> list[Row]:
    """Those of one file for every size and loss; those of more files for one size."""
    sizes, losses = ((200, 1000), (0.1, 1.0)) if options.quick else ((200, 1000, 5000), (0.0, 0.01, 0.1, 1.0))
    worlds = [World(size, loss, 1, options.hours, options.seed) for size in sizes for loss in losses]
    worlds += [World(1000, loss, 4, options.hours, options.seed) for loss in losses]
    rows = [(world, way) for world in worlds for way in WAYS if world.most_files == 1 or way != "the bound"]
    return [row for row in rows if re.search(options.rows, name(row))]


def measure_all(rows: Sequence[Row], jobs: int) -> dict[Row, Result]:
    """What each row came to, so many at a time; one that could not be measured is missing."""
    results: dict[Row, Result] = {}
    longest_first = sorted(rows, key=lambda row: -row[0].longest)
    with ProcessPoolExecutor(jobs) as pool:
        waiting = {pool.submit(WAYS[way], world): (world, way) for world, way in longest_first}
        for done in as_completed(waiting):
            row = waiting[done]
            if (error := done.exception()) is not None:
                say(f"{name(row)}: NOT MEASURED: {error!r}")
                continue
            results[row] = result = done.result()
            say("  ".join([f"{name(row)}:", *result.cells, *(f"<- {fault}" for fault in result.faults)]))
    return results


# -- the tables


def markdown(rows: Sequence[Row], results: dict[Row, Result], conditions: str) -> str:
    """All tables; a result with a fault is in bold."""
    series = {most_files: [row for row in rows if row[0].most_files == most_files] for most_files in (1, 4)}
    titles = {1: "One file", 4: "One to four files"}
    texts = [f"### {titles[files]}\n\n{table(of_series, results)}" for files, of_series in series.items() if of_series]
    return "\n\n".join([*texts, conditions]) + "\n"


def table(rows: Sequence[Row], results: dict[Row, Result]) -> str:
    lines = [list(HEAD), ["---:"] * 2 + ["---"] + ["---:"] * (len(HEAD) - 3)]
    for world, way in rows:
        result = results.get((world, way), Result(["not measured"], ["not measured"]))
        cells = [f"**{cell}**" for cell in result.cells] if result.faults else result.cells
        about = [f"{world.live:,}", f"{world.loss:.0%}", way]
        lines.append([*about, *cells, *[""] * (len(HEAD) - len(about) - len(cells))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conditions(options: argparse.Namespace, seconds: float) -> str:
    """On what this was measured."""
    return (
        f"Seconds late. {options.hours:g} hours measured in each world; round trip {live.RTT * 1000:.0f} ms, so "
        f"{RATE:.2f} calls/s at most; seed {options.seed}. {seconds / 60:.0f} minutes, {options.jobs} rows at a time; "
        f"{machine()}"
    )


# -- the command line


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="", help="measure only rows whose name matches this regular expression")
    parser.add_argument("--jobs", type=int, default=2, help="rows measured at a time (default 2)")
    parser.add_argument("--hours", type=float, default=0.5, help="hours measured in each world (default 0.5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="fewer worlds")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here too")
    return parser.parse_args()


def main(options: argparse.Namespace) -> int:
    """The exit code."""
    began, rows = time.monotonic(), all_rows(options)
    results = measure_all(rows, options.jobs)
    text = markdown(rows, results, conditions(options, time.monotonic() - began))
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return int(len(results) < len(rows) or any(result.faults for result in results.values()))


if __name__ == "__main__":
    sys.exit(main(arguments()))
