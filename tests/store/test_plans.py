"""No statement reads a large table from end to end.

A service does everything it can; each statement it sends is explained, on PostgreSQL as if the tables held a million
rows. EXCUSED names what may read a table nevertheless, and why. `PLANS=FOLDER pytest tests/store/test_plans.py` writes
there how each statement finds its rows; tests/store/plans holds what it wrote last.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from sqlalchemy import event, text

from app.api.audit import AuditQuery
from app.api.events import FeedFilterQuery
from app.api.lists import CallbackQuery, FileQuery, TaskQuery
from app.api.subscriptions import DeliveryQuery
from app.core.recording import FileStatus, Status
from app.core.signing import callback_signature
from app.errors import TaskUnknown
from app.store import pages
from app.store.connection import Connection
from app.store.sqlite import SqliteConnection
from app.store.tables import METADATA
from app.tracking import housekeeping
from app.tracking.registration import NewTask
from app.wiring import Service, open_service
from tests.sink import Sink, open_sink
from tests.world import APP, HandClock, MakeSettings, fail, observe, seen_file, task_id

LARGE = {"tasks", "task_labels", "files", "answers", "polls", "callbacks", "events", "deliveries", "attempts", "audit",
         "tombstones"}  # fmt: skip

EXCUSED: dict[str, str] = {}
"""A piece of a statement, and why it may read a large table."""

QUERIES: dict[str, type[BaseModel]] = {
    "/v1/tasks": TaskQuery, "/v1/files": FileQuery, "/v1/callbacks": CallbackQuery, "/v1/deliveries": DeliveryQuery,
    "/v1/audit": AuditQuery, "/v1/events": FeedFilterQuery,
}  # fmt: skip
LIKE = {
    "task_id": task_id(1), "tracking": "active", "outcome": "lost", "attention": "lost,failing", "app_id": str(APP),
    "room_id": "room", "user_id": "user", "stream_id": "stream", "file_status": "lost", "label": "team:support",
    "order": "updated_at", "include": "files", "verdict": "suspicious", "known": "false", "subscription_id": "sub_1",
    "type": "task.settled", "types": "task.settled", "key": "billing", "action": "task.register",
}  # fmt: skip
BESIDE = {"cursor", "limit"}
MOMENT = "2026-01-30T12:00:00Z"
SECRET_OF_CALLBACKS = "callback-secret-of-app"
PARTIAL = {
    index.name
    for table in METADATA.tables.values()
    for index in table.indexes
    if index.dialect_options["postgresql"]["where"] is not None
}
"""Indexes of few rows."""

Said = dict[str, Any]


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as sink:
        yield sink


@pytest.fixture
async def service(settings: MakeSettings, clock: HandClock, sink: Sink) -> AsyncIterator[Service]:
    chosen = sink.settings(settings, zego_callback_secret=SECRET_OF_CALLBACKS, retention_days=30)
    async with open_service(chosen, clock=clock) as service:
        yield service


@contextmanager
def listening(service: Service) -> Iterator[Said]:
    """Each statement that is sent meanwhile, with values it was sent with."""
    said: Said = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        said[statement] = parameters[0] if many and isinstance(parameters, list) else tuple(parameters)

    def note_by_postgresql(query: Any) -> None:
        said.setdefault(query.query, tuple(query.args))

    def listen_to(connection: Any, *_: Any) -> None:
        connection.driver_connection.add_query_logger(note_by_postgresql)

    async def note_by_sqlite(connection: SqliteConnection, asked: Any) -> Any:
        said.update((statement, tuple(lists[0])) for statement, lists in asked)
        return await fetch_each(connection, asked)

    fetch_each = SqliteConnection.fetch_each
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SqliteConnection, "fetch_each", note_by_sqlite)
        for engine in service.database.engines:
            event.listen(engine, "before_cursor_execute", note)
            if not service.database.is_sqlite:
                event.listen(engine, "checkout", listen_to)
        yield said
        for engine in service.database.engines:
            event.remove(engine, "before_cursor_execute", note)
            if not service.database.is_sqlite:
                event.remove(engine, "checkout", listen_to)


async def live(service: Service, client: httpx.AsyncClient, clock: HandClock, sink: Sink) -> None:
    """Do everything once."""
    wanted = {"name": "one", "url": sink.url("/hook"), "types": ["task.settled", "task.registered"]}
    one = (await client.post("/v1/subscriptions", json=wanted)).json()["subscription_id"]
    tasks = [NewTask(task_id=task_id(number), app_id=APP, labels={"team": "support"}) for number in range(6)]
    await service.registration.register_batch(tasks)
    await client.post("/v1/tasks", json={"task_id": task_id(9), "labels": {"team": "support"}})
    await observe(service, task_id(1), Status.ONGOING, room_id="room", began_at=clock.now())
    files = (seen_file("one", user_id="user", stream_id="stream"), seen_file("two", FileStatus.UPLOADED_TO_BACKUP))
    await observe(service, task_id(1), Status.COMPLETED, *files)
    await fail(service, task_id(2), TaskUnknown("not_found", "no such task"))
    for number in (1, 77):
        await call_back(client, clock, number)
    await service.webhooks.run_once()
    there = f"/v1/tasks/{task_id(3)}"
    await client.patch(there, json={"labels": {"team": None, "n": "1"}})
    for path in ("refresh", "untrack", "track"):
        await client.post(f"{there}/{path}")
    await client.post(f"/v1/subscriptions/{one}/replay", json={"since": "2020-01-01T00:00:00Z", "only": "all"})
    for delivery in (await client.get(f"/v1/subscriptions/{one}/deliveries")).json()["items"][:1]:
        await client.post(f"/v1/subscriptions/{one}/deliveries/{delivery['delivery_id']}/redeliver")
    for path in ("", "/files", "/events", "/answer"):
        await client.get(f"/v1/tasks/{task_id(1)}{path}")
    for path in ("/v1/stats", "/v1/apps", "/v1/subscriptions", "/metrics", "/readyz"):
        await client.get(path)
    await client.delete(f"/v1/tasks/{task_id(4)}")
    await client.delete(f"/v1/subscriptions/{one}")


async def call_back(client: httpx.AsyncClient, clock: HandClock, number: int) -> None:
    stamp = str(int(clock.now().timestamp()))
    signed = {"nonce": f"{number}", "timestamp": stamp}
    signed["signature"] = callback_signature(SECRET_OF_CALLBACKS, stamp, signed["nonce"])
    body = {"app_id": APP, "task_id": task_id(number), "event_type": 5, "sequence": 1, "detail": {}, **signed}
    assert (await client.post("/v1/callbacks/zego", json=body)).status_code == 200


async def look(client: httpx.AsyncClient) -> None:
    """Ask for each list by each of its filters, and for the page behind."""
    for path, query in QUERIES.items():
        for name in query.model_fields.keys() - BESIDE:
            value = LIKE[name] if name in LIKE else MOMENT if re.search("after|before", name) else None
            if path in ("/v1/files", "/v1/deliveries") and name == "status":
                value = "lost" if path == "/v1/files" else "failed"
            value = value or "paused,initialized"
            page = await client.get(path, params={name: value, "limit": 1})
            assert page.status_code == 200, page.text
        first = (await client.get(path, params={"limit": 1})).json()
        if first.get("next_cursor"):
            await client.get(path, params={"cursor": first["next_cursor"]})


async def grow_old(service: Service, clock: HandClock) -> None:
    """Windows close, and everything is purged."""
    await service.housekeeping.run_once()
    for days in (3, 5, 60):
        clock.advance(days * 86400)
        await service.housekeeping.run_once()
    async with service.database.write() as connection:
        for purge, limit in housekeeping.PURGES.values():
            await purge(connection, before=clock.now() + timedelta(days=1), limit=limit)


# -- plans


async def scans(service: Service, said: Said) -> dict[str, list[str]]:
    """The large tables that statements read from end to end."""
    found: dict[str, list[str]] = {}
    shapes: set[str] = set()
    async with service.database.unhurried() as connection:
        sqlite = service.database.is_sqlite
        if not sqlite:
            await grow(connection, dict.fromkeys(LARGE, 1_000_000))
            assert [*(await connection.ask("SHOW plan_cache_mode"))[0].values()] == ["force_generic_plan"]
        for statement, values in said.items():
            if not re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)", statement):
                continue
            if sqlite:
                asked = await connection.ask(f"EXPLAIN QUERY PLAN {statement}", values)
                plan = [list(row.values()) for row in asked]
                read, ways = _read_by_sqlite(plan, statement), [row[-1] for row in plan]
            else:
                kept = await kept_plan(connection, statement, values)
                read, ways = list(_walked(kept, limited=False)), list(_ways(kept))
            shapes.add("\n    ".join([_short(statement), *ways]))
            if read:
                found[statement] = read
        if not sqlite:
            await connection.execute(text("ROLLBACK"))  # other tests use these tables after us
    if folder := os.environ.get("PLANS"):
        file = Path(folder, f"{service.database.engine.dialect.name}.txt")
        await asyncio.to_thread(file.write_text, "\n".join(sorted(shapes)) + "\n")
    return found


async def grow(connection: Connection, rows: dict[str, int]) -> None:
    """Until a ROLLBACK: so many rows on the pages there are, nothing known of them, whatever other tests left."""
    await connection.execute(text("BEGIN"))
    for name, number in rows.items():
        size = f"reltuples = {number}, relpages = greatest(1, pg_relation_size(oid) / 8192)"
        await connection.execute(text(f"UPDATE pg_class SET {size} WHERE relname = '{name}'"))
    await connection.execute(text("DELETE FROM pg_statistic"))


async def disordered(service: Service, said: Said) -> list[str]:
    """Those of these that PostgreSQL would not answer along an index, with values yet unknown and few polls."""
    found = []
    async with service.database.unhurried() as connection:
        await grow(connection, dict.fromkeys(LARGE, 1_000_000) | {"polls": 50})
        for statement, values in said.items():
            if not statement.startswith("SELECT") or not re.search(ORDERED, statement):
                continue  # a few rows, which are sorted
            if kinds := UNORDERED & set(_kinds(await kept_plan(connection, statement, values))):
                found.append(f"{kinds}: {statement}")
        await connection.execute(text("ROLLBACK"))
    return found


async def kept_plan(connection: Connection, statement: str, values: Sequence[Any]) -> Any:
    """PostgreSQL's plan for a statement, which it makes before it knows the values, and keeps."""
    await connection.say(f"PREPARE this AS {statement}")
    nulls = f"({', '.join('NULL' for _ in values)})" if values else ""
    plan = (await connection.ask(f"EXPLAIN (FORMAT JSON) EXECUTE this{nulls}"))[0]["QUERY PLAN"]
    await connection.say("DEALLOCATE this")
    return (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]


