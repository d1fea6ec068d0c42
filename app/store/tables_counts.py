"""The tables of what is counted as it happens, since counting rows takes too long."""

from __future__ import annotations

from sqlalchemy import BigInteger, SmallInteger, Table, Text

from app.store.tables import METADATA, Serial, UtcDateTime, always, key, maybe

TASK_COUNTS = Table(
    "task_counts",
    METADATA,
    key("id", Serial),
    always("tracking", Text),
    always("status", Text),
    maybe("outcome", Text),
    always("number", BigInteger),
)
"""A difference in how many tasks there are. Triggers on `tasks` write them; their sum is the number."""

CALL_COUNTS = Table(
    "call_counts",
    METADATA,
    key("app_id", BigInteger, autoincrement=False),
    key("at", UtcDateTime),
    key("urgency", SmallInteger, autoincrement=False),
    always("number", BigInteger),
)
"""How many status queries were made for polls of a class, from ``at`` on for one step of time."""
