"""The program as operators run it: real processes, signals, kill -9, two starts at once, bad settings."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.provider.simulator import Server, Simulator, serve
from tests import forked
from tests.world import APP, BARE, SECRET

PROGRAM = str(Path(sys.executable).parent / "recording-status")
READY = "recording-status is ready on "


class Process:
    """A running `recording-status`: where it listens, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.url, self.said = process, "", ""

    async def until_ready(self) -> None:
        assert self.process.stderr is not None
        async with asyncio.timeout(60):  # a second where nothing else runs
            while not self.url:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it ended before it was ready: {self.said}"
                self.said += line
                if line.startswith(READY):
                    self.url = line.removeprefix(READY).partition(",")[0]

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(12):
            _, rest = await self.process.communicate()
        self.said += rest.decode()
        assert self.process.returncode is not None
        return self.process.returncode


def environment(folder: Path, provider_url: str = "http://127.0.0.1:9", **more: str) -> dict[str, str]:
    return {
        **BARE,
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/data/recordings.db",
        "ZEGO_APP_ID": str(APP),
        "ZEGO_SERVER_SECRET": SECRET,
        "ZEGO_API_URL": provider_url,
        **more,
    }


@asynccontextmanager
async def program(folder: Path, *arguments: str, env: dict[str, str]) -> AsyncIterator[Process]:
    process = Process(
        await asyncio.create_subprocess_exec(PROGRAM, *arguments, cwd=folder, env=env, stdout=PIPE, stderr=PIPE)
    )
    try:
        yield process
    finally:
        await process.end(signal.SIGKILL)


async def run(folder: Path, *arguments: str, env: dict[str, str]) -> tuple[int, str]:
    """Run a command that is expected to end by itself."""
    ran = await forked.run(*arguments, folder=folder, env=env)
    return ran.code, ran.out + ran.said


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serve(Simulator({APP: SECRET})) as server:
        yield server


async def tasks_of(url: str) -> dict[str, dict[str, Any]]:
    async with httpx.AsyncClient(base_url=url) as client:
        return {task["task_id"]: task for task in (await client.get("/v1/tasks?limit=500")).json()["items"]}


async def register(url: str, task_ids: list[str]) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        response = await client.post("/v1/tasks/batch", json={"tasks": [{"task_id": task_id} for task_id in task_ids]})
        assert response.json()["created"] == len(task_ids)


async def until_polled(url: str, count: int, *, seconds: float) -> None:
    for _ in range(int(seconds * 10)):
        if sum(task["polling"]["poll_count"] > 0 for task in (await tasks_of(url)).values()) >= count:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"fewer than {count} tasks polled in {seconds} s")


def busiest(provider: Server) -> int:
    return provider.simulator.stats()["apps"][str(APP)]["DescribeRecordStatus"]["busiest_second"]


async def test_sigterm_lets_polls_under_way_finish_and_exits_with_0(tmp_path: Path, provider: Server) -> None:
    tasks = [provider.simulator.start("normal", duration=6000) for _ in range(15)]
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 1.0})
    async with program(tmp_path, "serve", "--port", "0", env=environment(tmp_path, provider.url)) as process:
        await process.until_ready()
        await register(process.url, tasks)
        await asyncio.sleep(0.7)
        began = time.monotonic()
        assert await process.end() == 0
        assert time.monotonic() - began < 10
    calls = provider.simulator.stats()["apps"][str(APP)]["DescribeRecordStatus"]["calls"]
    assert calls
    provider.simulator.faults = provider.simulator.faults.merged({"rtt": 0.0})
    async with program(tmp_path, "serve", "--port", "0", env=environment(tmp_path, provider.url)) as process:
        await process.until_ready()
        polled = await tasks_of(process.url)
        assert sum(task["polling"]["poll_count"] for task in polled.values()) >= calls


async def test_kill_9_loses_no_registration_and_restarting_keeps_the_limit(tmp_path: Path, provider: Server) -> None:
    tasks = [provider.simulator.start("normal", duration=6000) for _ in range(40)]
    env = environment(tmp_path, provider.url)
    for _ in range(2):
        async with program(tmp_path, "serve", "--port", "0", env=env) as process:
            await process.until_ready()
            if not await tasks_of(process.url):
                await register(process.url, tasks)
            await asyncio.sleep(0.8)
            await process.end(signal.SIGKILL)
    async with program(tmp_path, "serve", "--port", "0", env=env) as process:
        await process.until_ready()
        assert set(await tasks_of(process.url)) == set(tasks)
        await until_polled(process.url, 40, seconds=45)
        assert await process.end() == 0
    assert busiest(provider) <= 10


async def test_two_processes_may_start_at_once_on_one_sqlite_file_and_share_the_limit(
    tmp_path: Path, provider: Server
) -> None:
    tasks = [provider.simulator.start("normal", duration=6000) for _ in range(40)]
    env = environment(tmp_path, provider.url)
    async with (
        program(tmp_path, "serve", "--port", "0", env=env) as first,
        program(tmp_path, "serve", "--port", "0", env=env) as second,
    ):
        await asyncio.gather(first.until_ready(), second.until_ready())
        await register(first.url, tasks)
        await until_polled(second.url, 40, seconds=20)
        assert [await first.end(), await second.end()] == [0, 0]
    assert busiest(provider) <= 10


async def test_without_credentials_serve_stops_and_run_demonstrates(tmp_path: Path) -> None:
    env = {**BARE}
    code, said = await run(tmp_path, "serve", env=env)
    assert code == 2
    assert "ZEGO_APP_ID" in said
    async with program(tmp_path, "run", "--port", "0", env=env) as process:
        await process.until_ready()
        async with httpx.AsyncClient(base_url=process.url) as client:
            assert (await client.get("/readyz")).json()["simulated"] is True
        await until_polled(process.url, 5, seconds=10)
        assert await process.end() == 0
        assert "SIMULATED" in process.said
    assert [path.name for path in (tmp_path / "data").iterdir() if path.suffix == ".db"] == ["demo.db"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"LOG_LEVEL": "loud", "POLL_BUDGET": "0"}, ["LOG_LEVEL", "POLL_BUDGET"]),
        ({"DATABASE_URL": "mysql://nobody@127.0.0.1:9/nothing"}, ["DATABASE_URL"]),
        ({"API_KEYS": "a:admin:too-short", "HOST": "0.0.0.0"}, ["API_KEYS"]),
    ],
    ids=lambda given: ",".join(given),
)
async def test_a_bad_setting_stops_the_start_and_is_named(
    tmp_path: Path, given: dict[str, str], named: list[str]
) -> None:
    code, said = await run(tmp_path, "serve", "--port", "0", env=environment(tmp_path, **given))
    assert code == 2, said
    for name in named:
        assert name in said
    assert "Traceback" not in said
    assert SECRET not in said
    assert "too-short" not in said


async def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = await run(tmp_path, "serve", "--port", port, env=environment(tmp_path))
    assert code == 2
    assert port in said
    assert "Traceback" not in said
