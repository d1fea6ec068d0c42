"""The clock of the call budget, as statements read it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class budget_clock(FunctionElement[float]):  # noqa: N801 - it is written like a function in statements
    """Seconds on the clock that all processes of this database share.

    SQLite: the machine's monotonic clock, since all its processes live on one machine. PostgreSQL: its own clock, read
    at each call (``now()`` would stand still in a transaction).
    """

    type = Double()
    inherit_cache = True


@compiles(budget_clock, "sqlite")
def _sqlite_clock(element: Any, compiler: Any, **kw: Any) -> str:
    return "budget_clock()"


@compiles(budget_clock, "postgresql")
def _postgresql_clock(element: Any, compiler: Any, **kw: Any) -> str:
    return "extract(epoch FROM clock_timestamp())::double precision"
