"""Adding and finding many rows, by statements that are the same however many there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    ColumnElement,
    String,
    Table,
    Text,
    bindparam,
    column,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.store.connection import Connection, Rows
from app.store.kept import Kept, rows_of_each

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

    PostgreSQL gets them as one JSON text: to hand each value, or a list of each column, to the driver took longer.
    """
    return await _write(connection, [(table, rows, finish)])


async def put_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], finish: Finish = plainly
) -> None:
    """The same, if nothing is to come back; within `one_trip` at its end."""
    await _put(connection, table, rows, finish)


async def change_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns, the same of each row, whose primary key says which it is; within `one_trip` at its end."""
    await _put(connection, table, rows, None)


@asynccontextmanager
async def one_trip(connection: Connection) -> AsyncIterator[None]:
    """What is put meanwhile is written at the end; on PostgreSQL by one statement, so no row may be put twice."""
    info = connection.info  # a connection that failed has none any more
    if _WAITING in info:
        yield
        return
    info[_WAITING] = []
    try:
        yield
        await send(connection)
    finally:
        info.pop(_WAITING, None)


async def send(connection: Connection) -> None:
    """Write what waits for the end of `one_trip`, for somebody is to read it."""
    if waiting := connection.info.get(_WAITING):
        connection.info[_WAITING] = []
        await _write(connection, waiting)


_WAITING = "waiting"


_Put = tuple[Table, Sequence[Mapping[str, Any]], Finish | None]
"""Rows of a table; without a `Finish` they are there and change."""


async def _put(connection: Connection, *put: *_Put) -> None:
    if _WAITING in connection.info:
        connection.info[_WAITING].append(put)
    else:
        await _write(connection, [put])


async def _write(connection: Connection, puts: Sequence[_Put]) -> Rows:
    """What the first returns."""
    if connection.dialect.name == "sqlite":
        return await rows_of_each(
            connection, [(_of_one(table, tuple(rows[0]), finish), map(_new, rows)) for table, rows, finish in puts]
        )
    shapes, given = zip(*(_shaped(*put) for put in puts), strict=True)
    return await _in_one(shapes).rows(connection, {f"rows_{number}": one for number, one in enumerate(given)})


def _new(row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in row.items()}


@lru_cache(maxsize=100)
def _of_one(table: Table, names: tuple[str, ...], finish: Finish | None) -> Kept:
    """SQLite's statement for one row."""
    new = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    return Kept(finish(sqlite.insert(table).values(new)) if finish else _changed(table, new))


def _changed(table: Table, new: Mapping[str, Any]) -> Any:
    these = [column == new[column.name] for column in table.primary_key]
    return update(table).where(*these).values({k: new[k] for k in new if not table.c[k].primary_key})


class _Shape(NamedTuple):
    """What PostgreSQL does with rows of a table; without ``finish`` they are there and change. ``alike``: columns with
    one value for all, of rows that come column by column, whose JSON is no list; None: they come one by one."""

    table: Table
    names: tuple[str, ...]
    alike: frozenset[str] | None
    finish: Finish | None

    def statement(self, number: int) -> Any:
        rows = self._given(f"rows_{number}")
        new = {name: rows.c[name] for name in self.names}
        if self.finish is None:
            return _changed(self.table, new)
        insert = postgresql.insert(self.table).from_select(self.names, select(*(new[name] for name in self.names)))
        return self.finish(insert)

    def _given(self, parameter: str) -> Any:
        """The rows that a parameter holds."""
        # Texts without their length and collation: PostgreSQL would cut too long ones short.
        types = {name: self.table.c[name].type for name in self.names}
        types = {name: Text() if isinstance(type_, String) else type_ for name, type_ in types.items()}
        given = bindparam(parameter, type_=JSON())
        if self.alike is None:
            return _derived(func.json_to_recordset(given), f"new_{parameter}", types)
        lists = {name: type_ if name in self.alike else ARRAY(type_) for name, type_ in types.items()}
        all_ = _derived(func.json_to_record(given), f"all_{parameter}", lists)
        each = {name: type_ for name, type_ in types.items() if name not in self.alike}
        plain = [column(*one) for one in each.items()]
        one = func.unnest(*(all_.c[name] for name in each)).table_valued(*plain).render_derived(name=f"one_{parameter}")
        these = (all_.c[name] if name in self.alike else one.c[name] for name in self.names)
        return select(*these).select_from(all_.join(one, true())).subquery(f"new_{parameter}")


def _derived(function: Any, name: str, types: Mapping[str, Any]) -> Any:
    """What a function returns, as a table with these columns."""
    plain = [column(*one) for one in types.items()]
    return function.table_valued(*plain, joins_implicitly=True).render_derived(name=name, with_types=True)


MANY = 100
"""Rows from which on they go column by column, and one value where all are alike: it pays, but each such statement is
one of its own."""


def _shaped(table: Table, rows: Sequence[Mapping[str, Any]], finish: Finish | None) -> tuple[_Shape, Any]:
    """A shape, and what its parameter is given."""
    names = tuple(rows[0])
    if len(rows) < MANY:
        return _Shape(table, names, None, finish), rows
    columns = {name: [row[name] for row in rows] for name in names}
    alike = {name: values[0] for name, values in columns.items() if values.count(values[0]) == len(values)}
    if len(alike) == len(names):
        alike.popitem()  # something has to say how many rows there are
    return _Shape(table, names, frozenset(alike), finish), {**columns, **alike}


@lru_cache(maxsize=500)
def _in_one(shapes: tuple[_Shape, ...]) -> Kept:
    """The statement for rows of all these shapes; what comes back is what the first returns."""
    first, *others = (shape.statement(number) for number, shape in enumerate(shapes))
    return Kept(first.add_cte(*(one.cte(f"put_{number}") for number, one in enumerate(others))) if others else first)


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
