"""Which of the drivers' errors mean that the database is not available for now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app import metrics
from app.errors import DatabaseUnavailable

# SQLSTATE classes: connection, insufficient resources, operator intervention, system error, and the single states for
# lock not available, deadlock, serialisation failure, statement time-out.
_TRANSIENT = ("08", "53", "57", "58", "55P03", "40P01", "40001")


@contextmanager
def unavailable_if_down() -> Iterator[None]:
    """Turns what drivers raise for a database that is locked, gone or full into DatabaseUnavailable."""
    try:
        yield
    except Exception as error:
        if _is_down(error):
            metrics.DATABASE_UNAVAILABLE.inc()
            raise DatabaseUnavailable(str(error).splitlines()[0] if str(error) else repr(error)) from error
        raise


def _is_down(error: BaseException) -> bool:
    if isinstance(error, (OSError, PoolTimeoutError, TimeoutError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return str(state).startswith(_TRANSIENT)
    missing = "no such table" in str(error.orig)
    return isinstance(error, OperationalError) and not missing
