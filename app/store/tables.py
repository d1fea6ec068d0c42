"""The tables, the same on SQLite and PostgreSQL. Their notation first; what is meant stands below each table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC. SQLite would drop the offset of an aware time; a naive one is a bug here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive time {value!r}: every time here carries its offset")
        return value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return _from_sqlite if dialect.name == "sqlite" else None  # else they are aware


def _from_sqlite(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text + "+00:00")


# Ids compare byte by byte on both engines: a language's collation would be slower and could change under an index.
TaskId = String(16).with_variant(String(16, collation="C"), "postgresql")
Bytewise = Text().with_variant(Text(collation="C"), "postgresql")
Serial = BigInteger().with_variant(Integer, "sqlite")
Json = JSON().with_variant(JSONB(), "postgresql")


def key(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    """A column of the primary key."""
    return Column(name, kind, *more, primary_key=True, **options)


def always(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    """A column that has a value in every row."""
    return Column(name, kind, *more, nullable=False, **options)


def maybe(name: str, kind: Any) -> Column[Any]:
    """A column that is null where there is nothing to tell."""
    return Column(name, kind)


def some(name: str, *columns: str, where: str) -> Index:
    """An index of those rows alone; a statement leads to it by saying so word for word."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


TASKS = Table(
    "tasks",
    METADATA,
    key("task_id", TaskId),
    always("app_id", BigInteger),
    always("registered_at", UtcDateTime),
    always("updated_at", UtcDateTime),
    always("registered_via", Text),
    always("version", BigInteger),
    always("labels", Json),
    maybe("started_at", UtcDateTime),
    always("tracking", Text),
    always("status", Text),
    maybe("status_code", BigInteger),
    always("claim_no", BigInteger),
    maybe("room_id", Text),
    maybe("record_mode_code", BigInteger),
    maybe("stream_type_code", BigInteger),
    maybe("began_at", UtcDateTime),
    maybe("ended_at", UtcDateTime),
    maybe("end_first_asked_at", UtcDateTime),
    maybe("end_last_asked_at", UtcDateTime),
    maybe("not_found_since", UtcDateTime),
    maybe("settled_at", UtcDateTime),
    maybe("closed_at", UtcDateTime),
    maybe("outcome", Text),
    maybe("outcome_basis", Text),
    maybe("told", Json),
    always("attention", SmallInteger),
    always("file_counts", Json),
    always("query_deadline", UtcDateTime),
    maybe("last_polled_at", UtcDateTime),
    always("poll_count", BigInteger),
    always("consecutive_failures", BigInteger),
    maybe("last_error", Json),
    Index(None, "registered_at", "task_id"),
    Index(None, "updated_at", "task_id"),
    Index(None, "closed_at"),
    Index(None, "room_id", "registered_at", "task_id"),
    Index(None, "tracking", "registered_at", "task_id"),
    some("ix_tasks_outcome", "outcome", "registered_at", "task_id", where="outcome IS NOT NULL"),
    some("ix_tasks_status", "status", "registered_at", "task_id", where="status <> 'completed'"),
    some("ix_tasks_closing", "tracking", "query_deadline", where="tracking = 'active'"),
    # Few tasks need a person, and people ask for these all day.
    some("ix_tasks_needing_a_person", "registered_at", "task_id", where="attention <> 0"),
)
"""A registered recording task: app.core.recording.Task."""

