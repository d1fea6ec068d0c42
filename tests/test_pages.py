"""The pages in a real browser, with no way to the outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, async_playwright

from tests.test_operation import Process, environment, program

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


async def test_a_key_that_is_entered_is_used_and_a_link_leads_to_an_operation(tmp_path: Path, page: Page) -> None:
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    env = environment(tmp_path, API_KEYS="reader:read:secret-of-readers-keys")
    async with program(tmp_path, "serve", "--port", "0", env=env) as process:
        await process.until_ready()
        await page.goto(f"{process.url}/docs#/tasks/listTasks")
        operation = page.locator("#operations-tasks-listTasks.is-open")
        await operation.wait_for(timeout=20_000)
        picture = page.locator(".introduction img")
        assert await picture.evaluate("image => image.naturalWidth") > 0
        for key, state in (("of-nobody", "does not know"), ("secret-of-readers-keys", "In use")):
            await page.get_by_label("Your key").fill(key)
            await page.get_by_role("button", name="Use it below").click()
            await page.get_by_text(state).wait_for(timeout=5_000)
        assert faults == []
        await operation.get_by_role("button", name="Try it out").click()
        await operation.get_by_role("button", name="Execute").click()
        await operation.locator(".live-responses-table").get_by_text('"items": []').wait_for(timeout=10_000)
        assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert [url for url in asked if not url.startswith((process.url, "data:"))] == []
        assert faults == []


async def test_every_problem_code_has_a_place_on_its_page(demonstration: Process, page: Page) -> None:
    await page.goto(f"{demonstration.url}/docs/problems#not_pollable")
    assert await page.locator("#not_pollable").is_visible()
