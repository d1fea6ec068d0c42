"""A service on a real socket, and the command line as a process beside it."""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
import uvicorn

from app.main import create_app
from app.settings import load_settings
from app.wiring import Service, open_service
from tests import forked
from tests.forked import Ran
from tests.world import APP, BARE, SECRET, sqlite_url

PROGRAM = str(Path(sys.executable).parent / "recording-status")
KEYS = {role: f"{role}-key-of-sixteen" for role in ("read", "write", "admin")}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Service]:
    """A service with keys; nothing polls."""
    settings = load_settings(
        database_url=sqlite_url(tmp_path / "served.db"),
        zego_app_id=APP,
        zego_server_secret=SECRET,
        api_keys=",".join(f"{role}:{role}:{secret}" for role, secret in KEYS.items()),
        zego_api_url="http://127.0.0.1:9",
        secret_key="secret-key",
        webhook_allow_http=True,
        webhook_allowed_networks="127.0.0.0/8",
        webhook_allowed_ports="1,80,443",
    )
    async with open_service(settings) as service:
        yield service


@pytest.fixture
async def url(served: Service) -> AsyncIterator[str]:
    """Where ``served`` listens."""
    config = uvicorn.Config(create_app(served), log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        following = asyncio.create_task(served.follower.run())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        served.stop()
        server.should_exit = True
        await serving
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@dataclass
class Command:
    """Runs the command line in a folder, with this environment alone."""

    folder: Path
    env: dict[str, str]

    async def __call__(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
        ran = await forked.run(*arguments, folder=self.folder, env={**self.env, **(env or {})}, stdin=stdin)
        assert "Traceback" not in ran.said, ran.said
        return ran

    async def start(self, *arguments: str, env: Mapping[str, str] = MappingProxyType({})) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            PROGRAM, *arguments, cwd=self.folder, env={**self.env, **env}, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )


@pytest.fixture
def alone(tmp_path: Path) -> Command:
    """The command line where no service is."""
    return Command(tmp_path, BARE)


@pytest.fixture
def command(tmp_path: Path, url: str) -> Command:
    """The command line beside ``served``, with the admin's key."""
    env = {**BARE, "RECORDING_STATUS_URL": url, "RECORDING_STATUS_KEY": KEYS["admin"]}
    return Command(tmp_path, env)
