"""The tables of what is counted as it happens, since counting rows takes too long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.store.models import Base, Serial


class TaskCountRow(Base):
    """A difference in how many tasks there are. Triggers on `tasks` write them; their sum is the number."""

    __tablename__ = "task_counts"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    tracking: Mapped[str]
    status: Mapped[str]
    outcome: Mapped[str | None]
    number: Mapped[int]


class CallCountRow(Base):
    """How many status queries were made for polls of a class, from ``at`` on for one step of time."""

    __tablename__ = "call_counts"

    app_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    urgency: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    number: Mapped[int]
