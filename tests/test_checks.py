"""`check`: what is wrong, and what to do about it; and a command line that imports only what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from app.checks import Dates, Finding, _skew, configuration
from app.clock import wall_time
from app.provider.simulator import Server, Simulator, serve
from app.settings import load_settings
from tests.test_operation import environment, run
from tests.world import APP, BARE, SECRET

KEYS = "me:admin:a-secret-of-sixteen"


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serve(Simulator({APP: SECRET})) as server:
        yield server


async def findings(folder: Path, env: dict[str, str]) -> tuple[int, dict[str, Finding]]:
    code, said = await run(folder, "check", "--json", env=env)
    found = [Finding(**json.loads(line)) for line in said.splitlines()]
    return code, {one.about: one for one in found}


async def test_a_good_configuration_has_exit_code_0_and_changes_nothing(tmp_path: Path, provider: Server) -> None:
    env = environment(
        tmp_path,
        provider.url,
        ZEGO_CALLBACK_SECRET="callback-secret",
        API_KEYS=KEYS,
        PUBLIC_URL="https://status.example.com",
    )
    code, found = await findings(tmp_path, env)
    assert code == 0
    assert {one.level for one in found.values()} == {"ok"}
    assert f"provider {APP} clock" in found
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    assert (await run(tmp_path, "migrate", env=env))[0] == 0
    code, found = await findings(tmp_path, env)
    assert (code, found["schema"].level) == (0, "ok")
    assert provider.simulator.stats()["apps"][str(APP)]["DescribeRecordStatus"]["calls"] == 0


async def test_each_fault_is_one_line_with_what_to_do(tmp_path: Path, provider: Server) -> None:
    env = environment(tmp_path, provider.url, ZEGO_SERVER_SECRET="a-wrong-secret")
    code, said = await run(tmp_path, "check", env=env)
    assert code == 1
    lines = said.splitlines()
    for part in ("no callback secret", "no API_KEYS", "nobody else reaches", f"provider {APP}: refuses"):
        (line,) = [one for one in lines if part in one]
        assert " -> " in line
    assert [line for line in lines if line.startswith("ERROR")] == [one for one in lines if "refuses every" in one]
    assert "a-wrong-secret" not in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("given", "about", "part"),
    [
        ({"ZEGO_API_URL": "http://127.0.0.1:9"}, f"provider {APP}", "cannot_connect"),
        ({"DATABASE_URL": "postgresql://me:hidden@127.0.0.1:9/nothing"}, "database", "cannot be used"),
        ({"DATABASE_URL": "sqlite+aiosqlite:////dev/null/x.db"}, "database", "cannot be written"),
        ({"POLL_BUDGET": "0"}, "settings", "POLL_BUDGET"),
        ({"ZEGO_APP_ID": "", "ZEGO_SERVER_SECRET": ""}, "settings", "no app"),
    ],
)
async def test_what_stands_in_the_way_of_a_start_has_exit_code_1(
    tmp_path: Path, provider: Server, given: dict[str, str], about: str, part: str
) -> None:
    code, found = await findings(tmp_path, environment(tmp_path, provider.url) | given)
    assert (code, found[about].level) == (1, "error")
    assert part in found[about].found
    assert found[about].advice
    assert "hidden" not in str(found)


async def test_a_schema_that_is_not_there_is_found(tmp_path: Path, provider: Server) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/recordings.db").touch()
    code, found = await findings(tmp_path, environment(tmp_path, provider.url))
    assert (code, found["schema"].level) == (0, "warning")


@pytest.mark.parametrize(("ahead", "level"), [(0, "ok"), (-120, "warning"), (700, "error")])
async def test_the_providers_clock_is_read_from_its_answers(ahead: int, level: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        now = wall_time() + timedelta(seconds=ahead)
        return httpx.Response(200, headers={"Date": f"{now:%a, %d %b %Y %H:%M:%S} GMT"})

    dates = Dates(httpx.MockTransport(answer))
    async with httpx.AsyncClient(transport=dates) as client:
        await client.get("http://provider.example")
    assert dates.skew is not None
    assert abs(dates.skew - ahead) < 2
    found = _skew("clock", dates.skew, 540)
    assert found.level == level
    assert ("behind" in found.found) == (ahead < 0)


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("https://status.example.com", "ok"),
        ("http://status.example.com", "warning"),
        ("https://10.0.0.1", "warning"),
        ("https://localhost", "warning"),
        ("https://status", "warning"),
    ],
)
def test_an_address_that_the_provider_cannot_reach_is_found(url: str, level: str) -> None:
    settings = load_settings(zego_app_id=APP, zego_server_secret=SECRET, public_url=url)
    (found,) = [one for one in configuration(settings) if one.about == "way in"]
    assert found.level == level


def test_commands_that_talk_to_a_service_import_nothing_of_it() -> None:
    code = "import sys, app.start; app.start._talking(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "app.commands.importing" in modules
    assert not {"fastapi", "sqlalchemy", "uvicorn", "app.cli", "rich", "pygments"} & set(modules)


def test_serving_imports_what_it_needs_and_its_help_not_even_that() -> None:
    code = "import sys, app.start; app.start._own(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "app.cli" in modules
    assert not {"fastapi", "sqlalchemy", "uvicorn", "app.settings", "app.commands.service"} & set(modules)
    code = "import sys, app.imports as a\nwith a.for_life(): import app.serving, app.main as b\n"
    code += "b._doors(True, None, None); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fastapi" in modules
    unneeded = {"app.commands.cli", "app.commands.service", "app.checks", "app.provider.simulator"}
    unneeded |= {"alembic", "asyncpg", "cryptography", "sqlalchemy.orm", "rich", "pygments", "pydantic.v1"}
    assert not unneeded & set(modules)


async def test_help_names_every_command_and_shells_complete_them(tmp_path: Path) -> None:
    env = {**BARE}
    code, said = await run(tmp_path, "--help", env=env)
    assert code == 0
    for name in ("serve", "migrate", "check", "simulate", "tasks", "import", "export", "deliveries", "replay", "audit"):
        assert f" {name} " in said
    completing = {"_RECORDING_STATUS_COMPLETE": "complete_bash", "COMP_CWORD": "4"}
    words = {"COMP_WORDS": "recording-status tasks list --tracking se"}
    _, said = await run(tmp_path, env=env | completing | words)
    assert said.split() == ["settled"]
