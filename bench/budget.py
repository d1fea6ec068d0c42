"""The call budget measured: the real service against the simulator, beside other limiters at the same calls.

For every row the simulator and each process of the service are programs of their own. All tasks are due at once, so
something is due as long as it is measured. What arrived is counted at the provider; what a permit lost between two
calls is read from the service's log. Exit code 1 if more than 10 calls arrived in any second, if less than 97 % of
the possible rate was used, or if a task was never asked about.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import httpx

from app.provider.client import DESCRIBE_RECORD_STATUS, DESCRIBE_TASKS
from bench import limiters, world
from bench.limiters import LimiterRow
from bench.report import machine, say
from bench.world import DATABASES, LATENCIES, Latency, Made, Postgres, Program, Result, RowFailed, Service, Stage

LIMIT = 10
"""Calls of one action that may arrive in any second."""

LEAST_SHARE = 0.97
LONGEST = 120.0
"""Seconds after which a row ends even if some task has not been asked about."""

FREEZE_AFTER, FREEZE_FOR = 10.0, 15.0


# -- a row


@dataclass(frozen=True, slots=True)
class Observed:
    """What there was to see in a row. ``calls`` were made in the ``seconds`` from the registration on."""

    calls: int
    seconds: float
    busiest: int
    busiest_of_lists: int
    made: list[Made]
    never_asked: int
    resumed_at: float | None

    def faults(self) -> list[str]:
        busiest = max(self.busiest, self.busiest_of_lists)
        faults = [f"{busiest} calls in a second"] if busiest > LIMIT else []
        return [*faults, f"{self.never_asked} tasks never asked about"] if self.never_asked else faults

    def unanswered(self) -> int:
        return sum(call.answered_at is None for call in self.made)


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """The service in so many processes on this database, at this distance from a provider that may freeze."""

    database: str
    processes: int
    latency: Latency
    freezes: bool = False

    @property
    def name(self) -> str:
        return f"{'freeze-' if self.freezes else ''}{self.database}-{self.processes}-{self.latency.name}"

    @property
    def about(self) -> list[str]:
        return [self.database, str(self.latency), str(self.processes)]

    async def measure(self, stage: Stage) -> Result:
        observed = await self._observe(stage)
        return frozen_result(observed) if self.freezes else steady_result(observed)

    async def _observe(self, stage: Stage) -> Observed:
        url = await stage.database_url(self.database, self.name)
        async with (
            world.provider(self.latency, stage.folder) as provider,
            world.service(self.processes, url, provider.url, stage.folder) as service,
        ):
            task_ids = await provider.start_recordings(stage.tasks)
            began = time.monotonic()
            await service.register(task_ids)
            resumed_at = await freeze(provider.program) if self.freezes else None
            await until_asked(service, stage.tasks, since=resumed_at, deadline=began + LONGEST)
            seconds, so_far = time.monotonic() - began, await provider.counts(DESCRIBE_RECORD_STATUS)
            left = await service.never_asked(task_ids)
            await service.stop()
            counts, lists = await provider.counts(DESCRIBE_RECORD_STATUS), await provider.counts(DESCRIBE_TASKS)
            await provider.program.stop()
        return Observed(
            calls=so_far["calls"],
            seconds=seconds,
            busiest=counts["busiest_second"],
            busiest_of_lists=lists["busiest_second"],
            made=service.calls(),
            never_asked=len(left),
            resumed_at=resumed_at,
        )


async def freeze(provider: Program) -> float:
    """Freeze the provider for a while; when it was resumed."""
    await asyncio.sleep(FREEZE_AFTER)
    provider.freeze()
    try:
        await asyncio.sleep(FREEZE_FOR)
    finally:
        resumed_at = time.monotonic()
        provider.resume()
    return resumed_at


async def until_asked(service: Service, tasks: int, *, since: float | None, deadline: float) -> None:
    """Wait until every task was asked about and answered for, and something was answered since then."""
    while time.monotonic() < deadline:
        await asyncio.sleep(1)
        answered = [call for call in service.calls() if call.answered_at is not None]
        if len({call.task_id for call in answered}) >= tasks and first_answer(answered, since or 0.0) < math.inf:
            return


# -- what it came to

STEADY_HEAD: tuple[str, ...] = (
    "Database",
    "Round trip",
    "Processes",
    "Busiest second",
    "Share of the possible rate",
    "Calls/s",
)
STEADY_HEAD += ("Calls", "Seconds", "Mean round trip", "Permit idle beyond its second", "Unanswered")


def steady_result(seen: Observed) -> Result:
    used, faults = share(seen.made), seen.faults()
    if not used >= LEAST_SHARE:
        faults.append(f"only {used:.2%} of the possible rate")
    round_trip = mean(call.answered_at - call.sent_at for call in seen.made if call.answered_at is not None)
    cells = [str(seen.busiest), f"{used:.1%}", f"{seen.calls / seen.seconds:.2f}", str(seen.calls)]
    cells += [f"{seen.seconds:.0f}", f"{round_trip * 1000:.0f} ms", f"{idle(seen.made) * 1000:.1f} ms"]
    return Result([*cells, str(seen.unanswered())], faults)


FROZEN_HEAD: tuple[str, ...] = (
    "Database",
    "Round trip",
    "Processes",
    "Busiest second",
    "Same of probes",
    "First answer after",
)
FROZEN_HEAD += ("Calls", "Seconds", "Unanswered", "Tasks never asked about")


def frozen_result(seen: Observed) -> Result:
    """The share does not count here: most of the time nobody answered."""
    resumed_at = seen.resumed_at or 0.0
    cells = [str(seen.busiest), str(seen.busiest_of_lists), f"{first_answer(seen.made, resumed_at) - resumed_at:.2f} s"]
    cells += [str(seen.calls), f"{seen.seconds:.0f}", str(seen.unanswered()), str(seen.never_asked)]
    return Result(cells, seen.faults())


@dataclass(frozen=True, slots=True)
class Cycle:
    """From a call to the next with the same permit."""

    sent_at: float
    answered_at: float
    sent_again_at: float

    @property
    def share(self) -> float:
        """How much of it had to be: a permit may be used again one second after its answer."""
        return (1.0 + self.answered_at - self.sent_at) / (self.sent_again_at - self.sent_at)

    @property
    def idle(self) -> float:
        return self.sent_again_at - self.answered_at - 1.0


def cycles(made: Iterable[Made]) -> list[list[Cycle]]:
    """For each permit its cycles but the first, which may have begun before all processes were at work."""
    by_permit: defaultdict[int, list[Made]] = defaultdict(list)
    for call in made:
        by_permit[call.permit].append(call)
    return [
        [
            Cycle(call.sent_at, call.answered_at, following.sent_at)
            for call, following in list(pairwise(calls))[1:]
            if call.answered_at is not None
        ]
        for calls in by_permit.values()
    ]


def share(made: Iterable[Made]) -> float:
    """The share of the possible rate that was used: the mean over the permits of the mean over a permit's cycles."""
    return mean(mean(cycle.share for cycle in of_permit) for of_permit in cycles(made) if of_permit)


