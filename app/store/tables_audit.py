"""The table of who did what."""

from __future__ import annotations

from sqlalchemy import Index, Table, Text

from app.store.tables import METADATA, Json, Serial, UtcDateTime, always, key, maybe

AUDIT = Table(
    "audit",
    METADATA,
    key("id", Serial),
    always("at", UtcDateTime),
    maybe("key", Text),
    always("action", Text),
    maybe("subject", Text),
    always("details", Json),
    maybe("request_id", Text),
    Index(None, "key", "id"),
    Index(None, "action", "id"),
    Index(None, "at"),
    sqlite_autoincrement=True,
)
"""What a caller changed: app.tracking.audit. No foreign keys: a line outlives what it tells of."""
