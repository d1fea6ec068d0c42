"""The tables. The same models serve SQLite and PostgreSQL; rows are read and written as Core rows, not as entities."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
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
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


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


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        datetime: UtcDateTime,
        dict[str, Any]: JSON().with_variant(JSONB(), "postgresql"),
        int: BigInteger,
        str: Text,
        float: Double,
    }


# Ids compare byte by byte on both engines: a language's collation would be slower and could change under an index.
TaskId = String(16).with_variant(String(16, collation="C"), "postgresql")
FileId = Text().with_variant(Text(collation="C"), "postgresql")
Serial = BigInteger().with_variant(Integer, "sqlite")


def table_of(row: type[Base]) -> Table:
    """The table behind a row's class: statements on it are cheaper to build and to run than on the class."""
    return cast(Table, row.__table__)


def _some(name: str, *columns: str, where: str) -> Index:
    """An index of those rows alone; a statement leads to it by saying so word for word."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class TaskRow(Base):
    """A registered recording task: app.core.recording.Task."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index(None, "registered_at", "task_id"),
        Index(None, "updated_at", "task_id"),
        Index(None, "closed_at"),
        Index(None, "room_id", "registered_at", "task_id"),
        Index(None, "tracking", "registered_at", "task_id"),
        _some("ix_tasks_outcome", "outcome", "registered_at", "task_id", where="outcome IS NOT NULL"),
        _some("ix_tasks_status", "status", "registered_at", "task_id", where="status <> 'completed'"),
        _some("ix_tasks_closing", "tracking", "query_deadline", where="tracking = 'active'"),
        # Few tasks need a person, and people ask for these all day.
        _some("ix_tasks_needing_a_person", "registered_at", "task_id", where="attention <> 0"),
    )

    task_id: Mapped[str] = mapped_column(TaskId, primary_key=True)
    app_id: Mapped[int]
    registered_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    registered_via: Mapped[str]
    version: Mapped[int]
    labels: Mapped[dict[str, Any]]
    started_at: Mapped[datetime | None]
    tracking: Mapped[str]
    status: Mapped[str]
    status_code: Mapped[int | None]
    claim_no: Mapped[int]
    room_id: Mapped[str | None]
    record_mode_code: Mapped[int | None]
    stream_type_code: Mapped[int | None]
    began_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    end_first_asked_at: Mapped[datetime | None]
    end_last_asked_at: Mapped[datetime | None]
    not_found_since: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    outcome_basis: Mapped[str | None]
    told: Mapped[dict[str, Any] | None]
    attention: Mapped[int] = mapped_column(SmallInteger)
    file_counts: Mapped[dict[str, Any]]
    query_deadline: Mapped[datetime]
    last_polled_at: Mapped[datetime | None]
    poll_count: Mapped[int]
    consecutive_failures: Mapped[int]
    last_error: Mapped[dict[str, Any] | None]


