"""The world of the failure drill: the service in four processes, and all it stands on."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from bench import verdict, world
from bench.clients import SPEED
from bench.disturbances import Form
from bench.doors import Front, Gate, front, gate
from bench.stoppable import StoppablePostgres, stoppable_postgres
from bench.supervised import Process, supervised
from bench.world import APP_ID, RECORDING_STATUS, SECRET, START, Latency, Provider

LATENCY = Latency(0.05, jitter=0.15)
FAULTS = {"http_500": 0.01, "html": 0.01, "reset": 0.01, "garbage": 0.005, "system_error": 0.01, "hang": 0.005}
"""5 % of all calls."""

CALLBACK_FAULTS = {"callback_lost": 0.2, "callback_repeated": 0.05, "callback_reordered": 0.05}
CALLBACK_SECRET = "callback-secret-of-the-drill"
ROLES = {"api-1": "api", "api-2": "api", "worker-1": "worker", "worker-2": "worker"}


@dataclass
class Drill:
    """The parts of a drill, and what was seen while it went on."""

    form: Form
    seed: int
    postgres: StoppablePostgres
    provider: Provider
    gate: Gate
    front: Front
    processes: dict[str, Process]
    began: float = field(default_factory=time.monotonic)
    overlong: list[str] = field(default_factory=list)
    most_connections: int = 0

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {line}", file=sys.stderr, flush=True)

    def ups(self) -> list[str]:
        """The addresses of the api processes that are up, in random order."""
        return up(self.processes)

    async def watch(self) -> None:
        """Look for overlong claims each second, as long as there is a database."""
        while True:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self.overlong += await verdict.overlong_claims(self.postgres)
                self.most_connections = max(self.most_connections, len(await verdict.backends(self.postgres)))
            await asyncio.sleep(1.0)


def up(processes: dict[str, Process]) -> list[str]:
    urls = [process.url for process in processes.values() if process.role == "api" and process.url]
    return random.sample(urls, len(urls))


@asynccontextmanager
async def drill(form: Form, seed: int, folder: Path) -> AsyncIterator[Drill]:
    """Everything up and ready; nothing outlives the context."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        processes: dict[str, Process] = {}
        postgres = await enter(stoppable_postgres(folder / "postgresql"))
        a_front = await enter(front(lambda: up(processes)))
        options = ["--callback-url", a_front.url, "--callback-secret", CALLBACK_SECRET, "--speed", str(SPEED)]
        options += [f"--fault={name}={value}" for name, value in (FAULTS | CALLBACK_FAULTS).items()]
        provider = await enter(world.provider(LATENCY, folder, *options))
        a_gate = await enter(gate(provider.url))
        env = {"DATABASE_URL": postgres.url, "LOG_FORMAT": "json", "SWEEP_INTERVAL": "5"}
        env |= {"ZEGO_APP_ID": str(APP_ID), "ZEGO_SERVER_SECRET": SECRET, "ZEGO_CALLBACK_SECRET": CALLBACK_SECRET}
        env |= {"ZEGO_API_URL": a_gate.url}
        async with world.program("migrate", RECORDING_STATUS, "migrate", folder=folder, env=env) as migration:
            await migration.ends(START)
        client = await enter(httpx.AsyncClient(trust_env=False, timeout=5))
        processes |= {name: Process(name, role, env, folder, client) for name, role in ROLES.items()}
        await enter(supervised(list(processes.values())))
        for process in processes.values():
            await process.gets_ready()
        yield Drill(form, seed, postgres, provider, a_gate, a_front, processes)
