"""Make the screenshots in docs/screenshots: every page, on a desktop, on a phone and in the dark.

A service of its own follows the simulated provider for a minute before they are taken. Needs a `chromium`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.provider.simulator import Simulator, send_callbacks, serve
from tests.browser import open_browser, open_page
from tests.test_operation import environment, program
from tests.world import APP, SECRET

FOLDER = Path(__file__).parent / "screenshots"
LARGEST = 150 * 1024
CALLBACK_SECRET = "callback-secret-of-app-1"
WHILE = 75.0
"""Seconds until there is something to see; the chart of the last hour has bars of a minute."""

KINDS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
LIVES = ["normal"] * 6 + ["paused", "idle_end", "backup", "lost_file", "no_files", "growing"] + ["normal"] * 6


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browser = await stack.enter_async_context(open_browser())
        url, simulator = await _start(stack, folder)
        await _shoot(browser, url, "begin", "/", "#begin pre")
        tasks = await _live(url, simulator)
        growing = tasks[LIVES.index("growing")]
        await _shoot(browser, url, "overview", "/", "#newest tbody tr")
        await _shoot(browser, url, "task", f"/#/tasks/{growing}", "svg.track")
        await _shoot(browser, url, "search", "/#/search?q=user_1", "main tbody tr")
        await _shoot(browser, url, "documentation", "/docs", ".opblock")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browser = await stack.enter_async_context(open_browser())
        url, _ = await _start(stack, folder, API_KEYS="screenshots:read:secret-of-nobody")
        await _shoot(browser, url, "key", "/", "#key")


async def _start(stack: AsyncExitStack, folder: Path, **env: str) -> tuple[str, Simulator]:
    simulator = Simulator({APP: SECRET}, callback_secrets={APP: CALLBACK_SECRET})
    simulator.faults = simulator.faults.merged({"rtt": 0.1, "jitter": 0.05})
    provider = await stack.enter_async_context(serve(simulator))
    env = environment(folder, provider.url, ZEGO_CALLBACK_SECRET=CALLBACK_SECRET, **env)
    process = await stack.enter_async_context(program(folder, "serve", "--port", "0", env=env))
    await process.until_ready()
    await stack.enter_async_context(send_callbacks(simulator, f"{process.url}/v1/callbacks/zego"))
    return process.url, simulator


async def _live(url: str, simulator: Simulator) -> list[str]:
    """Let recordings begin and end, one after the other; the last ones go on."""
    tasks = []
    async with httpx.AsyncClient(base_url=url) as client:
        for number, life in enumerate(LIVES):
            long = number >= len(LIVES) - 4
            task = simulator.start(
                life, duration=6000 if long else 12 + number % 5, upload=8, room_id=f"support-{4100 + number}"
            )
            labels = {"team": "support", "call": str(90210 + number)}
            (await client.post("/v1/tasks", json={"task_id": task, "labels": labels})).raise_for_status()
            tasks.append(task)
            await asyncio.sleep(WHILE / len(LIVES))
        (await client.post("/v1/tasks", json={"task_id": "Mistyped-TaskId-"})).raise_for_status()
    return tasks


async def _shoot(browser: Browser, url: str, name: str, path: str, until: str) -> None:
    for kind, context in KINDS.items():
        async with open_page(browser, url, path, **context) as page:
            await page.locator(until).first.wait_for(timeout=20_000)
            await asyncio.sleep(1.0)
            file = FOLDER / f"{name}-{kind}.png"
            await page.screenshot(path=file, animations="disabled")
            size = file.stat().st_size
            print(f"{file.relative_to(FOLDER.parents[1])}: {size // 1024} KiB")
            assert size <= LARGEST, f"{file} is larger than {LARGEST} bytes"


if __name__ == "__main__":
    asyncio.run(main())
