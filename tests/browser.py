"""A real browser for the pages. What a page asks of another host fails the test, and so does every fault on it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The suggestions of an address bar that nobody sees take two processes a page and a second. Chromium heeds the
    # last list alone: what follows them is Playwright's, as far as it matters here.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,HttpsUpgrades,MediaRouter,OptimizationHints,PaintHolding",
]
AXE = Path(__file__).parent / "axe" / "axe.min.js"
PHONE = {"width": 360, "height": 740}

SOON = 15_000
"""Milliseconds in which a page shows what it should, on a machine that is busy with other tests."""

expect.set_options(timeout=SOON)

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install Debian's `chromium` to test the pages")


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def open_page(browser: Browser, url: str, path: str = "/", **context: Any) -> AsyncIterator[Page]:
    """A page in a session of its own. Answers that refuse are no faults; all else the console calls an error is."""
    foreign: list[str] = []
    faults: list[str] = []
    session = await browser.new_context(base_url=url, **context)
    page = await session.new_page()
    page.on("request", lambda it: None if it.url.startswith((url, "data:")) else foreign.append(it.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda it: faults.append(it.text) if it.type == "error" else None)
    await page.goto(path)
    yield page
    await session.close()
    assert not foreign, foreign
    faults = [fault for fault in faults if not fault.startswith("Failed to load resource: ")]
    assert not faults, faults


async def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it stands."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("() => axe.run(document)")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


async def is_too_wide(page: Page) -> bool:
    """Whether the page must be scrolled sideways."""
    wide: bool = await page.evaluate(
        "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return wide