class LabelRow(Base):
    """The labels once more, to be searched by: ``tasks.labels`` is what is shown."""

    __tablename__ = "task_labels"
    __table_args__ = (Index(None, "task_id"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE"), primary_key=True)


class FileRow(Base):
    """A file of a task: app.core.recording.File."""

    __tablename__ = "files"
    __table_args__ = (
        Index(None, "updated_at", "task_id", "file_id"),
        Index(None, "status", "updated_at", "task_id", "file_id"),
        Index(None, "user_id", "task_id"),
        Index(None, "stream_id", "task_id"),
        _some(
            "ix_files_backup_told_backup_expires_at",
            "backup_told",
            "backup_expires_at",
            where="backup_expires_at IS NOT NULL",
        ),
    )

    task_id: Mapped[str] = mapped_column(TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[str] = mapped_column(FileId, primary_key=True)
    status: Mapped[str]
    status_code: Mapped[int | None]
    user_id: Mapped[str | None]
    user_name: Mapped[str | None]
    stream_id: Mapped[str | None]
    video_id: Mapped[str | None]
    file_url: Mapped[str | None]
    output_file_format: Mapped[str | None]
    file_size: Mapped[int | None]
    duration_ms: Mapped[int | None]
    resolution_width: Mapped[int | None]
    resolution_height: Mapped[int | None]
    media_track_type_code: Mapped[int | None]
    began_at: Mapped[datetime | None]
    custom_begin_timestamp: Mapped[int | None]
    claim_no: Mapped[int]
    first_seen_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    reached_end_at: Mapped[datetime | None]
    backup_expires_at: Mapped[datetime | None]
    backup_told: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """What was told of its backup copy: 0 nothing, 1 that it goes soon, 2 that it is gone."""
    source: Mapped[str]


class AnswerRow(Base):
    """The provider's last raw answer about a task; apart, since it is large and rarely read."""

    __tablename__ = "answers"

    task_id: Mapped[str] = mapped_column(TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE"), primary_key=True)
    asked_at: Mapped[datetime]
    claim_no: Mapped[int]
    body: Mapped[str]


class PollRow(Base):
    """The queue: one narrow row for each task that is to be polled: app.core.schedule.Plan.

    A claim moves ``next_poll_at`` one lease ahead and takes the next ``claim_no``. ``listed``: the status under which
    the provider's list of running tasks last showed it; 0: it left that list; null: it never stood there.
    ``claimed_as``: the class in which the last claim found it.
    """

    __tablename__ = "polls"
    __table_args__ = (
        Index(None, "app_id", "urgency", "next_poll_at"),
        # A claimed row has neither date, so a claim writes nothing here.
        _some("ix_polls_early", "app_id", "urgency", "early_at", where="early_at IS NOT NULL"),
        _some("ix_polls_closing", "app_id", "closes_at", where="closes_at IS NOT NULL"),
    )

    task_id: Mapped[str] = mapped_column(TaskId, ForeignKey("tasks.task_id", ondelete="CASCADE"), primary_key=True)
    app_id: Mapped[int]
    urgency: Mapped[int] = mapped_column(SmallInteger)
    next_poll_at: Mapped[datetime]
    early_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    listed: Mapped[int | None]
    claim_no: Mapped[int]
    claimed_as: Mapped[int | None] = mapped_column(SmallInteger)


class CallbackRow(Base):
    """A callback as it arrived. ``signed``: digest of app, timestamp, nonce and signature; ``said``: of the body.

    ``forget_at``: until when one about a task that nobody registered is remembered; null: the task is known.
    ``body`` is null where its content counts for nothing: a repeat, a suspicious one, one about a deleted task.
    """

    __tablename__ = "callbacks"
    __table_args__ = (
        Index(None, "task_id", "id"),
        Index(None, "signed"),
        Index(None, "received_at"),
        _some("ix_callbacks_unknown", "forget_at", where="forget_at IS NOT NULL"),
        _some("ix_callbacks_not_accepted", "id", where="verdict <> 'accepted'"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    received_at: Mapped[datetime]
    app_id: Mapped[int]
    task_id: Mapped[str | None] = mapped_column(FileId)
    event_type: Mapped[int | None]
    sequence: Mapped[int | None]
    verdict: Mapped[str]
    forget_at: Mapped[datetime | None]
    signed: Mapped[str] = mapped_column(String(64))
    said: Mapped[str] = mapped_column(String(64))
    body: Mapped[str | None]


class EventRow(Base):
    """What changed, in the transaction of the change; a task's history. Some are about no task."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "task_id", "seq"), Index(None, "occurred_at"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(Serial, primary_key=True)
    id: Mapped[str]
    type: Mapped[str]
    occurred_at: Mapped[datetime]
    app_id: Mapped[int | None]
    task_id: Mapped[str | None] = mapped_column(TaskId)
    task_version: Mapped[int | None]
    source: Mapped[str]
    data: Mapped[dict[str, Any]]


class LostPositionsRow(Base):
    """Positions in the feed, strictly between two, that cannot be gone on from: what stood there was purged (the row
    whose ``after`` is -1), or a power cut may have taken it (app.store.feed)."""

    __tablename__ = "lost_positions"

    after: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    before: Mapped[int]


class TombstoneRow(Base):
    """A deleted task: its version goes on should it be registered again; until then nothing brings it back."""

    __tablename__ = "tombstones"

    task_id: Mapped[str] = mapped_column(TaskId, primary_key=True)
    app_id: Mapped[int]
    version: Mapped[int]
    claim_no: Mapped[int]
    until: Mapped[datetime] = mapped_column(index=True)