ORDERED = r"ORDER BY (tasks|files|callbacks|deliveries|audit|events)\."
UNORDERED = {"Sort", "Incremental Sort", "Hash Join", "Merge Join", "Seq Scan", "Bitmap Heap Scan"}


def _kinds(node: dict[str, Any]) -> Iterator[str]:
    yield node["Node Type"]
    for child in node.get("Plans", ()):
        yield from _kinds(child)


def _read_by_sqlite(plan: Any, statement: str) -> list[str]:
    lines = [row[-1] for row in plan]
    in_order = "LIMIT" in statement and "ORDER BY" in statement and not any("ORDER BY" in line for line in lines)
    read = []
    for line in lines:
        scan = re.match(r"SCAN (\w+)(?:.*INDEX (\w+))?", line)
        if scan is not None and scan[1] in LARGE and scan[2] not in PARTIAL and not in_order:
            read.append(line)
    return read


def _short(statement: str) -> str:
    """Without what it shows, and the types of values."""
    words = re.sub(r"::\w+( WITH TIME ZONE)?", "", " ".join(statement.split()))
    return re.sub(r"^SELECT .*? FROM ", "SELECT ... FROM ", words)[:300]


def _ways(node: dict[str, Any]) -> Iterator[str]:
    """By which indexes a plan finds its rows."""
    if "Relation Name" in node or "Index Name" in node:
        words = (node.get("Node Type"), node.get("Relation Name"), node.get("Index Name"))
        yield " ".join(word for word in words if word)
    for child in node.get("Plans", ()):
        yield from _ways(child)


