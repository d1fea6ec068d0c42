"""Rings after the commit. A stand-in with the agreed name, for this process alone: the real one replaces it."""

from __future__ import annotations

from app.store.engine import RUNG, Connection


def ring(connection: Connection, name: str) -> None:
    """Have everybody who waits for ``name`` look again once this transaction is committed."""
    assert connection.sync_connection is not None
    connection.sync_connection.info.setdefault(RUNG, set()).add(name)
