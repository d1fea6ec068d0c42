"""The dashboard in a real browser, on a real service that follows the simulated provider."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from app.core.recording import FileStatus, Status
from app.provider.simulator import Simulator, send_callbacks, serve
from app.settings import load_settings
from app.wiring import open_service
from tests.browser import PHONE, SOON, is_too_wide, needs_browser, open_browser, open_page, violations
from tests.test_operation import Process, environment, program
from tests.world import APP, SECRET, observe, open_client, register, seen_file, sqlite_url, task_id

pytestmark = [needs_browser, pytest.mark.asyncio(loop_scope="module")]  # one browser for all

CALLBACK_SECRET = "callback-secret-of-app-1"
READ_KEY, WRITE_KEY = "secret-of-read-keys", "secret-of-write-keys"
KEYS = f"reader:read:{READ_KEY},writer:write:{WRITE_KEY}"

HTML = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
BAD_URL = "javascript:window.hacked=1"


@dataclass
class Place:
    """A service that listens, and the provider that it asks."""

    process: Process
    simulator: Simulator

    @property
    def url(self) -> str:
        return self.process.url

    async def register(self, *task_ids: str) -> None:
        async with httpx.AsyncClient(base_url=self.url) as client:
            for one in task_ids:
                assert (await client.post("/v1/tasks", json={"task_id": one})).status_code == 201

    async def settled(self, one: str) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=40) as client:
            task = (await client.get(f"/v1/tasks/{one}?wait=30")).json()
            assert task["tracking"] == "settled", task


@asynccontextmanager
async def following(folder: Path, port: str = "0", **env: str) -> AsyncIterator[Place]:
    simulator = Simulator({APP: SECRET}, callback_secrets={APP: CALLBACK_SECRET}, speed=10)
    async with serve(simulator) as provider:
        sqlite_url(folder / "data" / "recordings.db")
        env = environment(folder, provider.url, ZEGO_CALLBACK_SECRET=CALLBACK_SECRET, **env)
        async with program(folder, "serve", "--port", port, env=env) as process:
            await process.until_ready()
            async with send_callbacks(simulator, f"{process.url}/v1/callbacks/zego"):
                yield Place(process, simulator)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with following(tmp_path) as place:
        yield place


@pytest_asyncio.fixture(loop_scope="module")
async def hostile(tmp_path: Path) -> AsyncIterator[Place]:
    """A service whose task has names and addresses that somebody thought up to do harm, or to break the layout."""
    database_url = sqlite_url(tmp_path / "data" / "recordings.db")
    settings = load_settings(database_url=database_url, zego_app_id=APP, zego_server_secret=SECRET)
    async with open_service(settings) as service, open_client(service) as client:
        await register(client, labels={"note": HTML, "long": "x" * 255})
        harm = {"user_id": HTML, "user_name": HTML, "stream_id": "s" * 200, "file_url": BAD_URL}
        files = [
            seen_file("f" * 300, FileStatus.UPLOADED, **harm),
            seen_file(HTML, FileStatus.LOST, **harm | {"file_url": " JaVaScRiPt:alert(1)"}),
            seen_file("good", FileStatus.UPLOADED, **harm | {"file_url": "https://bucket.example/good.mp4"}),
            seen_file("data", FileStatus.UPLOADED, **harm | {"file_url": "data:text/html,<script>alert(1)</script>"}),
        ]
        await observe(service, task_id(), Status.COMPLETED, *files, room_id=HTML, ended_at=service.clock.now())
    async with following(tmp_path) as place:
        yield place


async def test_without_tasks_the_page_says_how_to_begin_and_makes_way_for_the_first(
    place: Place, browser: Browser
) -> None:
    async with open_page(browser, place.url) as page:
        await expect(page.locator("#begin pre")).to_contain_text(f"curl -s {place.url}/v1/tasks", timeout=SOON)
        await expect(page.locator("#newest")).to_be_hidden()
        await expect(page.locator("#health")).to_contain_text("All is well")
        assert await violations(page) == []
        one = place.simulator.start("normal", duration=6000)
        await place.register(one)
        await expect(page.locator("#newest tbody tr")).to_contain_text(one, timeout=SOON)
        await expect(page.locator("#begin")).to_be_hidden(timeout=SOON)


async def test_a_recording_is_seen_to_settle_without_a_reload(place: Place, browser: Browser) -> None:
    one = place.simulator.start("normal", duration=40, upload=20)  # ten times as fast
    async with open_page(browser, place.url) as page:
        await expect(page.locator("#live")).to_have_text("Live", timeout=SOON)
        await page.evaluate("() => { window.same = true; }")
        await place.register(one)
        line = page.locator("#newest tbody tr", has_text=one)
        # On a busy machine the page may be slower than the recording.
        await expect(line).to_contain_text(re.compile("ongoing|uploaded"), timeout=SOON)
        link = line.get_by_role("link")
        await link.focus()
        await expect(line).to_contain_text("uploaded", timeout=SOON)
        await expect(link).to_be_focused()  # what is redrawn keeps the reader's place
        await expect(page.locator("#changes")).to_contain_text("task.settled", timeout=SOON)
        await expect(page.locator("#outcomes")).to_contain_text("1 uploaded", timeout=SOON)
        assert await page.locator("#outcomes svg rect").count() == 1
        await page.get_by_role("button", name="Day").click()
        await expect(page.locator("#outcomes svg")).to_have_attribute("aria-label", re.compile("24 hours: 1 uploaded"))
        assert await page.evaluate("() => window.same")


async def test_what_needs_a_person_is_listed_and_budget_and_callbacks_are_counted(
    place: Place, browser: Browser
) -> None:
    one = place.simulator.start("lost_file", duration=20, upload=10)
    await place.register(one)
    async with open_page(browser, place.url) as page:
        await expect(page.locator("#attention tbody tr", has_text=one)).to_contain_text("lost", timeout=SOON)
        await expect(page.locator("#apps")).to_contain_text(re.compile(r"Calls in use\s*\d+ of 10"), timeout=SOON)
        await expect(page.locator("#apps")).to_contain_text("Due now")
        await expect(page.locator("#callbacks")).to_contain_text(re.compile(r"Lost, last hour\s*0 \(0 of ends"))
        await page.reload()
        await expect(page.locator("#callbacks")).to_contain_text(
            re.compile(r"Accepted, last 24 h\s*[1-9]"), timeout=SOON
        )


async def test_webhooks_that_do_not_get_through_are_told(tmp_path: Path, browser: Browser) -> None:
    env = {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8", "WEBHOOK_ALLOWED_PORTS": "9"}
    async with following(tmp_path, **env) as place, open_page(browser, place.url) as page:
        webhooks = page.locator("#deliveries")
        await expect(webhooks).to_contain_text("0 subscriptions, 0 failing", timeout=SOON)
        async with httpx.AsyncClient(base_url=place.url) as client:
            wanted = {"name": "deaf", "url": "http://127.0.0.1:9/", "types": ["task.registered"]}
            answer = await client.post("/v1/subscriptions", json=wanted)
            assert answer.status_code == 201, answer.text
            await place.register(place.simulator.start("normal", duration=6000))
            for _ in range(150):
                if (await client.get("/v1/subscriptions")).json()["items"][0]["failing_since"]:
                    break
                await asyncio.sleep(0.1)
        await page.reload()
        await expect(webhooks).to_contain_text("1 subscription, 1 failing", timeout=SOON)
        await expect(webhooks).to_contain_text("deaf: failing since")
        await expect(webhooks).to_contain_text(re.compile(r"On their way\s*1"), timeout=SOON)
        assert await violations(page) == []


async def test_tasks_are_found_by_id_room_and_user(place: Place, browser: Browser) -> None:
    one = place.simulator.start("normal", duration=10, upload=10, room_id="a room/with & odd?letters")
    other = place.simulator.start("normal", duration=6000)
    await place.register(one, other)
    await place.settled(one)

    async def search(wanted: str) -> None:
        await page.get_by_role("searchbox").fill(wanted)
        await page.get_by_role("button", name="Search").click()

    async with open_page(browser, place.url) as page:
        await expect(page.locator("#live")).to_have_text("Live", timeout=SOON)
        await search("a room/with & odd?letters")
        await expect(page.locator("main tbody tr")).to_contain_text(one, timeout=SOON)
        await expect(page.get_by_role("heading", name="In this room")).to_be_visible()
        await search("user_1")
        await expect(page.get_by_role("heading", name="With a file of this user")).to_be_visible(timeout=SOON)
        await expect(page.locator("main tbody tr", has_text=one)).to_be_visible()
        assert await violations(page) == []
        await search("nobody")
        await expect(page.get_by_text("No registered task has this")).to_be_visible(timeout=SOON)
        await search(other)
        await expect(page.get_by_role("heading", level=1)).to_have_text(other, timeout=SOON)
        assert page.url.endswith(f"#/tasks/{other}")
        await page.go_back()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("nobody")
        await page.goto("/#/tasks/unknown-unknown-")
        await expect(page.get_by_role("alert")).to_contain_text("No task is registered")
        assert await violations(page) == []


async def test_a_tasks_life_is_drawn_and_it_can_be_asked_about(place: Place, browser: Browser) -> None:
    one = place.simulator.start("normal", duration=30, upload=20)
    await place.register(one)
    await place.settled(one)
    async with open_page(browser, place.url, f"/#/tasks/{one}") as page:
        names = page.locator(".track-name")
        await expect(names).to_have_text(["Status", "Recorded", "File of user_1", "Callbacks", "Polls"], timeout=SOON)
        tracks = page.locator("svg.track")
        told = [await tracks.nth(number).locator("rect title").all_text_contents() for number in range(3)]
        words = [[one.partition(",")[0] for one in track] for track in told]
        assert words[0][0] == "pending"
        assert words[0][-1] == "completed"
        assert words[1] == ["recording"]
        assert words[2][-1] == "uploaded"
        assert await tracks.nth(3).locator("circle").count() >= 2  # callbacks: created, ended, uploaded
        assert await tracks.nth(4).locator("circle").count() >= 2
        await expect(page.locator("main")).to_contain_text("callback.received")
        await expect(page.get_by_role("link", name=re.compile("^https:..bucket.example"))).to_be_visible()
        polls = await page.locator("dd", has_text=", last").inner_text()
        await page.get_by_role("button", name="Ask the provider now").click()
        await expect(page.locator("#told")).to_have_text("This is what the provider says now.", timeout=SOON)
        assert await page.locator("dd", has_text=", last").inner_text() != polls


async def test_everything_is_reached_by_keyboard_alone(place: Place, browser: Browser) -> None:
    one = place.simulator.start("normal", duration=6000, room_id="room")
    await place.register(one)
    async with open_page(browser, place.url) as page:
        await expect(page.locator("#newest tbody tr")).to_contain_text(one, timeout=SOON)

        async def tab_to(role: str, name: str) -> None:
            wanted = page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
            for _ in range(25):
                await page.keyboard.press("Tab")
                if await wanted.evaluate("it => it === document.activeElement && it.matches(':focus-visible')"):
                    return
            raise AssertionError(f"Tab never comes to {name}")

        await tab_to("link", "Skip to the content")
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await tab_to("button", "Day")
        await page.keyboard.press("Space")
        await expect(page.get_by_role("button", name="Day")).to_have_attribute("aria-pressed", "true")
        await page.reload()
        await tab_to("searchbox", "Task id, room or user")
        await page.keyboard.type("room")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="In this room")).to_be_visible(timeout=SOON)
        await expect(page.locator("main")).to_be_focused()
        await tab_to("link", one)
        await page.keyboard.press("Enter")
        await expect(page.locator("svg.track").first).to_be_visible(timeout=SOON)
        await tab_to("button", "Ask the provider now")
        await page.keyboard.press("Enter")
        await expect(page.locator("#told")).to_have_text("This is what the provider says now.", timeout=SOON)
        await expect(page.get_by_role("button", name="Ask the provider now")).to_be_focused()


async def test_strings_of_strangers_stay_text_and_break_no_layout(hostile: Place, browser: Browser) -> None:
    paths = ["/", f"/#/tasks/{task_id()}", f"/#/search?{httpx.QueryParams({'q': HTML})}"]
    for path in paths:
        async with open_page(browser, hostile.url, path, viewport=PHONE) as page:
            await expect(page.locator("main")).to_contain_text(task_id(), timeout=SOON)
            await expect(page.locator("main")).to_contain_text(HTML)
            await expect(page.locator("#live")).to_have_text("Live", timeout=SOON)
            assert await page.locator("main img, main script").count() == 0
            assert await page.evaluate("() => window.hacked") is None
            links = await page.locator("a").evaluate_all("links => links.map(it => it.href)")
            assert [one for one in links if not one.startswith(("http://", "https://"))] == []
            if "tasks" in path:
                assert "https://bucket.example/good.mp4" in links
                await expect(page.locator("main")).to_contain_text(BAD_URL)
            assert not await is_too_wide(page), path
            assert await violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_view_breaks_a_rule_of_accessibility_or_must_be_scrolled_sideways_on_a_phone(
    place: Place, browser: Browser, scheme: str
) -> None:
    lives = ["normal", "backup", "lost_file", "no_files", "idle_end"]
    tasks = [place.simulator.start(life, duration=10, upload=10) for life in lives]
    running = place.simulator.start("normal", duration=6000)
    await place.register(*tasks, running, "mistyped-mistype")
    for one in tasks[:3]:
        await place.settled(one)
    backgrounds = set()
    for size in (PHONE, {"width": 1280, "height": 900}):
        async with open_page(browser, place.url, color_scheme=scheme, viewport=size) as page:
            await expect(page.locator("#newest tbody tr")).to_have_count(7, timeout=SOON)
            await expect(page.locator("#attention tbody tr").first).to_be_visible(timeout=SOON)
            await expect(page.locator("#outcomes")).to_contain_text("uploaded", timeout=SOON)
            await page.locator("#outcomes summary").click()
            backgrounds.add(await page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
            assert await violations(page) == []
            assert not await is_too_wide(page)
            for one in (tasks[2], running):
                await page.goto(f"/#/tasks/{one}")
                await expect(page.get_by_role("heading", level=1)).to_have_text(one)
                await expect(page.locator("svg.track").first).to_be_visible(timeout=SOON)
                assert await violations(page) == []
                assert not await is_too_wide(page)
    assert backgrounds == {"rgb(15, 23, 27)" if scheme == "dark" else "rgb(245, 247, 248)"}


async def test_the_key_is_asked_for_once_and_kept_in_the_session_alone(tmp_path: Path, browser: Browser) -> None:
    async with following(tmp_path, API_KEYS=KEYS) as place:
        async with httpx.AsyncClient(base_url=place.url, headers={"Authorization": f"Bearer {WRITE_KEY}"}) as client:
            one = place.simulator.start("normal", duration=6000)
            assert (await client.post("/v1/tasks", json={"task_id": one})).status_code == 201
        for scheme in ("light", "dark"):
            async with open_page(browser, place.url, color_scheme=scheme) as page:
                await expect(page.get_by_label("Key", exact=True)).to_be_focused(timeout=SOON)
                assert await violations(page) == []
        async with open_page(browser, place.url) as page:
            for wrong in ("wrong", "ключ", "x" * 300):
                await page.get_by_label("Key", exact=True).fill(wrong)
                await page.keyboard.press("Enter")
                await expect(page.get_by_role("alert")).to_have_text("This key is not known here.", timeout=SOON)
            await page.get_by_label("Key", exact=True).fill(READ_KEY)
            await page.keyboard.press("Enter")
            await expect(page.locator("#newest tbody tr")).to_contain_text(one, timeout=SOON)
            await expect(page.locator("#live")).to_have_text("Live", timeout=SOON)
            kept = await page.evaluate("() => [document.cookie, localStorage.length, Object.values(sessionStorage)]")
            assert kept == ["", 0, [READ_KEY]]
            assert READ_KEY not in page.url
            await page.reload()
            await expect(page.locator("#newest tbody tr")).to_contain_text(one, timeout=SOON)
            await page.goto(f"/#/tasks/{one}")
            await page.get_by_role("button", name="Ask the provider now").click()
            await expect(page.locator("#told")).to_contain_text("takes the role write", timeout=SOON)
            await page.get_by_role("button", name="Forget the key").click()
            await expect(page.get_by_label("Key", exact=True)).to_be_visible()
            assert await page.evaluate("() => sessionStorage.length") == 0
            assert one not in await page.locator("main").inner_text()


async def test_the_page_comes_back_after_the_service_was_away_and_misses_nothing(
    tmp_path: Path, browser: Browser
) -> None:
    async with following(tmp_path) as place:
        port = place.url.rpartition(":")[2]
        async with open_page(browser, place.url) as page:
            await expect(page.locator("#live")).to_have_text("Live", timeout=SOON)
            assert await place.process.end() == 0
            await expect(page.locator("#live")).to_have_text("Reconnecting …", timeout=SOON)
            asked: list[str] = []
            page.on("request", lambda it: asked.append(it.url) if it.url.endswith("/stream") else None)
            await asyncio.sleep(4)
            assert len(asked) <= 4, "it is impatient"
            async with following(tmp_path, port=port) as again:
                one = again.simulator.start("normal", duration=6000)
                await again.register(one)
                await expect(page.locator("#live")).to_have_text("Live", timeout=40_000)
                await expect(page.locator("#changes")).to_contain_text(one, timeout=SOON)
                await expect(page.locator("#newest")).to_contain_text(one, timeout=SOON)
