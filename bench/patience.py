"""Writes of the service beside the same service whose writers do not wait for those who were just told
(app.tracking.together), by turns, on PostgreSQL.

    python -m bench.patience [--rounds 4] [--seconds 1.5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from app import start
from app.tracking.together import Together
from bench import world
from bench.beside import SETTINGS, Both, Row, compare, fill
from bench.report import machine, say
from bench.roofline import TASKS, callbacks, registrations
from bench.world import Stage

IMPATIENT = "--impatient"

HEAD = """| Load | At once | Patient | Impatient | Ratio | p99 | Impatient | Processor for one | Impatient |
|---|---:|---:|---:|---:|---:|---:|---:|---:|"""


def rows() -> list[Row]:
    loads = (("callback", callbacks, frozenset({200})), ("registration", registrations, frozenset({201})))
    return [Row(name, load, load, statuses=told, connections=n) for name, load, told in loads for n in (2, 16, 64)]


async def measure(stage: Stage, *, rounds: int, seconds: float) -> list[str]:
    """A line for each row."""
    urls = [await stage.database_url("postgresql", name) for name in ("patient", "impatient")]
    for url in urls:
        await fill(url.replace("postgresql://", "postgresql+asyncpg://"), TASKS)
    nobody, impatient = "http://127.0.0.1:9", (sys.executable, __file__, IMPATIENT)
    settings = SETTINGS | {"PYTHONPATH": str(Path(__file__).parents[1])}
    lines = []
    async with (
        world.service(1, urls[0], nobody, stage.folder, settings=settings) as one,
        world.service(1, urls[1], nobody, stage.folder, settings=settings, start=impatient) as other,
    ):
        pair = Both(one, str(one.url), other, str(other.url))
        for row in rows():
            came = await compare(pair, row, rounds=rounds, seconds=seconds)
            cells = [row.name, str(row.connections), *(f"{rate:,.0f}/s" for rate in came.rates), f"{came.rate:.2f}"]
            cells += [f"{p99 * 1000:.0f} ms" for p99 in came.p99s] + [f"{one * 1e6:.0f} µs" for one in came.processor]
            lines.append(f"| {' | '.join(cells)} |")
            say(lines[-1])
    return lines


async def _not_at_all(self: object) -> None:
    """Who waits does not wait longer."""


def main() -> None:
    if sys.argv[1:2] == [IMPATIENT]:
        del sys.argv[1]
        Together._next_comes = _not_at_all  # type: ignore[method-assign]
        start.main()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.5)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="patience-")))
        server = stack.enter_context(world.postgres(folder / "server"))
        stage = Stage(folder, TASKS, server).of("postgresql")
        lines = uvloop.run(measure(stage, rounds=given.rounds, seconds=given.seconds))
        print("\n".join([HEAD, *lines, "", machine(server)]))


if __name__ == "__main__":
    main()