def _walked(node: dict[str, Any], *, limited: bool) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name")
    whole = "Index Cond" not in node and node.get("Index Name") not in PARTIAL and not limited
    if table in LARGE and (kind == "Seq Scan" or (kind.startswith("Index") and whole)):
        yield f"{kind} on {table} {node.get('Index Name', '')} {node.get('Filter', '')}"
    for child in node.get("Plans", ()):
        yield from _walked(child, limited=kind == "Limit" or (limited and kind != "Sort" and kind != "Hash"))


async def test_no_statement_reads_a_large_table_from_end_to_end(
    service: Service, client: httpx.AsyncClient, clock: HandClock, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(service) as said:
        await live(service, client, clock, sink)
        lived = set(said)
        await look(client)
        monkeypatch.setattr(pages, "FEW", 0)
        monkeypatch.setattr(pages, "SCANNED", 2)
        await look(client)
        of_lists = {statement: values for statement, values in said.items() if statement not in lived}
        await grow_old(service, clock)
    found = {
        statement: read
        for statement, read in (await scans(service, said)).items()
        if not any(piece in statement for piece in EXCUSED)
    }
    report = "\n".join(f"{read}: {statement}" for statement, read in found.items())
    assert not found, report
    astray = [] if service.database.is_sqlite else await disordered(service, of_lists)
    assert not astray, "\n".join(astray)
