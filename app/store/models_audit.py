"""The table of who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.store.models import Base, Serial


class AuditRow(Base):
    """What a caller changed: app.tracking.audit. No foreign keys: a line outlives what it tells of."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(None, "key", "id"),
        Index(None, "action", "id"),
        Index(None, "at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    at: Mapped[datetime]
    key: Mapped[str | None]
    action: Mapped[str]
    subject: Mapped[str | None]
    details: Mapped[dict[str, Any]]
    request_id: Mapped[str | None]
