"""Clients generated from the committed description work, and other people's tools find nothing wrong with it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from app.provider.simulator import Server, Simulator, serve
from tests.test_operation import Process, environment, program
from tests.world import APP, SECRET, sqlite_url

ROOT = Path(__file__).parents[1]
DESCRIPTION = ROOT / "docs" / "openapi.json"
HERE = ROOT / "tests" / "clients"
NODE_TOOLS = HERE / "node_modules" / ".bin"
TSC = (NODE_TOOLS / "tsc", "--strict", "--target", "es2022", "--skipLibCheck")
PYTHON_TOOLS = ROOT / ".venv" / "clients" / "bin"

needs_node = pytest.mark.skipif(
    not (NODE_TOOLS / "spectral").exists(), reason="NO NODE TOOLS: install Node and npm, then `make clients`"
)
needs_python_tools = pytest.mark.skipif(
    not (PYTHON_TOOLS / "openapi-python-client").exists(), reason="NO CLIENT GENERATOR: run `make clients`"
)

USE = """
import sys

from recordings import AuthenticatedClient
from recordings.api.events import list_events
from recordings.api.tasks import get_task, list_tasks, refresh_task, register_task
from recordings.models import Awaited, Problem, Task, TaskRequest, TaskRequestLabels, Tracking

url, task_id = sys.argv[1:]
labels = TaskRequestLabels.from_dict({"team": "support"})
with AuthenticatedClient(url, token="secret-of-the-writers-key", raise_on_unexpected_status=True) as client:
    registered = register_task.sync(client=client, body=TaskRequest(task_id=task_id, labels=labels))
    assert isinstance(registered, Task), registered
    task = registered
    while task.tracking is Tracking.ACTIVE:
        task = get_task.sync(task_id, client=client, wait=2, until=Awaited.SETTLED)
        assert isinstance(task, Task), task
        refresh_task.sync(task_id, client=client)
    (listed,) = list_tasks.sync(client=client, label=["team:support"]).items
    assert listed.task_id == task_id
    events = [event.type_.value for event in list_events.sync(client=client).items]
    missing = get_task.sync("0" * 16, client=client)
    assert isinstance(missing, Problem), missing
    print(task.outcome.value, task.files[0].file_url, events[0], "task.settled" in events, missing.code.value)
"""


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, seconds: float = 60) -> str:
    """What a command says; it must succeed."""
    path = f"{PYTHON_TOOLS}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": path, "HOME": str(cwd), **(env or {})},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def spectral(*descriptions: Path) -> str:
    """What Spectral finds, as JSON, down to hints."""
    command = (NODE_TOOLS / "spectral", "lint", "--quiet", "--format", "json", "--ruleset", HERE / "spectral.yaml")
    return run(*command, *descriptions, cwd=HERE)


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serve(Simulator({APP: SECRET}, speed=100)) as server:
        yield server


@pytest.fixture
async def served(tmp_path: Path, provider: Server) -> AsyncIterator[Process]:
    sqlite_url(tmp_path / "data" / "recordings.db")
    settings = environment(tmp_path, provider.url, API_KEYS="writer:write:secret-of-the-writers-key")
    async with program(tmp_path, "serve", "--port", "0", env=settings) as process:
        await process.until_ready()
        yield process


@needs_python_tools
async def test_a_generated_python_client_registers_waits_and_lists(
    tmp_path: Path, served: Process, provider: Server
) -> None:
    said = run(
        "openapi-python-client", "generate", "--path", DESCRIPTION, "--output-path", tmp_path / "recordings",
        "--meta", "none", cwd=tmp_path,
    )  # fmt: skip
    assert "arning" not in said, said
    recording = provider.simulator.start("normal", duration=100, upload=100)
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    told = await asyncio.to_thread(run, PYTHON_TOOLS / "python", "use.py", served.url, recording, cwd=tmp_path)
    outcome, url, first, settled, missing = told.split()
    assert (outcome, first, settled, missing) == ("uploaded", "task.registered", "True", "not_found")
    assert url.startswith("https://bucket.example/")


@needs_node
def test_generated_types_compile_and_refuse_what_is_wrong(tmp_path: Path) -> None:
    run(NODE_TOOLS / "openapi-typescript", DESCRIPTION, "-o", tmp_path / "api.ts", cwd=tmp_path)
    (tmp_path / "check.ts").write_text((HERE / "check.ts").read_text(encoding="utf-8"), encoding="utf-8")
    run(*TSC, "--noEmit", "check.ts", cwd=tmp_path)


@needs_node
def test_spectral_complains_of_a_broken_description_and_not_of_ours(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    ours = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    nameless = {
        "tags": ["tasks"],
        "description": "It has no operationId.",
        "responses": {"204": {"description": "No."}},
    }
    broken.write_text(json.dumps(ours | {"paths": {"/": {"get": nameless}}, "components": {}, "webhooks": {}}))
    found = json.loads(spectral(DESCRIPTION, broken))
    assert [(fault["code"], fault["source"]) for fault in found] == [("operation-operationId", str(broken))]


def shown(language: str) -> str:
    """The code of the README in this language, of the section for callers."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Use it from your service")[2]
    (found,) = re.findall(rf"```{language}\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return str(found)


async def tried(served: Process, provider: Server, *command: str | Path, cwd: Path) -> str:
    """What the code says of a recording that has just ended."""
    recording = provider.simulator.start("normal", duration=1, upload=1)
    given = {"URL": served.url, "KEY": "secret-of-the-writers-key", "TASK_ID": recording}
    return await asyncio.to_thread(run, *command, cwd=cwd, env=given)


@pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: the README's first example was NOT tried")
async def test_the_readmes_curl_works(tmp_path: Path, served: Process, provider: Server) -> None:
    assert await tried(served, provider, "sh", "-euc", shown("sh"), cwd=tmp_path) == '"outcome":"uploaded"\n'


async def test_the_readmes_python_works(tmp_path: Path, served: Process, provider: Server) -> None:
    given = "import os\nURL, KEY, TASK_ID = os.environ['URL'], os.environ['KEY'], os.environ['TASK_ID']\n"
    (tmp_path / "use.py").write_text(given + shown("python"), encoding="utf-8")
    said = await tried(served, provider, sys.executable, "use.py", cwd=tmp_path)
    assert said.startswith("uploaded ['https://bucket.example/")


@needs_node
async def test_the_readmes_typescript_works(tmp_path: Path, served: Process, provider: Server) -> None:
    given = "declare const process: { env: Record<string, string> };\nexport {};\n"
    given += "const { URL: URL_OF_SERVICE, KEY, TASK_ID } = process.env;\n"
    (tmp_path / "use.mts").write_text(given + shown("ts"), encoding="utf-8")
    await asyncio.to_thread(run, *TSC, "--module", "nodenext", "use.mts", cwd=tmp_path)
    said = await tried(served, provider, "node", "use.mjs", cwd=tmp_path)
    assert "uploaded" in said
    assert "https://bucket.example/" in said
