"""Make the screenshots in docs/screenshots: every page, on a desktop, on a phone and in the dark.

    python docs/screenshots.py [--quick] [--folder docs/screenshots]

A service of its own follows the simulated provider for a minute before they are taken; with --quick for some seconds of
a provider that lives thirty times as fast, as CI does. Fails if a page reports an error, asks another host, does not
come to show its data, or makes too large a picture, and if other pictures are made than stand in docs/screenshots. What
is in them is for people to look at. Needs a `chromium`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Page

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.provider.simulator import Simulator, send_callbacks, serve
from tests.browser import open_browser, open_page
from tests.test_operation import environment, program
from tests.world import APP, SECRET

FOLDER = Path(__file__).parent / "screenshots"
LARGEST = 250 * 1024
QUICK = 30
KEY = "secret-of-nobody"
CALLBACK_SECRET = "callback-secret-of-app-1"
WHILE = 75.0
"""Seconds until there is something to see; the chart of the last hour has bars of a minute."""

KINDS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
LIVES = ["normal"] * 6 + ["paused", "idle_end", "backup", "lost_file", "no_files", "growing"] + ["normal"] * 6


@dataclass(frozen=True)
class Camera:
    """Takes pictures of what a page shows."""

    page: Page
    folder: Path

    async def shoot(self, name: str, until: str) -> None:
        """Of each kind, once there is something at ``until``."""
        await self.page.locator(until).first.wait_for(timeout=30_000)
        await self.page.wait_for_load_state("networkidle" if name == "documentation" else "load")
        for kind, looks in KINDS.items():
            await self.page.set_viewport_size(looks["viewport"])
            await self.page.emulate_media(color_scheme=looks["color_scheme"])
            file = self.folder / f"{name}-{kind}.png"
            await self.page.screenshot(path=file, animations="disabled")
            size = file.stat().st_size
            print(f"{file.name}: {size // 1024} KiB")
            assert size <= LARGEST, f"{file} is larger than {LARGEST} bytes"


def main(folder: Path, speed: float) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    expected = {file.name for file in FOLDER.glob("*.png")}
    asyncio.run(take_all(folder, speed))
    made = {file.name for file in folder.glob("*.png")}
    if folder != FOLDER:
        assert made == expected, f"other pictures than in {FOLDER}: {sorted(made ^ expected)}"


async def take_all(folder: Path, speed: float) -> None:
    async with AsyncExitStack() as stack:
        url, simulator = await _start(stack, speed)
        browser = await stack.enter_async_context(open_browser())
        page = await stack.enter_async_context(open_page(browser, url))
        camera = Camera(page, folder)
        await camera.shoot("key", "#key")
        await page.locator("#key").fill(KEY)
        await page.keyboard.press("Enter")
        await camera.shoot("begin", "#begin pre")
        tasks = await _live(url, simulator, speed)
        await camera.shoot("overview", "#attention tbody tr")
        for name, path, until in (
            ("task", f"/#/tasks/{tasks[LIVES.index('growing')]}", "svg.track"),
            ("search", "/#/search?q=user_1", "main tbody tr"),
            ("documentation", "/docs", ".opblock"),
        ):
            await page.goto(path)
            await camera.shoot(name, until)


async def _start(stack: AsyncExitStack, speed: float) -> tuple[str, Simulator]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    simulator = Simulator({APP: SECRET}, callback_secrets={APP: CALLBACK_SECRET}, speed=speed)
    simulator.faults = simulator.faults.merged({"rtt": 0.1, "jitter": 0.05})
    provider = await stack.enter_async_context(serve(simulator))
    env = environment(folder, provider.url, ZEGO_CALLBACK_SECRET=CALLBACK_SECRET, API_KEYS=f"screenshots:write:{KEY}")
    process = await stack.enter_async_context(program(folder, "serve", "--port", "0", env=env))
    await process.until_ready()
    await stack.enter_async_context(send_callbacks(simulator, f"{process.url}/v1/callbacks/zego"))
    return process.url, simulator


async def _live(url: str, simulator: Simulator, speed: float) -> list[str]:
    """Let recordings begin and end, one after the other; the last ones go on."""
    tasks = []
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for number, life in enumerate(LIVES):
            long = number >= len(LIVES) - 4
            task = simulator.start(
                life, duration=6000 if long else 12 + number % 5, upload=8, room_id=f"support-{4100 + number}"
            )
            labels = {"team": "support", "call": str(90210 + number)}
            (await client.post("/v1/tasks", json={"task_id": task, "labels": labels})).raise_for_status()
            tasks.append(task)
            await asyncio.sleep(WHILE / len(LIVES) / speed)
        (await client.post("/v1/tasks", json={"task_id": "Mistyped-TaskId-"})).raise_for_status()
    return tasks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    main(given.folder, QUICK if given.quick else 1)
