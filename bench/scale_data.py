"""A database with as many tasks as one likes, made by the database itself: INSERT ... SELECT, indexes afterwards.

Task ``i`` of ``n`` is the older the smaller ``i``: 88 % lie evenly in the 90 days before the last 2.5, and are over; of
the others five in six are active. All the rest follows from ``i`` too, so a filter's matches are known.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from sqlalchemy import Table, delete, text

from app.store.connection import Connection
from app.store.engine import Database
from app.store.tables import METADATA
from bench.report import say

CLOSED_PART, CLOSED_FOR, OPEN_FOR = 0.88, timedelta(days=90), timedelta(days=2.5)
SUBSCRIPTIONS = 4

FILLED = ("tasks", "task_labels", "files", "answers", "polls", "callbacks", "events", "deliveries", "attempts", "audit")

_EVENT = {
    "task": {
        "task_id": "0123456789abcdef", "app_id": 1, "room_id": "room-1", "status": "ongoing", "tracking": "active",
        "labels": {"team": "t1", "ticket": "T-1"}, "outcome": None, "attention": [], "version": 3, "notices": [],
        "file_counts": {"uploaded": 1}, "query_deadline": "2026-01-31T12:00:00.000Z", "quit_reason": None,
        "registered_at": "2026-01-31T12:00:00.000Z", "updated_at": "2026-01-31T12:00:00.000Z", "settled_at": None,
        "polling": {"last_polled_at": None, "poll_count": 0, "consecutive_failures": 0, "last_error": None},
    },
    "previous": {"status": "pending"},
}  # fmt: skip
_BODY = json.dumps({"app_id": 1, "task_id": "0123456789abcdef", "event_type": 1, "detail": {"file_info": ["x" * 300]}})

_FILE_STATUS = (
    "CASE WHEN closed THEN CASE WHEN outcome IN ('lost', 'uploaded_to_backup') THEN outcome "
    "WHEN outcome = 'unresolved' THEN 'recording' ELSE 'uploaded' END "
    "WHEN status = 'completed' THEN 'uploading' ELSE 'recording' END"
)


def registered_at(i: int, n: int, now: datetime) -> datetime:
    """When task ``i`` was registered."""
    first = int(CLOSED_PART * n)
    if i < first:
        return now - OPEN_FOR - CLOSED_FOR * (first - i) / first
    return now - OPEN_FOR * (n - i) / (n - first)


def task_id(i: int) -> str:
    """The id of task ``i``; neighbours in time are none in the order of ids."""
    return f"{i * 7368787 % 1000000007:016d}"


class _Words:
    """What the two engines write differently."""

    def __init__(self, sqlite: bool, n: int, now: datetime) -> None:
        self.sqlite, self.n, self.first, self.now = sqlite, n, int(CLOSED_PART * n), now.timestamp()

    def at(self, seconds: str) -> str:
        return (
            f"strftime('%Y-%m-%d %H:%M:%f000', {seconds}, 'unixepoch')"
            if self.sqlite
            else f"date_trunc('milliseconds', to_timestamp({seconds}))"
        )

    def digits(self, number: str) -> str:
        return f"printf('%016d', {number})" if self.sqlite else f"lpad(({number})::text, 16, '0')"

    def json(self, text_: str) -> str:
        return text_ if self.sqlite else f"({text_})::jsonb"

    @property
    def tasks(self) -> str:
        """Each task with what its rows are made of, as a table ``t``."""
        ago = (
            f"CASE WHEN i < {self.first} THEN {OPEN_FOR.total_seconds()} + {CLOSED_FOR.total_seconds()} "
            f"* ({self.first} - i) / {self.first} ELSE {OPEN_FOR.total_seconds()} * ({self.n} - i) "
            f"/ {self.n - self.first} END"
        )
        closed = f"(i < {self.first} OR i % 6 = 0)"
        return f"""
            (SELECT i, {self.digits("i * 7368787 % 1000000007")} AS id, {self.now} - ({ago}) AS came,
                {closed} AS closed,
                CASE WHEN NOT {closed} THEN 'active' WHEN i % 1000 < 980 THEN 'settled'
                     WHEN i % 1000 < 995 THEN 'expired' ELSE 'untracked' END AS tracking,
                CASE WHEN NOT {closed} THEN
                          CASE WHEN i % 100 < 10 THEN 'pending' WHEN i % 100 < 80 THEN 'ongoing'
                               WHEN i % 100 < 98 THEN 'completed' WHEN i % 100 = 98 THEN 'paused'
                               ELSE 'initialized' END
                     WHEN i % 1000 >= 980 THEN 'ongoing' WHEN i % 33 = 0 THEN 'ended_abnormally'
                     ELSE 'completed' END AS status,
                CASE WHEN NOT {closed} THEN NULL WHEN i % 1000 >= 980 THEN 'unresolved'
                     WHEN i / 7 % 1000 < 15 THEN 'no_files' WHEN i / 7 % 1000 < 25 THEN 'uploaded_to_backup'
                     WHEN i / 7 % 1000 < 30 THEN 'partially_lost' WHEN i / 7 % 1000 < 35 THEN 'lost'
                     ELSE 'uploaded' END AS outcome,
                CASE WHEN i % {max(self.n // 20, 1)} = 5 THEN 3 WHEN i % 10 = 3 THEN 2 ELSE 1 END AS app_id,
                CASE WHEN i % 100 = 50 THEN 'lobby' ELSE 'room-' || (i / 20) END AS room
            FROM numbers) t
        """

    def insert(self, table: str, columns: dict[str, str], source: str) -> str:
        numbers = (
            "WITH RECURSIVE numbers(i) AS (SELECT CAST(0 AS bigint) UNION ALL "
            f"SELECT i + 1 FROM numbers WHERE i + 1 < {self.n})"
        )
        values = ", ".join(columns.values())
        return f"INSERT INTO {table} ({', '.join(columns)}) {numbers} SELECT {values} FROM {source}"


def _statements(w: _Words) -> list[str]:
    came, over, null = w.at("came"), w.at("came + 3000 + i % 977"), "NULL"
    changed = w.at("CASE WHEN closed THEN came + 3000 + i % 977 ELSE came + 60 + i % 97 END")
    tasks = {
        "task_id": "id", "app_id": "app_id", "registered_at": came, "updated_at": changed, "registered_via": "'api'",
        "version": "4", "labels": w.json("'{\"team\": \"t' || (i % 5) || '\", \"ticket\": \"T-' || i || '\"}'"),
        "started_at": null, "tracking": "tracking", "status": "status", "status_code": "3", "claim_no": "9",
        "room_id": "CASE WHEN status = 'pending' THEN NULL ELSE room END", "record_mode_code": "1",
        "stream_type_code": "3", "began_at": came, "ended_at": f"CASE WHEN closed THEN {over} END",
        "end_first_asked_at": null, "end_last_asked_at": null, "not_found_since": null,
        "settled_at": f"CASE WHEN tracking = 'settled' THEN {over} END",
        "closed_at": f"CASE WHEN closed THEN {over} END", "outcome": "outcome",
        "outcome_basis": "CASE WHEN closed THEN 'poll' END", "told": null,
        "attention": "CASE WHEN outcome IN ('lost', 'partially_lost') AND i % 10 = 0 THEN 8 ELSE 0 END",
        "file_counts": w.json(
            f"CASE WHEN status = 'pending' THEN '{{}}' "
            f"ELSE '{{\"' || {_FILE_STATUS} || '\": ' || (2 - i % 2) || '}}' END"
        ),
        "query_deadline": w.at("came + 259200"), "last_polled_at": changed, "poll_count": "9",
        "consecutive_failures": "0", "last_error": null,
    }  # fmt: skip
    labels = [
        {"key": "'team'", "value": "'t' || (i % 5)", "task_id": "id"},
        {"key": "'ticket'", "value": "'T-' || i", "task_id": "id"},
    ]
    files = {
        "task_id": "id", "file_id": "id || '_room_user_stream_VA_' || part || '.mp4'",
        "status": _FILE_STATUS,
        "status_code": "3", "user_id": "CASE WHEN part = 1 AND i % 4 = 0 THEN 'recorder' ELSE 'user-' || (i / 10) END",
        "user_name": "'Somebody'", "stream_id": "'stream-' || i || '-' || part", "video_id": null,
        "file_url": "'https://bucket.example/record/' || id || '_room_user_stream_VA_' || part || '.mp4'",
        "output_file_format": "'mp4'", "file_size": "123456789", "duration_ms": "2700000", "resolution_width": "1280",
        "resolution_height": "720", "media_track_type_code": "3", "began_at": came, "custom_begin_timestamp": null,
        "claim_no": "9", "first_seen_at": came, "updated_at": changed,
        "reached_end_at": f"CASE WHEN closed THEN {over} END",
        "backup_expires_at": f"CASE WHEN outcome = 'uploaded_to_backup' THEN {w.at('came + 259200')} END",
        "backup_told": "2", "source": "'poll'",
    }  # fmt: skip
    polls = {
        "task_id": "id", "app_id": "app_id", "urgency": "CASE WHEN status = 'completed' THEN 3 ELSE 4 END",
        "next_poll_at": w.at(f"{w.now} - 600 + i % 1200"), "early_at": w.at(f"{w.now} - 700 + i % 1200"),
        "closes_at": w.at("came + 259200 - 60"), "listed": null, "claim_no": "9", "claimed_as": null,
    }  # fmt: skip
    digest = "id || '-' || part || '-0123456789abcdef0123456789abcdef0123456'"
    callbacks = {
        "received_at": w.at("came + 1 + 1500 * part"), "app_id": "app_id", "task_id": "id", "event_type": "1",
        "sequence": "1", "verdict": "CASE WHEN i % 100 = 1 THEN 'repeat' ELSE 'accepted' END",
        "forget_at": null if w.sqlite else "NULL::timestamptz", "signed": digest,
        "said": digest, "body": f"'{_BODY}'",
    }  # fmt: skip
    kinds = "CASE part WHEN 0 THEN 'task.registered' WHEN 1 THEN 'task.ended' ELSE 'task.settled' END"
    events = {
        "id": "'evt_' || id || part", "type": kinds, "occurred_at": w.at("came + 1400 * part"), "app_id": "app_id",
        "task_id": "id", "task_version": "part + 1", "source": "'poll'", "data": w.json(f"'{json.dumps(_EVENT)}'"),
    }  # fmt: skip
    false = "0" if w.sqlite else "false"
    deliveries = {
        "subscription_id": f"'sub_' || (i % {SUBSCRIPTIONS})", "event_seq": "3 * i + 1",
        "event_id": "'evt_' || id || '2'",
        "type": "CASE WHEN i % 10 = 0 THEN 'task.expired' ELSE 'task.settled' END", "task_id": "id",
        "status": "CASE WHEN i % 1000 = 1 THEN 'failed' ELSE 'delivered' END", "created_at": over,
        "next_attempt_at": null if w.sqlite else "NULL::timestamptz", "fresh": false, "behind": false,
        "claimed": false, "claim_no": "1", "tries": "1",
    }  # fmt: skip
    attempts = {
        "delivery_id": "i + 1", "at": w.at(f"{w.now} - 90 * 86400.0 * ({w.n} - i) / {w.n}"), "status_code": "200",
        "duration_ms": "12", "error": null, "response_excerpt": null,
    }  # fmt: skip
    audit = {
        "at": w.at(f"{w.now} - 90 * 86400.0 * ({w.n} - i) / {w.n}"),
        "key": "CASE WHEN i % 1000 = 0 THEN 'anna' ELSE 'billing' END",
        "action": "CASE WHEN i % 100 = 0 THEN 'task.delete' ELSE 'task.register' END",
        "subject": w.digits("i"), "details": w.json("'{\"created\": 1}'"), "request_id": "'0123456789abcdef'",
    }  # fmt: skip
    answers = {"task_id": "id", "asked_at": changed, "claim_no": "9", "body": f"'{_BODY}'"}
    parts = "(SELECT 0 AS part UNION ALL SELECT 1)"
    return [
        w.insert("tasks", tasks, f"{w.tasks} ORDER BY i"),
        *(w.insert("task_labels", one, w.tasks) for one in labels),
        w.insert(
            "files", files, f"{w.tasks}, {parts} p WHERE status <> 'pending' AND (part = 0 OR i % 2 = 0) ORDER BY i"
        ),
        w.insert("answers", answers, w.tasks),
        w.insert("polls", polls, f"{w.tasks} WHERE NOT closed"),
        w.insert("callbacks", callbacks, f"{w.tasks}, {parts} p ORDER BY i"),
        w.insert("events", events, f"{w.tasks}, (SELECT 0 AS part UNION ALL SELECT 1 UNION ALL SELECT 2) p ORDER BY i"),
        w.insert("deliveries", deliveries, f"{w.tasks} WHERE closed ORDER BY i"),
        w.insert("attempts", attempts, "numbers WHERE i < (SELECT count(*) FROM deliveries)"),
        w.insert("audit", audit, "numbers WHERE i % 10 = 0"),
    ]


@asynccontextmanager
async def _unchecked(database: Database) -> AsyncIterator[Connection]:
    """A transaction in which no reference is checked and no trigger fires."""
    async with database.unhurried() as connection:
        if database.is_sqlite:
            for pragma in ("foreign_keys=OFF", "synchronous=OFF", "cache_size=-500000"):
                await connection.say(f"PRAGMA {pragma}")
        async with database.transaction(connection):
            made_by: Sequence[str] = ()
            if database.is_sqlite:
                triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
                found = await connection.ask(triggers)
                made_by = [row["sql"] for row in found]
                for row in found:
                    await connection.say(f"DROP TRIGGER {row['name']}")
            else:
                await connection.say("SET LOCAL session_replication_role = replica")
                await connection.say("SET LOCAL maintenance_work_mem = '500MB'")
            yield connection
            for statement in made_by:
                await connection.ask(statement)


async def settle_down(database: Database) -> None:
    """What time does to a database by itself: statistics, dead rows away, SQLite's log moved into its file."""
    if database.is_sqlite:
        await database.checkpoint()
        return
    async with database.unhurried() as connection:
        await connection.say("VACUUM ANALYZE")


async def fill(database: Database, n: int, now: datetime) -> None:
    """Put ``n`` tasks, and all that hangs on them, into an empty database."""
    tables: list[Table] = [METADATA.tables[name] for name in FILLED]
    indexes = [index for table in tables for index in table.indexes]
    async with _unchecked(database) as connection:
        for index in indexes:
            await connection.run_sync(index.drop, True)
        for statement in _statements(_Words(database.is_sqlite, n, now)):
            say(f"  {statement.split(maxsplit=3)[2]}")
            await connection.ask(statement)
        for index in indexes:
            await connection.run_sync(index.create)
        counts = METADATA.tables["task_counts"]
        await connection.execute(delete(counts))
        await connection.execute(
            text(
                "INSERT INTO task_counts (tracking, status, outcome, number) "
                "SELECT tracking, status, outcome, count(*) FROM tasks GROUP BY tracking, status, outcome"
            )
        )
    await settle_down(database)
