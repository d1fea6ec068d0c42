"""The pages in a real browser, with no way to the outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, async_playwright

from tests.test_operation import Process, program

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install Debian's `chromium` to test the pages")


@pytest.fixture
async def demonstration(tmp_path: Path) -> AsyncIterator[Process]:
    async with program(tmp_path, "run", "--port", "0", env={"PATH": os.environ["PATH"]}) as process:
        await process.until_ready()
        yield process


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield await browser.new_page()
        await browser.close()


async def test_the_documentation_works_without_any_other_host_and_says_that_all_is_simulated(
    demonstration: Process, page: Page
) -> None:
    asked: list[str] = []
    faults: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    await page.goto(demonstration.url)
    await page.get_by_text("Register a task", exact=True).wait_for(timeout=20_000)
    assert page.url.endswith("/docs")
    assert await page.locator(".notice").inner_text() != ""
    await page.get_by_text("The process can do its work", exact=True).click()
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_role("button", name="Execute").click()
    await page.get_by_text('"simulated": true').first.wait_for(timeout=10_000)
    assert [url for url in asked if not url.startswith((demonstration.url, "data:"))] == []
    assert faults == []


async def test_every_problem_code_has_a_place_on_its_page(demonstration: Process, page: Page) -> None:
    await page.goto(f"{demonstration.url}/docs/problems#not_pollable")
    assert await page.locator("#not_pollable").is_visible()
