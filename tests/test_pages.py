"""The pages of the documentation in a real browser, and what their answers forbid it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from app.api.pages import KINDS, WEB
from tests.browser import needs_browser, open_browser, open_page
from tests.test_operation import Process, environment, program
from tests.world import BARE, sqlite_url

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one demonstration and one browser for all


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demonstration(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Process]:
    folder = tmp_path_factory.mktemp("demonstration")
    async with program(folder, "run", "--port", "0", env=BARE) as process:
        await process.until_ready()
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@needs_browser
async def test_the_documentation_works_without_any_other_host_and_says_that_all_is_simulated(
    demonstration: Process, browser: Browser
) -> None:
    async with open_page(browser, demonstration.url, "/docs") as page:
        await page.get_by_text("Register a task", exact=True).wait_for(timeout=20_000)
        assert await page.locator(".notice").inner_text() != ""
        await page.get_by_text("The process can do its work", exact=True).click()
        await page.get_by_role("button", name="Try it out").click()
        await page.get_by_role("button", name="Execute").click()
        await page.get_by_text('"simulated": true').first.wait_for(timeout=10_000)


@needs_browser
async def test_a_key_that_is_entered_is_used_and_a_link_leads_to_an_operation(tmp_path: Path, browser: Browser) -> None:
    sqlite_url(tmp_path / "data" / "recordings.db")
    env = environment(tmp_path, API_KEYS="reader:read:secret-of-readers-keys")
    async with program(tmp_path, "serve", "--port", "0", env=env) as process:
        await process.until_ready()
        async with open_page(browser, process.url, "/docs#/tasks/listTasks") as page:
            operation = page.locator("#operations-tasks-listTasks.is-open")
            await operation.wait_for(timeout=20_000)
            picture = page.locator(".introduction img")
            assert await picture.evaluate("image => image.naturalWidth") > 0
            for key, state in (("of-nobody", "does not know"), ("secret-of-readers-keys", "In use")):
                await page.get_by_label("Your key").fill(key)
                await page.get_by_role("button", name="Use it below").click()
                await page.get_by_text(state).wait_for(timeout=5_000)
            await operation.get_by_role("button", name="Try it out").click()
            await operation.get_by_role("button", name="Execute").click()
            await operation.locator(".live-responses-table").get_by_text('"items": []').wait_for(timeout=10_000)
            assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


@needs_browser
async def test_every_problem_code_has_a_place_on_its_page(demonstration: Process, browser: Browser) -> None:
    async with open_page(browser, demonstration.url, "/docs/problems#not_pollable") as page:
        assert await page.locator("#not_pollable").is_visible()


@needs_browser
async def test_the_dashboard_of_the_demonstration_says_that_all_is_simulated_and_shows_its_recordings(
    demonstration: Process, browser: Browser
) -> None:
    async with open_page(browser, demonstration.url) as page:
        await page.locator("#newest tbody tr").nth(4).wait_for(timeout=10_000)
        assert "Simulated" in await page.locator(".notice").inner_text()
        assert await page.locator("#newest tbody tr").count() == 5


async def test_every_file_of_the_pages_is_of_a_known_kind() -> None:
    kinds = {file.suffix for file in WEB.rglob("*") if file.is_file()}
    assert kinds - {""} == KINDS.keys()


async def test_pages_let_no_other_script_style_or_frame_in(demonstration: Process) -> None:
    async with httpx.AsyncClient(base_url=demonstration.url) as client:
        page = await client.get("/")
        policy = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
        script = await client.get("/assets/dashboard/main.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["cache-control"] == "no-cache"
        unchanged = await client.get("/assets/dashboard/main.js", headers={"If-None-Match": script.headers["etag"]})
        assert unchanged.status_code == 304
