"""How often the service asks its PostgreSQL for each poll: a proxy between the two counts.

`python -m bench.trips`. One process follows recordings that run on, with all of the budget and no sweep. Either their
answers stay the same, so that nearly every poll changes nothing; or a file grows, and every poll is a change with its
event. Each message that waits for the server's word is a round trip: BEGIN, COMMIT and every statement, of all jobs of
the service together; those of a service that polls nothing stand beside. Exit code 1 if a poll that changes nothing
takes more than three.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from app.provider.client import DESCRIBE_RECORD_STATUS
from bench import world
from bench.report import machine
from bench.world import LATENCIES

MOST = 3.0
TASKS = 150
CALM = "that change nothing"
LIVES = {"none": None, CALM: "no_files", "each with a change": "normal"}
"""Polls, and the lives of the recordings they are about."""

WARM, WATCH = 20.0, 40.0
"""Seconds left alone, and then watched."""

_WAITS_FOR_AN_ANSWER = (ord("S"), ord("Q"))
"""Sync, which ends what a driver sends of a prepared statement, and Query, which is all of a simple one."""


class Counter:
    """What a client says to a PostgreSQL server, passed on and counted."""

    def __init__(self, socket: str) -> None:
        self._socket, self.trips, self.port = socket, 0, 0

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_unix_connection(self._socket)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            back = asyncio.create_task(_copy(answers, writer))
            try:
                await self._pass_on(reader, asks)
            finally:
                asks.close()
                await back

    async def _pass_on(self, reader: asyncio.StreamReader, asks: asyncio.StreamWriter) -> None:
        """Message by message; the first has no type."""
        begins = 0
        while True:
            head = await reader.readexactly(begins + 4)
            body = await reader.readexactly(int.from_bytes(head[begins:], "big") - 4)
            refused = not begins and body[:4] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")  # asks for TLS, or GSSAPI
            self.trips += bool(begins) and head[0] in _WAITS_FOR_AN_ANSWER
            begins = int(not refused)
            asks.write(head + body)
            await asks.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def counting(url: str) -> AsyncIterator[tuple[str, Counter]]:
    """The URL of a way to this PostgreSQL on which round trips are counted."""
    parts = urlsplit(url)
    counter = Counter(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432")
    async with await asyncio.start_server(counter.connect, "127.0.0.1", 0) as server:
        counter.port = server.sockets[0].getsockname()[1]
        yield f"postgresql://postgres@127.0.0.1:{counter.port}{parts.path}", counter


async def measure(folder: Path, url: str, life: str | None) -> tuple[float, float]:
    """Polls, and round trips, a second."""
    settings = {"SWEEP_INTERVAL": "0", "LOG_LEVEL": "warning"}
    async with (
        counting(url) as (counted, counter),
        world.provider(LATENCIES[1], folder) as provider,
        world.service(1, counted, provider.url, folder, settings=settings) as service,
    ):
        if life:
            await service.register(await provider.start_recordings(TASKS, life))
        await asyncio.sleep(WARM)
        trips, calls = counter.trips, (await _calls(provider))
        await asyncio.sleep(WATCH)
        trips, calls = counter.trips - trips, (await _calls(provider)) - calls
    return calls / WATCH, trips / WATCH


async def _calls(provider: world.Provider) -> int:
    apps = (await provider.stats())["apps"].get(str(world.APP_ID), {})
    return int(apps.get(DESCRIBE_RECORD_STATUS, {"calls": 0})["calls"])


async def main() -> int:
    """The exit code."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(world.postgres(folder / "postgresql"))
        print("| Polls | Polls/s | Round trips/s | Round trips a poll |\n| --- | ---: | ---: | ---: |")
        a_poll = {}
        for name, life in LIVES.items():
            (folder / name).mkdir()
            polls, trips = await measure(folder / name, postgres.create_database(name), life)
            a_poll[name] = trips / polls if polls else 0.0
            print(f"| {name} | {polls:.2f} | {trips:.2f} | {a_poll[name]:.2f} |", flush=True)
        print(f"\n{machine(postgres)}")
    return int(not 0 < a_poll[CALM] <= MOST)


if __name__ == "__main__":
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    sys.exit(asyncio.run(main()))
