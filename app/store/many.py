"""Adding and finding many rows, by statements that are the same however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, JSON, BindParameter, ColumnElement, String, Table, Text, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from app.store.driver import Rows
from app.store.engine import Connection
from app.store.kept import Kept, rows_of

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
) -> Rows:
    """Add rows, all of the same columns, in this order; what came back. ``finish``: a function of a module, which adds
    to the INSERT what is to be done on a conflict and what is to come back.

    PostgreSQL gets a list for each column, or one value for all rows: it took longer to read a statement with each
    value for itself than to store them.
    """
    if connection.dialect.name == "sqlite":
        return rows_of(await connection.execute(finish(sqlite.insert(table)), rows))
    columns = _columns(rows)
    alike = [name for name, values in columns.items() if values.count(values[0]) == len(values)]
    if len(alike) == len(columns):
        alike = alike[1:]  # something has to say how many rows there are
    given = columns | {name: columns[name][0] for name in alike}
    return await _insert(table, tuple(columns), frozenset(alike), finish).rows(connection, given)


async def change_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns, the same of each row; those of the primary key say which row it is."""
    if connection.dialect.name == "sqlite":
        await connection.execute(
            _update_one(table, tuple(rows[0])), [{f"new_{k}": v for k, v in row.items()} for row in rows]
        )
    else:
        await _update(table, tuple(rows[0])).rows(connection, _columns(rows))


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@lru_cache(maxsize=500)
def _insert(table: Table, names: tuple[str, ...], alike: frozenset[str], finish: Callable[[Any], Any]) -> Kept:
    types = _types(table, names)
    new = _unnested(types, [name for name in names if name not in alike])
    values = [bindparam(name, type_=types[name]) if name in alike else new.c[name] for name in names]
    return Kept(finish(postgresql.insert(table).from_select(names, select(*values).select_from(new))))


@lru_cache(maxsize=500)
def _update(table: Table, names: tuple[str, ...]) -> Kept:
    new = _unnested(_types(table, names), names)
    these = [column == new.c[column.name] for column in table.primary_key]
    changed = {name: new.c[name] for name in names if not table.c[name].primary_key}
    return Kept(update(table).where(*these).values(changed))


@lru_cache(maxsize=500)
def _update_one(table: Table, names: tuple[str, ...]) -> Any:
    new: dict[str, BindParameter[Any]] = {name: bindparam(f"new_{name}") for name in names}
    these = [column == new[column.name] for column in table.primary_key]
    return update(table).where(*these).values({name: new[name] for name in names if not table.c[name].primary_key})


def _types(table: Table, names: Iterable[str]) -> dict[str, TypeEngine[Any]]:
    """Texts without their length and collation: PostgreSQL would cut too long ones short."""
    return {name: Text() if isinstance(table.c[name].type, String) else table.c[name].type for name in names}


def _unnested(types: Mapping[str, TypeEngine[Any]], names: Iterable[str]) -> Any:
    """Rows made of lists, the parameters of these names."""
    lists = [bindparam(name, type_=ARRAY(types[name])) for name in names]
    return func.unnest(*lists).table_valued(*(one.key for one in lists)).render_derived()


class _Among(FunctionElement[Any]):
    inherit_cache = True  # and no type: SQLite would be asked whether it is 1, and find nothing by an index


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether a text stands in a list, the parameter of this name."""
    given: BindParameter[Any] = bindparam(name, type_=ARRAY(Text()).with_variant(JSON(), "sqlite"))
    return _Among(column, given)


@compiles(_Among, "sqlite")
def _sqlite_among(element: _Among, compiler: Any, **kw: Any) -> str:
    column, given = (compiler.process(one, **kw) for one in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({given}))"  # noqa: S608 - of what SQLAlchemy made


@compiles(_Among, "postgresql")
def _postgresql_among(element: _Among, compiler: Any, **kw: Any) -> str:
    column, given = (compiler.process(one, **kw) for one in element.clauses)
    return f"{column} = ANY ({given})"
