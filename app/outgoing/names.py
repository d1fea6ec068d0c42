"""Looks names up with the machine's own resolver (hosts file and all), without letting a dead name hold up others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence

AT_ONCE = 32
"""Names looked up at the same time."""


class Names:
    """Call it with a name to get its addresses as texts; raises OSError where there are none.

    The resolver blocks its thread for as long as a name server keeps silent. The event loop's own pool has four
    threads (uvloop) for everybody, so each lookup gets a thread of its own, of which nobody waits for the end: neither
    an attempt whose time is over, nor the process when it stops. One name is looked up once at a time.
    """

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._running: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def __call__(self, name: str) -> Sequence[str]:
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = asyncio.create_task(self._look_up(name))
            running.add_done_callback(lambda done: self._forget(name, done))
        return await asyncio.shield(running)

    async def _look_up(self, name: str) -> Sequence[str]:
        async with self._turns:
            return await _in_a_thread(name)

    def _forget(self, name: str, done: asyncio.Task[Sequence[str]]) -> None:
        del self._running[name]
        if not done.cancelled():
            done.exception()  # its callers may all have gone


def _in_a_thread(name: str) -> asyncio.Future[Sequence[str]]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(found: Sequence[str] | Exception) -> None:
        if future.done():
            return
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)

    def work() -> None:
        found: Sequence[str] | Exception
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name=f"look up {name}", daemon=True).start()
    return future
