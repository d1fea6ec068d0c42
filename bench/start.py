"""From the start of the program to its first answer: on a new SQLite file, and on one that is there already."""

from __future__ import annotations

import asyncio
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from bench.world import RECORDING_STATUS

READY = b"recording-status is ready"


async def start(folder: Path) -> float:
    """Seconds from the start of `serve` until it says that it is ready."""
    env = {
        "PATH": "/usr/bin:/bin",
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/recordings.db",
        "ZEGO_APP_ID": "1",
        "ZEGO_SERVER_SECRET": "none",
    }
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        RECORDING_STATUS, "serve", "--port", "0", cwd=folder, env=env, stdout=DEVNULL, stderr=PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while READY not in await process.stderr.readline():
            pass
    took = time.monotonic() - began
    process.terminate()
    await process.communicate()
    return took


async def main() -> None:
    print("| start | seconds |\n| --- | ---: |")
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            print(f"| on a new database | {await start(Path(folder)):.2f} |")
            print(f"| on the same again | {await start(Path(folder)):.2f} |")


if __name__ == "__main__":
    asyncio.run(main())
