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
    """Posts; never raises for what the other side does.

    Each POST under way has a client with one connection: httpx looks through a whole pool several times a request.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[str, list[httpx.AsyncClient]] = {}
        self._ssl = httpx.create_ssl_context(trust_env=False)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        began = self._clock.monotonic()

        def took() -> int:
            return round((self._clock.monotonic() - began) * 1000)

        idle = self._idle.setdefault(url, [])
        client = idle.pop() if idle else self._client()
        try:
            response = await client.post(url, headers=dict(headers), content=body)
        except BaseException as error:
            await client.aclose()
            if not isinstance(error, httpx.HTTPError):
                raise
            return Answer(None, took(), str(error) or type(error).__name__)
        idle.append(client)
        after = response.headers.get("retry-after", "")
        excerpt = response.content[:2048].decode("utf-8", "replace")
        return Answer(response.status_code, took(), None, excerpt, float(after) if after.isdecimal() else None)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            timeout=httpx.Timeout(15, connect=5),
            limits=httpx.Limits(max_connections=1),
            verify=self._ssl,
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        for idle in self._idle.values():
            for client in idle:
                await client.aclose()