LABELS = Table(
    "task_labels",
    METADATA,
    key("key", Text),
    key("value", Text),
    key("task_id", TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE")),
    Index(None, "task_id"),
)
"""The labels once more, to be searched by: ``tasks.labels`` is what is shown."""

FILES = Table(
    "files",
    METADATA,
    key("task_id", TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE")),
    key("file_id", Bytewise),
    always("status", Text),
    maybe("status_code", BigInteger),
    maybe("user_id", Text),
    maybe("user_name", Text),
    maybe("stream_id", Text),
    maybe("video_id", Text),
    maybe("file_url", Text),
    maybe("output_file_format", Text),
    maybe("file_size", BigInteger),
    maybe("duration_ms", BigInteger),
    maybe("resolution_width", BigInteger),
    maybe("resolution_height", BigInteger),
    maybe("media_track_type_code", BigInteger),
    maybe("began_at", UtcDateTime),
    maybe("custom_begin_timestamp", BigInteger),
    always("claim_no", BigInteger),
    always("first_seen_at", UtcDateTime),
    always("updated_at", UtcDateTime),
    maybe("reached_end_at", UtcDateTime),
    maybe("backup_expires_at", UtcDateTime),
    # What was told of its backup copy: 0 nothing, 1 that it goes soon, 2 that it is gone.
    always("backup_told", SmallInteger, server_default="0"),
    always("source", Text),
    Index(None, "updated_at", "task_id", "file_id"),
    Index(None, "status", "updated_at", "task_id", "file_id"),
    Index(None, "user_id", "task_id"),
    Index(None, "stream_id", "task_id"),
    some(
        "ix_files_backup_told_backup_expires_at",
        "backup_told",
        "backup_expires_at",
        where="backup_expires_at IS NOT NULL",
    ),
)
"""A file of a task: app.core.recording.File."""

ANSWERS = Table(
    "answers",
    METADATA,
    key("task_id", TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE")),
    always("asked_at", UtcDateTime),
    always("claim_no", BigInteger),
    always("body", Text),
)
"""The provider's last raw answer about a task; apart, since it is large and rarely read."""

POLLS = Table(
    "polls",
    METADATA,
    key("task_id", TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE")),
    always("app_id", BigInteger),
    always("urgency", SmallInteger),
    always("next_poll_at", UtcDateTime),
    maybe("early_at", UtcDateTime),
    maybe("closes_at", UtcDateTime),
    maybe("listed", BigInteger),
    always("claim_no", BigInteger),
    maybe("claimed_as", SmallInteger),
    Index(None, "app_id", "urgency", "next_poll_at"),
    # A claimed row has neither date, so a claim writes nothing here.
    some("ix_polls_early", "app_id", "urgency", "early_at", where="early_at IS NOT NULL"),
    some("ix_polls_closing", "app_id", "closes_at", where="closes_at IS NOT NULL"),
)
"""The queue: one narrow row for each task that is to be polled: app.core.schedule.Plan.

A claim moves ``next_poll_at`` one lease ahead and takes the next ``claim_no``. ``listed``: the status under which
the provider's list of running tasks last showed it; 0: it left that list; null: it never stood there.
``claimed_as``: the class in which the last claim found it.
"""

CALLBACKS = Table(
    "callbacks",
    METADATA,
    key("id", Serial),
    always("received_at", UtcDateTime),
    always("app_id", BigInteger),
    maybe("task_id", Bytewise),
    maybe("event_type", BigInteger),
    maybe("sequence", BigInteger),
    always("verdict", Text),
    maybe("forget_at", UtcDateTime),
    always("signed", String(64)),
    always("said", String(64)),
    maybe("body", Text),
    Index(None, "task_id", "id"),
    Index(None, "signed"),
    Index(None, "received_at"),
    some("ix_callbacks_unknown", "forget_at", where="forget_at IS NOT NULL"),
    some("ix_callbacks_not_accepted", "id", where="verdict <> 'accepted'"),
    sqlite_autoincrement=True,
)
"""A callback as it arrived. ``signed``: digest of app, timestamp, nonce and signature; ``said``: of the body.

``forget_at``: until when one about a task that nobody registered is remembered; null: the task is known.
``body`` is null where its content counts for nothing: a repeat, a suspicious one, one about a deleted task.
"""

EVENTS = Table(
    "events",
    METADATA,
    key("seq", Serial),
    always("id", Text),
    always("type", Text),
    always("occurred_at", UtcDateTime),
    maybe("app_id", BigInteger),
    maybe("task_id", TaskId),
    maybe("task_version", BigInteger),
    always("source", Text),
    always("data", Json),
    Index(None, "task_id", "seq"),
    Index(None, "occurred_at"),
    sqlite_autoincrement=True,
)
"""What changed, in the transaction of the change; a task's history. Some are about no task."""

LOST_POSITIONS = Table(
    "lost_positions",
    METADATA,
    key("after", BigInteger, autoincrement=False),
    always("before", BigInteger),
)
"""Positions in the feed, strictly between two, that cannot be gone on from: what stood there was purged (the row
whose ``after`` is -1), or a power cut may have taken it (app.store.feed)."""

TOMBSTONES = Table(
    "tombstones",
    METADATA,
    key("task_id", TaskId),
    always("app_id", BigInteger),
    always("version", BigInteger),
    always("claim_no", BigInteger),
    always("until", UtcDateTime, index=True),
)
"""A deleted task: its version goes on should it be registered again; until then nothing brings it back."""