def idle(made: Iterable[Made]) -> float:
    """Mean seconds from when a permit may be used again to when it is."""
    return mean(cycle.idle for of_permit in cycles(made) for cycle in of_permit)


def first_answer(made: Iterable[Made], since: float) -> float:
    """When the first answer after that came; infinite if none did."""
    return min((call.answered_at for call in made if call.answered_at and call.answered_at > since), default=math.inf)


def mean(values: Iterable[float]) -> float:
    """NaN of nothing: a row too short to tell."""
    found = list(values)
    return fmean(found) if found else math.nan


# -- all rows

Row = ServiceRow | LimiterRow
Results = dict[str, Result]


def all_rows() -> list[Row]:
    steady = [ServiceRow(base, number, latency) for base in DATABASES for number in (1, 4) for latency in LATENCIES]
    frozen = [ServiceRow(base, number, LATENCIES[1], freezes=True) for base in DATABASES for number in (1, 4)]
    others = [LimiterRow(limiter, latency) for limiter in limiters.LIMITERS for latency in LATENCIES]
    return [*steady, *frozen, *others]


async def measure_all(rows: Sequence[Row], stage: Stage, jobs: int) -> Results:
    """What each row came to, so many at a time; one that could not be measured is missing."""
    gate, results = asyncio.Semaphore(jobs), Results()

    async def measure(row: Row) -> None:
        async with gate:
            try:
                results[row.name] = result = await row.measure(stage.of(row.name))
            except (RowFailed, httpx.HTTPError, OSError) as error:
                say(f"{row.name}: NOT MEASURED: {error!r}")
                return
        say("  ".join([f"{row.name}:", *result.cells, *(f"<- {fault}" for fault in result.faults)]))

    async with asyncio.TaskGroup() as group:
        for row in rows:
            group.create_task(measure(row))
    return results


def markdown(rows: Sequence[Row], results: Results, conditions: str) -> str:
    """All tables; a result with a fault is in bold."""
    service = [row for row in rows if isinstance(row, ServiceRow)]
    parts: list[tuple[str, tuple[str, ...], Sequence[Row]]] = [
        ("The service", STEADY_HEAD, [row for row in service if not row.freezes]),
        (f"The provider frozen for {FREEZE_FOR:.0f} s", FROZEN_HEAD, [row for row in service if row.freezes]),
        ("Other limiters", limiters.HEAD, [row for row in rows if isinstance(row, LimiterRow)]),
    ]
    texts = [f"### {title}\n\n{table(head, of_part, results)}" for title, head, of_part in parts if of_part]
    return "\n\n".join([*texts, conditions]) + "\n"


def table(head: Sequence[str], rows: Sequence[Row], results: Results) -> str:
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    for row in rows:
        result = results.get(row.name, Result(["not measured"], ["not measured"]))
        cells = [f"**{cell}**" for cell in result.cells] if result.faults else result.cells
        lines.append([*row.about, *cells, *[""] * (len(head) - len(row.about) - len(cells))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conditions(options: argparse.Namespace, postgres: Postgres | None) -> str:
    """On what this was measured."""
    return f"{options.tasks} tasks due at once; {options.jobs} rows at a time; {machine(postgres)}"


# -- the command line


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="", help="measure only rows whose name matches this regular expression")
    parser.add_argument("--jobs", type=int, default=2, help="rows measured at a time (default 2)")
    parser.add_argument("--tasks", type=int, default=700, help="tasks due at once, at most 1000 (default 700)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for logs and databases, not removed")
    return parser.parse_args()


async def main(options: argparse.Namespace) -> int:
    """The exit code."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    rows = [row for row in all_rows() if re.search(options.rows, row.name)]
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        needed = any(isinstance(row, ServiceRow) and row.database == "postgresql" for row in rows)
        postgres = stack.enter_context(world.postgres(folder / "postgresql")) if needed else None
        results = await measure_all(rows, Stage(folder.resolve(), options.tasks, postgres), options.jobs)
        text = markdown(rows, results, conditions(options, postgres))
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return int(len(results) < len(rows) or any(result.faults for result in results.values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
