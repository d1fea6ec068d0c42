"""Adding rows to a table, on either engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, String, Table, Text, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from app.store.engine import Connection

INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""Each engine's own INSERT, which knows ON CONFLICT."""


def upsert(connection: Connection) -> Any:
    """The INSERT of this connection's engine."""
    return INSERT[connection.dialect.name]


def plainly(statement: Any) -> Any:
    return statement


def unless_there(statement: Any) -> Any:
    return statement.on_conflict_do_nothing()


async def add_rows(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    finish: Callable[[Any], Any] = plainly,
) -> Any:
    """Add rows, all of the same columns, in this order; what came back. ``finish``: a function of a module, which adds
    to the INSERT what is to be done on a conflict and what is to come back.

    PostgreSQL gets a list for each column: it took longer to read a statement with each value for itself than to store
    them.
    """
    if connection.dialect.name == "sqlite":
        return await connection.execute(finish(sqlite.insert(table)), rows)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return await connection.execute(_insert(table, tuple(columns), finish), columns)


@cache
def _insert(table: Table, names: tuple[str, ...], finish: Callable[[Any], Any]) -> Any:
    # Of texts without their length and collation: PostgreSQL would cut too long ones short.
    types = [Text() if isinstance(table.c[name].type, String) else table.c[name].type for name in names]
    columns = [bindparam(name, type_=ARRAY(type_)) for name, type_ in zip(names, types, strict=True)]
    lists = func.unnest(*columns).table_valued(*names).render_derived()
    return finish(postgresql.insert(table).from_select(names, select(lists)))
