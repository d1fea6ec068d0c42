"""Adding and finding many rows, by statements that are the same however many there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, JSON, BindParameter, ColumnElement, String, Table, Text, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.store.driver import Rows
from app.store.engine import Connection
from app.store.kept import Kept, rows_of

INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""Each engine's own INSERT, which knows ON CONFLICT."""


def upsert(connection: Connection) -> Any:
    """The INSERT of this connection's engine."""
    return INSERT[connection.dialect.name]


Finish = Callable[[Any], Any]
"""Adds to an INSERT what follows its values."""


def plainly(statement: Any) -> Any:
    return statement


def unless_there(statement: Any) -> Any:
    return statement.on_conflict_do_nothing()


async def add_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], finish: Finish) -> Rows:
    """Add rows, all of the same columns, in this order; what came back. ``finish``: a function of a module, which adds
    to the INSERT what is to be done on a conflict and what is to come back.

    PostgreSQL gets a list for each column: it took longer to read a statement with each value for itself than to store
    them.
    """
    if connection.dialect.name == "sqlite":
        return rows_of(await connection.execute(finish(sqlite.insert(table)), rows))
    return await _in_one((_Shape(table, tuple(rows[0]), finish),)).rows(connection, _lists(0, rows))


async def put_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], finish: Finish = plainly
) -> None:
    """The same, if nothing is to come back; within `one_trip` at its end."""
    await _put(connection, _Shape(table, tuple(rows[0]), finish), rows)


async def change_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns, the same of each row, whose primary key says which it is; within `one_trip` at its end."""
    await _put(connection, _Shape(table, tuple(rows[0]), None), rows)


@asynccontextmanager
async def one_trip(connection: Connection) -> AsyncIterator[None]:
    """What is put meanwhile is written at the end, on PostgreSQL by one statement. So no row may be put twice."""
    if _WAITING in connection.info:
        yield
        return
    connection.info[_WAITING] = []
    try:
        yield
        await send(connection)
    finally:
        del connection.info[_WAITING]


async def send(connection: Connection) -> None:
    """Write what waits for the end of `one_trip`, for somebody is to read it."""
    if waiting := connection.info.get(_WAITING):
        connection.info[_WAITING] = []
        given = {name: value for n, (_, rows) in enumerate(waiting) for name, value in _lists(n, rows).items()}
        await _in_one(tuple(shape for shape, _ in waiting)).rows(connection, given)


_WAITING = "waiting"


async def _put(connection: Connection, shape: _Shape, rows: Sequence[Mapping[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        await connection.execute(*shape.for_sqlite(rows))
    elif _WAITING in connection.info:
        connection.info[_WAITING].append((shape, rows))
    else:
        await _in_one((shape,)).rows(connection, _lists(0, rows))


class _Shape(NamedTuple):
    """What is done with rows of these columns of a table; without ``finish`` they are there and change."""

    table: Table
    names: tuple[str, ...]
    finish: Finish | None

    def for_sqlite(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, Sequence[Mapping[str, Any]]]:
        if self.finish:
            return self.finish(sqlite.insert(self.table)), rows
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in self.names}
        return self._change(values), [{f"new_{name}": value for name, value in row.items()} for row in rows]

    def for_postgresql(self, number: int) -> Any:
        # Texts without their length and collation: PostgreSQL would cut too long ones short.
        types = {name: self.table.c[name].type for name in self.names}
        plain = {name: Text() if isinstance(type_, String) else type_ for name, type_ in types.items()}
        lists = [bindparam(f"{name}_{number}", type_=ARRAY(type_)) for name, type_ in plain.items()]
        new = func.unnest(*lists).table_valued(*self.names, name=f"new_{number}").render_derived()
        if self.finish:
            new_rows = select(*(new.c[name] for name in self.names))
            return self.finish(postgresql.insert(self.table).from_select(self.names, new_rows))
        return self._change({name: new.c[name] for name in self.names})

    def _change(self, new: Mapping[str, Any]) -> Any:
        these = [column == new[column.name] for column in self.table.primary_key]
        return (
            update(self.table).where(*these).values({k: v for k, v in new.items() if not self.table.c[k].primary_key})
        )


@lru_cache(maxsize=500)
def _in_one(shapes: tuple[_Shape, ...]) -> Kept:
    """PostgreSQL's statement for rows of all these shapes; what comes back is what the first returns."""
    first, *others = (shape.for_postgresql(number) for number, shape in enumerate(shapes))
    return Kept(first.add_cte(*(one.cte(f"put_{number}") for number, one in enumerate(others))) if others else first)


def _lists(number: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of a shape's parameters."""
    return {f"{name}_{number}": [row[name] for row in rows] for name in rows[0]}


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
