"""What benchmarks tell: a line while they run, tables of rows, quantiles, and the machine they ran on."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform
import re
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

from bench import world
from bench.world import Postgres, Result, RowFailed, Stage

Load = TypeVar("Load", contravariant=True)


class Row(Protocol[Load]):
    """One row of a table."""

    @property
    def name(self) -> str: ...

    async def measure(self, stage: Stage, load: Load) -> Result: ...


R = TypeVar("R", bound=Row[Any])


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """The options of a benchmark of rows: which of them, and where the table goes."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rows", default="", help="measure only rows whose name matches this regular expression")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write what is printed here too")
    return parser


async def run(
    options: argparse.Namespace,
    every: Sequence[R],
    load: Any,
    *,
    tasks: int,
    markdown: Callable[[Sequence[R], dict[str, Result], Postgres | None], str],
) -> int:
    """Measure the rows wanted and print their table; the exit code."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    rows = [row for row in every if re.search(options.rows, row.name)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        needed = any("postgresql" in row.name for row in rows)
        postgres = stack.enter_context(world.postgres(folder / "server")) if needed else None
        results = await measure_all(rows, Stage(folder, tasks, postgres), load)
        text = markdown(rows, results, postgres)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return int(len(results) < len(rows) or any(came.faults for came in results.values()))


async def measure_all(rows: Sequence[Row[Load]], stage: Stage, load: Load) -> dict[str, Result]:
    """What each row came to, one after the other; one that could not be measured is missing."""
    results: dict[str, Result] = {}
    for row in rows:
        try:
            results[row.name] = came = await row.measure(stage.of(row.name), load)
        except (RowFailed, httpx.HTTPError, OSError) as error:
            say(f"{row.name}: NOT MEASURED: {error!r}")
            continue
        say("  ".join([f"{row.name}:", *came.cells, *(f"<- {fault}" for fault in came.faults)]))
    return results


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def quantile(values: Sequence[float], part: float) -> float:
    """The least of the values that so large a part of them does not exceed."""
    return sorted(values)[max(math.ceil(part * len(values)), 1) - 1]


def machine(postgres: Postgres | None = None) -> str:
    """On what this was measured."""
    versions = [f"Python {platform.python_version()}", f"SQLite {sqlite3.sqlite_version}"]
    versions += [postgres.version()] if postgres else []
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors; {', '.join(versions)}."
