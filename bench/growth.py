"""What a claim, a poll and a page take at 1,000 to 1,000,000 tasks, and a picture of it.

    python -m bench.growth [--keep FOLDER] [--sizes 1000,10000,100000,1000000] [--picture docs/growth.svg]

Medians, so that one slow moment of the machine does not draw a bend: what counts is whether the lines are flat.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import scale_work as work
from bench.report import machine, quantile
from bench.scale import address, filled, timed
from bench.scale_lists import Case, cases

SIZES = "1000,10000,100000,1000000"
ENGINES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
PAGES = {
    "page of 100 tasks, no filter": ("tasks", "", "middle"),
    "page of 100 tasks, settled, from the middle": ("tasks", "tracking=settled", "middle"),
    "page of 100 tasks with a label": ("tasks", "label, a fifth", "middle"),
    "page of 100 events of the feed": ("feed", "", "middle"),
}
COLOURS = ("#0b62a4", "#d1495b", "#2e8540", "#8d5fd3", "#b8860b", "#444444")
WIDTH, HEIGHT, LEFT, TOP = 420, 300, 56, 46


async def measure(url: str, n: int) -> dict[str, float]:
    """Milliseconds at the median, by what was done."""
    found = {}
    async with filled(url, n) as (database, now):
        async with database.read() as connection:
            every = {(case.list, case.filter, case.place): case for case in await cases(connection, n, now)}
        async with work.service(url, now) as service:
            number = min(200, n // 25)
            found["claim"] = quantile(await work.claims(service, number), 0.5)
            found["poll: claim and record"] = quantile(await work.whole_polls(service, number), 0.5)
        for name, which in PAGES.items():
            case: Case = every[which]
            found[name] = quantile(await timed(database, case), 0.5)
    return found


def picture(found: Mapping[str, Mapping[int, Mapping[str, float]]], sizes: Sequence[int]) -> str:
    """A chart for each engine, side by side: tasks to the right, milliseconds upwards, both in powers of ten."""
    names = list(next(iter(next(iter(found.values())).values())))
    low, high = 0.1, 100.0
    parts = []

    def x(chart: int, n: int) -> float:
        part = math.log10(n / sizes[0]) / max(math.log10(sizes[-1] / sizes[0]), 1)
        return chart * (WIDTH + LEFT) + LEFT + part * (WIDTH - 30)

    def y(milliseconds: float) -> float:
        part = math.log10(max(milliseconds, low) / low) / math.log10(high / low)
        return TOP + HEIGHT * (1 - part)

    def words(at: tuple[float, float], said: str, anchor: str = "middle", more: str = "") -> str:
        return f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}"{more}>{said}</text>'

    for chart, (engine, by_size) in enumerate(found.items()):
        parts.append(
            words(((x(chart, sizes[0]) + x(chart, sizes[-1])) / 2, TOP - 20), ENGINES[engine], more=' class="b"')
        )
        for line in (0.1, 1.0, 10.0, 100.0):
            parts.append(f'<path class="g" d="M{x(chart, sizes[0])} {y(line)}H{x(chart, sizes[-1])}"/>')
            parts.append(words((x(chart, sizes[0]) - 6, y(line) + 4), f"{line:g} ms", "end"))
        parts += [words((x(chart, n), TOP + HEIGHT + 18), f"{n:,}") for n in sizes]
        for name, colour in zip(names, COLOURS, strict=False):
            points = [(x(chart, n), y(by_size[n][name])) for n in sizes]
            way = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        across, down = LEFT + number % 2 * (WIDTH + LEFT), TOP + HEIGHT + 46 + number // 2 * 20
        parts.append(f'<path d="M{across} {down - 4}h22" stroke="{colour}" stroke-width="3"/>')
        parts.append(words((across + 30, down), name, "start"))
    width, height = len(found) * (WIDTH + LEFT) + 20, TOP + HEIGHT + 116
    style = "text{font:12px sans-serif;fill:#222}.b{font-weight:bold;font-size:14px}.g{stroke:#ccc;stroke-width:1}"
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="What a claim, a poll and a page take, by the number of tasks">\n<style>{style}</style>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{inside}\n</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--keep", type=Path, help="a folder with databases that are filled once")
    parser.add_argument("--picture", type=Path, default=Path("docs/growth.svg"))
    given = parser.parse_args()
    sizes = [int(one) for one in given.sizes.split(",")]
    found: dict[str, dict[int, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="growth-") as temporary:
        folder = (given.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for engine in ENGINES:
            found[engine] = {}
            for n in sizes:
                with address(engine, n, folder) as url:
                    found[engine][n] = asyncio.run(measure(url, n))
    print(machine())
    for engine, by_size in found.items():
        print(f"\n| {ENGINES[engine]}, ms at the median | " + " | ".join(f"{n:,}" for n in sizes) + " |")
        print("| --- |" + " ---: |" * len(sizes))
        for name in next(iter(by_size.values())):
            print(f"| {name} | " + " | ".join(f"{by_size[n][name]:.2f}" for n in sizes) + " |")
    given.picture.write_text(picture(found, sizes))


if __name__ == "__main__":
    main()
