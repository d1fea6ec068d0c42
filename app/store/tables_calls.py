"""The tables of our calls to the provider: permits, budgets and sweeps."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, SmallInteger, Table, Text, false

from app.store.tables import METADATA, Json, UtcDateTime, always, key, maybe

PERMITS = Table(
    "permits",
    METADATA,
    key("app_id", BigInteger),
    key("action", Text),
    key("slot", SmallInteger),
    always("fence", BigInteger),
    maybe("holder", Text),
    maybe("doubt_at", Double),
    always("free_at", Double),
)
"""One of the calls an app may make at a time. Times are seconds on the budget's clock (app.store.budget_clock).

free (``free_at`` past) · cooling (``doubt_at`` null) · in flight (``doubt_at`` to come) · in doubt (past).
"""

BUDGETS = Table(
    "budgets",
    METADATA,
    key("app_id", BigInteger),
    key("action", Text),
    maybe("cut_to", BigInteger),
    always("cut_at", Double),
    always("refused_at", Double),
    always("misses", BigInteger),
    maybe("paused", Text),
    always("probe_at", Double),
    always("switched_off", Boolean, server_default=false()),
    maybe("cap", SmallInteger),
)
"""What an app's calls have come to lately: app.core.budget.AppState."""

SWEEPS = Table(
    "sweeps",
    METADATA,
    key("app_id", BigInteger),
    always("next_at", UtcDateTime),
    # When the last sweep that saw everything began: what it tells is as old as that.
    maybe("completed_at", UtcDateTime),
    always("calls", BigInteger),
    always("listed", BigInteger),
    maybe("error", Json),
)
"""The sweep over an app's task list: when it is due, and what the last one came to."""
