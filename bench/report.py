"""What benchmarks tell: a line while they run, quantiles, and the machine they ran on."""

from __future__ import annotations

import math
import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from typing import Protocol, TypeVar

import httpx

from bench.world import Postgres, Result, RowFailed, Stage

Load = TypeVar("Load", contravariant=True)


class Row(Protocol[Load]):
    """One row of a table."""

    @property
    def name(self) -> str: ...

    async def measure(self, stage: Stage, load: Load) -> Result: ...


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
