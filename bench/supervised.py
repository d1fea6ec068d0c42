"""Processes of the service that are started again whenever they end, as systemd or Kubernetes would."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bench import world
from bench.world import RECORDING_STATUS, Program, RowFailed

AGAIN = 1.0
"""Seconds from an end to the next start."""

READY = 90.0
"""Seconds from a start until `/readyz` says so, on a busy machine."""


class Process:
    """One process of the service, through all its lives."""

    def __init__(self, name: str, role: str, env: Mapping[str, str], folder: Path, client: httpx.AsyncClient) -> None:
        self.name, self.role, self._client = name, role, client
        self._env, self._folder = env, folder
        self.url: str | None = None
        """Where it answers; None while it is not up."""
        self.frozen = False
        self.starts = self.vain_starts = 0
        self.surprises: list[str] = []
        """Ends that nobody asked for."""
        self._program: Program | None = None
        self._expected = self._retired = False

    async def run(self) -> None:
        """Keep it running until this is cancelled."""
        serve = (RECORDING_STATUS, "serve", "--port", "0", "--role", self.role)
        while not self._retired:
            self.starts += 1
            self._expected = False
            name = f"{self.name}.{self.starts}"
            async with world.program(name, *serve, folder=self._folder, env=self._env) as self._program:
                await self._live(self._program)
            await asyncio.sleep(AGAIN)

    async def _live(self, program: Program) -> None:
        try:
            self.url = await program.says(r"is ready on (http://[^\s,]+)")
        except RowFailed:
            self.vain_starts += not self._expected
            return
        try:
            code = await program.ended()
        finally:
            self.url = None
        if not self._expected:
            self.surprises.append(f"{program.name} ended by itself with exit code {code}")

    async def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._program is not None:
            self._expected, self.url = True, None
            await self._program.kill()

    async def stop(self) -> None:
        """Ask it to stop; RowFailed unless it does so in time and with exit code 0."""
        assert self._program is not None
        self._expected = True
        await self._program.stop()

    async def retire(self) -> None:
        """The same, and do not start it again."""
        self._retired = True
        await self.stop()

    def freeze(self) -> None:
        assert self._program is not None
        self.frozen = True
        self._program.freeze()

    def resume(self) -> None:
        assert self._program is not None
        self.frozen = False
        self._program.resume()

    async def is_ready(self, *, well: bool = False) -> bool:
        """Whether it says so; ``well``: that nothing is amiss at all."""
        if self.url is None:
            return False
        try:
            answer = await self._client.get(f"{self.url}/readyz")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and (not well or answer.json()["status"] == "ok")

    async def gets_ready(self, within: float = READY, *, well: bool = False) -> None:
        """RowFailed unless it is ready in time."""
        try:
            async with asyncio.timeout(within):
                while not await self.is_ready(well=well):  # noqa: ASYNC110 - it is another process: no event tells
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise RowFailed(f"{self.name} was not ready within {within:.0f} s: {await self._says()}") from None

    async def _says(self) -> str:
        if self.url is None:
            return "it is not up"
        try:
            return (await self._client.get(f"{self.url}/readyz")).text
        except httpx.HTTPError as error:
            return repr(error)

    @property
    def pid(self) -> int | None:
        return self._program.pid if self._program is not None else None

    def log(self) -> list[dict[str, Any]]:
        """What all its lives logged as JSON."""
        return [
            json.loads(line) | {"life": path.stem}
            for path in sorted(self._folder.glob(f"{self.name}.*.log"))
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith("{") and line.endswith("}")
        ]

    def errors(self) -> Counter[str]:
        """What it logged as an error, and the last line of each traceback: faults of its own, never an outage's."""
        found: Counter[str] = Counter()
        for line in self.log():
            if line.get("level") in ("error", "critical"):
                last = (line.get("exception") or "").strip().splitlines()[-1:]
                found[": ".join([str(line.get("event")), *last])[:200]] += 1
        for path in self._folder.glob(f"{self.name}.*.log"):
            found["a bare traceback"] += path.read_text(errors="replace").count("\nTraceback (most recent call last)")
        return +found


@asynccontextmanager
async def supervised(processes: list[Process]) -> AsyncIterator[None]:
    """Keep them running while the context lasts; none outlives it."""
    keepers = [asyncio.create_task(process.run()) for process in processes]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
