"""The least a server could do for the same: Starlette, one statement a request, no authentication, no checks, no model.

    python -m bench.bare DATABASE_URL [--port 0]

Its tables hold what the service would answer, word for word. A batch goes into the service's own tables, with all of
their indexes: the same tasks, labels, polls and events, but no foreign key is checked and no trigger runs. What the
service reaches of its figures is what authentication, checks, headers, events and the rest of its work cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import asyncpg
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.clock import SystemClock
from app.store import schema
from app.store.engine import Database
from app.store.tables import EVENTS, LABELS, POLLS, TASKS
from app.tracking.changes import Changes
from app.tracking.hearing import Hearing
from app.tracking.registration import NewTask, Registration

POOL = 10
"""Connections: as many as the service has for requests."""

BODIES = (
    "CREATE TABLE bare_bodies (id text PRIMARY KEY, version bigint NOT NULL, body text NOT NULL, item text NOT NULL)"
)
ROWS = "CREATE TABLE bare_rows (id text PRIMARY KEY, body text NOT NULL)"

MODEL = "model-of-a-batch"
"""A task registered by the service's own code: what its rows hold, those of a batch hold but for NEW."""
NEW = ("task_id", "labels", "id", "data")


def _inserts(new: str) -> list[str]:
    """What stores tasks, whose NEW are these rows, as the service stores them."""
    statements = []
    for table in (TASKS, LABELS, POLLS, EVENTS):
        columns = [column.name for column in table.columns if column.name != "seq"]
        values = [f"new.{name}" if name in NEW else f"model.{name}" for name in columns]
        statements.append(
            f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {new} AS new "
            f"CROSS JOIN {table.name} AS model WHERE model.task_id = '{MODEL}'"
        )
    statements[0] += " ON CONFLICT DO NOTHING"
    return statements


class Store(Protocol):
    """One statement, one transaction."""

    async def one(self, id_: str) -> tuple[int, str] | None: ...
    async def page(self, after: str, limit: int) -> Sequence[str]: ...
    async def put(self, id_: str, body: str) -> None: ...
    async def put_all(self, rows: Sequence[tuple[str, ...]]) -> None: ...
    async def model(self) -> str: ...


class PostgreSQL:
    """asyncpg, from a pool."""

    _NEW = "SELECT * FROM unnest($1::text[], $2::jsonb[], $3::text[], $4::jsonb[]) AS new (task_id, labels, id, data)"
    _PUT_ALL = "WITH new AS MATERIALIZED ({}), a AS ({}), b AS ({}), c AS ({}) {}".format(_NEW, *_inserts("new"))

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str) -> PostgreSQL:
        unchecked = {"session_replication_role": "replica"}
        return cls(await asyncpg.create_pool(url, min_size=POOL, max_size=POOL, server_settings=unchecked))

    async def one(self, id_: str) -> tuple[int, str] | None:
        row = await self._pool.fetchrow("SELECT version, body FROM bare_bodies WHERE id = $1", id_)
        return (row[0], row[1]) if row else None

    async def page(self, after: str, limit: int) -> Sequence[str]:
        rows = await self._pool.fetch("SELECT item FROM bare_bodies WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
        return [row[0] for row in rows]

    async def put(self, id_: str, body: str) -> None:
        await self._pool.execute("INSERT INTO bare_rows VALUES ($1, $2) ON CONFLICT DO NOTHING", id_, body)

    async def put_all(self, rows: Sequence[tuple[str, ...]]) -> None:
        await self._pool.execute(self._PUT_ALL, *zip(*rows, strict=True))

    async def model(self) -> str:
        data: str = await self._pool.fetchval("SELECT data FROM events WHERE task_id = $1", MODEL)
        return data


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

    async def put_all(self, rows: Sequence[tuple[str, ...]]) -> None:
        self._rows.execute("BEGIN IMMEDIATE")
        for statement in _inserts("(SELECT ?1 AS task_id, ?2 AS labels, ?3 AS id, ?4 AS data)"):
            self._rows.executemany(statement, rows)
        self._rows.execute("COMMIT")

    async def model(self) -> str:
        data: str = self._rows.execute("SELECT data FROM events WHERE task_id = ?", (MODEL,)).fetchone()[0]
        return data


async def fill(url: str, bodies: Sequence[tuple[str, int, str, str]], model: NewTask) -> None:
    """Make the tables, and store these: id, version, body, and how it is shown in a list; and the model of a batch."""
    await _register(url.replace("postgresql://", "postgresql+asyncpg://"), replace(model, task_id=MODEL))
    tables = [BODIES, ROWS]
    insert = "INSERT INTO bare_bodies VALUES "
    if url.startswith("sqlite"):
        with sqlite3.connect(_file(url)) as file:
            for statement in [*tables, "DROP TRIGGER task_counts_came"]:
                file.execute(statement)
            file.executemany(insert + "(?, ?, ?, ?)", bodies)
        file.close()
        return
    connection: Any = await asyncpg.connect(url)
    for table in tables:
        await connection.execute(table)
    await connection.executemany(insert + "($1, $2, $3, $4)", bodies)
    await connection.execute("ANALYZE")
    await connection.close()


async def _register(url: str, task: NewTask) -> None:
    clock = SystemClock()
    database, changes = Database(url, clock), Changes(clock)
    try:
        await schema.migrate(database)
        apps = [task.app_id or 0]
        await Registration(database, clock, changes, Hearing(changes, app_ids=apps), app_ids=apps).register_batch(
            [task]
        )
    finally:
        await database.close()


def _file(url: str) -> str:
    return url.removeprefix("sqlite+aiosqlite:///")


def application(store: Store, event: str) -> Starlette:
    """The routes. ``event``: what tells of the model's registration."""

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
        new = [(task["task_id"], json.dumps(task["labels"]), f"evt_{secrets.token_hex(8)}") for task in tasks]
        await store.put_all([(*row, event.replace(MODEL, row[0])) for row in new])
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
    config = uvicorn.Config(
        application(store, await store.model()), port=port, log_config=None, access_log=False, proxy_headers=False
    )
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
