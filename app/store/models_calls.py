"""The tables of our calls to the provider: permits, budgets and sweeps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import SmallInteger, false
from sqlalchemy.orm import Mapped, mapped_column

from app.store.models import Base


class PermitRow(Base):
    """One of the calls an app may make at a time. Times are seconds on the budget's clock (app.store.budget_clock).

    free (``free_at`` past) · cooling (``doubt_at`` null) · in flight (``doubt_at`` to come) · in doubt (past).
    """

    __tablename__ = "permits"

    app_id: Mapped[int] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    fence: Mapped[int]
    holder: Mapped[str | None]
    doubt_at: Mapped[float | None]
    free_at: Mapped[float]


class BudgetRow(Base):
    """What an app's calls have come to lately: app.core.budget.AppState."""

    __tablename__ = "budgets"

    app_id: Mapped[int] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(primary_key=True)
    cut_to: Mapped[int | None]
    cut_at: Mapped[float]
    refused_at: Mapped[float]
    misses: Mapped[int]
    paused: Mapped[str | None]
    probe_at: Mapped[float]
    switched_off: Mapped[bool] = mapped_column(server_default=false())
    cap: Mapped[int | None] = mapped_column(SmallInteger)


class SweepRow(Base):
    """The sweep over an app's task list: when it is due, and what the last one came to."""

    __tablename__ = "sweeps"

    app_id: Mapped[int] = mapped_column(primary_key=True)
    next_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    """When the last sweep that saw everything began: what it tells is as old as that."""
    calls: Mapped[int]
    listed: Mapped[int]
    error: Mapped[dict[str, Any] | None]
