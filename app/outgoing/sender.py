"""Sends webhooks. A stand-in with the agreed names: the guarded sender is built elsewhere and replaces this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from app.clock import Clock


@dataclass(frozen=True, slots=True)
class Answer:
    """What a POST came to. ``retry_after`` in seconds; ``excerpt``: the first 2 KiB of the answer."""

    status_code: int | None
    duration_ms: int
    error: str | None = None
    excerpt: str | None = None
    retry_after: float | None = None


class Sender:
    """Posts; never raises for what the other side does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(15, connect=5),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
            follow_redirects=False,
            trust_env=False,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        began = self._clock.monotonic()

        def took() -> int:
            return round((self._clock.monotonic() - began) * 1000)

        try:
            response = await self._client.post(url, headers=dict(headers), content=body)
        except httpx.HTTPError as error:
            return Answer(None, took(), str(error) or type(error).__name__)
        after = response.headers.get("retry-after", "")
        excerpt = response.content[:2048].decode("utf-8", "replace")
        return Answer(response.status_code, took(), None, excerpt, float(after) if after.isdecimal() else None)

    async def close(self) -> None:
        await self._client.aclose()
