"""Callers of the service as sensible users write them: they repeat what was not acknowledged, and note what was."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from bench.disturbances import Form
from bench.world import Provider

PATIENCE = 3.0
"""Seconds to wait for an answer."""

UNLIMITED = httpx.Limits(max_connections=None)
"""A pool of httpx that many wait for loses a place for good with every wait that runs out just as it is over."""

PAUSE = (0.3, 1.5)
"""Seconds between two tries."""

SPEED = 60
"""How much faster than life recordings live."""

PATCHED = 0.25
"""The share of tasks that are given another label afterwards."""


class Clients:
    """Start recordings, register each through whichever api process answers, and change the labels of some."""

    def __init__(self, form: Form, ups: Callable[[], Sequence[str]], provider: Provider, seed: int) -> None:
        self._form, self._ups, self._provider = form, ups, provider
        self._dice = random.Random(seed)
        self.acknowledged: dict[str, dict[str, str]] = {}
        """The labels of each task, as far as they were acknowledged."""
        self.statuses: Counter[int] = Counter()
        """Of all answers; 0: there was none."""
        self.refused: list[str] = []
        """Answers that no repetition mends, or that should never be given."""

    async def run(self) -> None:
        """Until every recording is registered."""
        lives = self._dice.choices(list(self._form.lives), list(self._form.lives.values()), k=self._form.recordings)
        starts = sorted(self._dice.uniform(0, self._form.registering) for _ in lives)
        async with (
            httpx.AsyncClient(trust_env=False, timeout=PATIENCE, limits=UNLIMITED) as client,
            asyncio.TaskGroup() as group,
        ):
            for number, (life, at) in enumerate(zip(lives, starts, strict=True)):
                length, upload = self._dice.uniform(*self._form.lengths), self._dice.uniform(*self._form.uploads)
                is_patched = self._dice.random() < PATCHED
                about = {"life": life, "duration": length * SPEED, "upload": upload * SPEED}
                group.create_task(self._follow(client, number, at, about, is_patched=is_patched))

    async def _follow(
        self, client: httpx.AsyncClient, number: int, at: float, about: dict[str, Any], *, is_patched: bool
    ) -> None:
        await asyncio.sleep(at)
        task_id = await self._provider.start_recording(**about)
        labels = {"number": str(number)}
        await self._repeat(client, "POST", "/v1/tasks", {"task_id": task_id, "labels": labels})
        self.acknowledged[task_id] = labels
        if is_patched:
            await asyncio.sleep(1.0)
            await self._repeat(client, "PATCH", f"/v1/tasks/{task_id}", {"labels": {"again": "yes"}})
            self.acknowledged[task_id] = labels | {"again": "yes"}

    async def _repeat(self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]) -> None:
        """Until it is acknowledged."""
        while True:
            for url in self._ups()[:1]:
                try:
                    answer = await client.request(method, f"{url}{path}", json=body)
                except httpx.HTTPError:
                    self.statuses[0] += 1
                    continue
                self.statuses[answer.status_code] += 1
                if answer.is_success:
                    return
                if answer.status_code != 503:
                    self.refused.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            await asyncio.sleep(self._dice.uniform(*PAUSE))
