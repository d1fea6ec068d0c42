"""Sends a simulator's callbacks over HTTP, to an address on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx

from app.provider.simulator.callbacks import Callback
from app.provider.simulator.gateway import Simulator
from app.provider.simulator.loopback import is_loopback

RETRIES = 2
RETRY_PAUSE = 5.0
TIMEOUT = 5.0
_LOOK_EVERY = 0.05
_MOST_AT_ONCE = 20
# A connection that has been idle for seconds may be closing just as it is used again.
_CONNECTIONS = httpx.Limits(
    max_connections=_MOST_AT_ONCE, max_keepalive_connections=_MOST_AT_ONCE, keepalive_expiry=1.0
)


@contextlib.asynccontextmanager
async def send_callbacks(simulator: Simulator, url: str, *, retry_pause: float = RETRY_PAUSE) -> AsyncIterator[None]:
    """POST the callbacks that become due while the context lasts. ValueError unless `url` is HTTP on loopback.

    One that gets no 2xx in 5 s is tried twice more, `retry_pause` seconds after the attempt before, and then
    given up.
    """
    target = checked(url)
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT, limits=_CONNECTIONS) as client:
        work = asyncio.create_task(_Sender(simulator, target, client, retry_pause).run())
        try:
            yield
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


def checked(url: str) -> httpx.URL:
    """Return the URL; ValueError unless it is HTTP on loopback."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as wrong:
        raise ValueError(f"callbacks cannot be sent to {url!r}: {wrong}") from wrong
    if target.scheme not in ("http", "https") or not is_loopback(target.host):
        raise ValueError(f"callbacks are sent to HTTP on loopback only, not to {url!r}")
    return target


class _Sender:
    def __init__(self, simulator: Simulator, url: httpx.URL, client: httpx.AsyncClient, retry_pause: float) -> None:
        self._simulator, self._url, self._client, self._retry_pause = simulator, url, client, retry_pause
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for callback in self._simulator.due_callbacks():
                    group.create_task(self._send(callback))
                await asyncio.sleep(_LOOK_EVERY)

    async def _send(self, callback: Callback) -> None:
        fate = self._simulator.outbox.fate(self._simulator.faults)
        if fate.copies:
            await asyncio.sleep(fate.delay)
            body = self._simulator.callback_body(callback)
            await asyncio.gather(*(self._deliver(body) for _ in range(fate.copies)))

    async def _deliver(self, body: bytes) -> None:
        # Whether the provider signs a retry anew is undocumented (docs/provider.md 4.6); here it does not.
        for attempt in range(1 + RETRIES):
            if attempt:
                await asyncio.sleep(self._retry_pause)
            if await self._is_answered(body):
                self._simulator.outbox.note("answered")
                return
        self._simulator.outbox.note("given_up")

    async def _is_answered(self, body: bytes) -> bool:
        async with self._turns:
            self._simulator.outbox.note("sent")
            try:
                answer = await self._client.post(self._url, content=body, headers={"Content-Type": "application/json"})
            except httpx.HTTPError:
                return False
        return answer.is_success
