"""The least a server could do for the same: Starlette, one statement a request, no authentication, no checks, no model.

    python -m bench.bare DATABASE_URL [--port 0]

Its tables hold what the service would answer, word for word. What the service reaches of its figures is what
authentication, checks, headers, events and the rest of its work cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POOL = 10
"""Connections: as many as the service has for requests."""

BODIES = (
    "CREATE TABLE bare_bodies (id text PRIMARY KEY, version bigint NOT NULL, body text NOT NULL, item text NOT NULL)"
)
ROWS = "CREATE TABLE bare_rows (id text PRIMARY KEY, body text NOT NULL)"
EVENTS = "CREATE TABLE bare_events (seq {serial}, id text NOT NULL, body text NOT NULL)"


class Store(Protocol):
    """One statement, one transaction."""

    async def one(self, id_: str) -> tuple[int, str] | None: ...
    async def page(self, after: str, limit: int) -> Sequence[str]: ...
    async def put(self, id_: str, body: str) -> None: ...
    async def put_all(self, rows: Sequence[tuple[str, str]]) -> None: ...


class PostgreSQL:
    """asyncpg, from a pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str) -> PostgreSQL:
        return cls(await asyncpg.create_pool(url, min_size=POOL, max_size=POOL))

    async def one(self, id_: str) -> tuple[int, str] | None:
        row = await self._pool.fetchrow("SELECT version, body FROM bare_bodies WHERE id = $1", id_)
        return (row[0], row[1]) if row else None

    async def page(self, after: str, limit: int) -> Sequence[str]:
        rows = await self._pool.fetch("SELECT item FROM bare_bodies WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
        return [row[0] for row in rows]

    async def put(self, id_: str, body: str) -> None:
        await self._pool.execute("INSERT INTO bare_rows VALUES ($1, $2) ON CONFLICT DO NOTHING", id_, body)

    async def put_all(self, rows: Sequence[tuple[str, str]]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            ids, bodies = zip(*rows, strict=True)
            tail = "SELECT * FROM unnest($1::text[], $2::text[])"
            await connection.execute(f"INSERT INTO bare_rows {tail} ON CONFLICT DO NOTHING", ids, bodies)
            await connection.execute(f"INSERT INTO bare_events (id, body) {tail}", ids, bodies)


class SQLite:
    """sqlite3 in WAL, as durable as the service's, called where the requests are answered: it is the fastest way."""

    def __init__(self, file: str) -> None:
        self._rows = sqlite3.connect(file, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._rows.execute(f"PRAGMA {pragma}")

    async def one(self, id_: str) -> tuple[int, str] | None:
        found: tuple[int, str] | None
        found = self._rows.execute("SELECT version, body FROM bare_bodies WHERE id = ?", (id_,)).fetchone()
        return found

    async def page(self, after: str, limit: int) -> Sequence[str]:
        found = self._rows.execute("SELECT item FROM bare_bodies WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [row[0] for row in found]

    async def put(self, id_: str, body: str) -> None:
        self._rows.execute("INSERT INTO bare_rows VALUES (?, ?) ON CONFLICT DO NOTHING", (id_, body))

    async def put_all(self, rows: Sequence[tuple[str, str]]) -> None:
        self._rows.execute("BEGIN IMMEDIATE")
        self._rows.executemany("INSERT INTO bare_rows VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
        self._rows.executemany("INSERT INTO bare_events (id, body) VALUES (?, ?)", rows)
        self._rows.execute("COMMIT")


async def fill(url: str, bodies: Sequence[tuple[str, int, str, str]]) -> None:
    """Make the tables, and store these: id, version, body, and how it is shown in a list."""
    tables = [BODIES, ROWS]
    insert = "INSERT INTO bare_bodies VALUES "
    if url.startswith("sqlite"):
        with sqlite3.connect(_file(url)) as file:
            for table in [*tables, EVENTS.format(serial="INTEGER PRIMARY KEY")]:
                file.execute(table)
            file.executemany(insert + "(?, ?, ?, ?)", bodies)
        file.close()
        return
    connection: Any = await asyncpg.connect(url)
    for table in [*tables, EVENTS.format(serial="bigserial PRIMARY KEY")]:
        await connection.execute(table)
    await connection.executemany(insert + "($1, $2, $3, $4)", bodies)
    await connection.execute("ANALYZE")
    await connection.close()


def _file(url: str) -> str:
    return url.removeprefix("sqlite+aiosqlite:///")


def application(store: Store) -> Starlette:
    """The routes."""

    async def get_one(request: Request) -> Response:
        found = await store.one(request.path_params["id"])
        if found is None:
            return Response(status_code=404)
        version, body = found
        tag = f'W/"{version}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, media_type="application/json", headers={"ETag": tag})

    async def get_page(request: Request) -> Response:
        bodies = await store.page(request.query_params.get("after", ""), int(request.query_params["limit"]))
        items = ",".join(bodies)
        return Response(f'{{"items":[{items}],"next_cursor":null}}', media_type="application/json")

    async def put(request: Request) -> Response:
        body = await request.body()
        told = json.loads(body)
        await store.put(f"{told['task_id']}-{told.get('sequence')}", body.decode())
        return Response(status_code=201)

    async def put_all(request: Request) -> Response:
        tasks = json.loads(await request.body())["tasks"]
        await store.put_all([(task["task_id"], json.dumps(task)) for task in tasks])
        return Response(status_code=200)

    return Starlette(
        routes=[
            Route("/v1/tasks/batch", put_all, methods=["POST"]),
            Route("/v1/tasks/{id}", get_one),
            Route("/v1/tasks", get_page),
            Route("/v1/tasks", put, methods=["POST"]),
            Route("/v1/callbacks/zego", put, methods=["POST"]),
        ]
    )


async def serve(url: str, port: int) -> None:
    store: Store = SQLite(_file(url)) if url.startswith("sqlite") else await PostgreSQL.open(url)
    config = uvicorn.Config(application(store), port=port, log_config=None, access_log=False, proxy_headers=False)
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    print(f"is ready on http://127.0.0.1:{listener.getsockname()[1]} ", file=sys.stderr, flush=True)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("database_url")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given.database_url, given.port))
