"""PostgreSQL's driver: how it connects."""

from __future__ import annotations

from typing import Any

IDLE = 30.0
"""Seconds after which PostgreSQL ends a transaction whose process says nothing more."""


def connect_args(*, wait: float, statement: float | None, pooled: bool) -> dict[str, Any]:
    """How to connect: for a connection and for a lock ``wait`` seconds, for a ``statement`` so many. ``pooled``: by a
    PgBouncer, which gives each transaction another connection: what was prepared or set on the last is not there."""
    limits = {"statement_timeout": statement or 0, "lock_timeout": wait, "idle_in_transaction_session_timeout": IDLE}
    settings = {name: f"{seconds * 1000:.0f}" for name, seconds in limits.items()}
    # Every statement has its index, whatever the values; to plan it again took longer than to run it: docs/decisions.md
    settings |= {"enable_seqscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan"}
    unprepared = {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    }
    return {
        "timeout": wait,
        "command_timeout": statement and statement + 1,  # should the server not even say that time is up
        "server_settings": {"application_name": "recording-status"} | ({} if pooled else settings),
    } | (unprepared if pooled else {})
