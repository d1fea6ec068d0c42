"""Statements that are built once and run ever again.

What SQLAlchemy does to run a statement takes longer than all the rest of a page. So it only writes the statement, once,
and the driver runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Dialect
from sqlalchemy.types import TypeEngine

from app.store.connection import Connection, Rows

Given = Mapping[str, Any]
"""Values of a statement's parameters, and maybe others that it has not."""


class Kept:
    """A statement to be run again and again, with other values each time."""

    def __init__(self, statement: Any) -> None:
        self.statement = statement
        self._written: dict[str, _Written] = {}

    async def rows(self, connection: Connection, given: Given) -> Rows:
        """All that it returns."""
        written = self.written(connection.dialect)
        return written.read(await connection.ask(written.text, written.values(given)))

    def written(self, dialect: Dialect) -> _Written:
        """As this engine takes it."""
        if dialect.name not in self._written:
            self._written[dialect.name] = _Written(self.statement, dialect)
        return self._written[dialect.name]


async def rows_of_each(connection: Connection, asked: Iterable[tuple[Kept, Iterable[Given]]]) -> Rows:
    """On SQLite, all that these return, each run once for each of what is given; in one trip to its thread. Only the
    first of them returns anything."""
    written = [(kept.written(connection.dialect), given) for kept, given in asked]
    found = await connection.ask_each([(one.text, [one.values(row) for row in rows]) for one, rows in written])
    return written[0][0].read(found)


_DOUBLE = 701
"""PostgreSQL's number of that type; the types of other columns do not ask."""

Process = Callable[[Any], Any]


class _Written:
    """A statement as a driver takes it; what is done to values on their way there, and back."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        self.text = str(compiled)
        own = compiled.params
        # Those of an IN, one for each value of its list, are texts and numbers.
        to_driver = {name: _to_driver(bind.type, dialect) for name, bind in compiled.binds.items()}
        self._parameters = [(name, to_driver.get(name), own[name]) for name in compiled.positiontup]
        self._columns = [str(name) for name, *_ in compiled._result_columns]
        from_driver = {str(name): _from_driver(type_, dialect) for name, *_, type_ in compiled._result_columns}
        self._processed = [(name, process) for name, process in from_driver.items() if process]
        assert not self._processed or dialect.name == "sqlite", f"{self.text} needs SQLAlchemy"

    def values(self, given: Given) -> Sequence[Any]:
        """In the order in which the driver takes them; what is not given, the statement knows."""
        return [
            process(given.get(name, own)) if process else given.get(name, own)
            for name, process, own in self._parameters
        ]

    def read(self, rows: Rows) -> Rows:
        """The driver's rows, as they are meant."""
        if not self._processed:
            return rows
        found = [dict(zip(self._columns, row.values(), strict=True)) for row in rows]
        for name, process in self._processed:
            for row in found:
                row[name] = process(row[name])
        return found


def _from_driver(type_: TypeEngine[Any], dialect: Dialect) -> Process | None:
    """What makes a value of this type of what the driver gives; None: it is that already."""
    return type_.dialect_impl(dialect).result_processor(dialect, _DOUBLE)


def _to_driver(type_: TypeEngine[Any], dialect: Dialect) -> Process | None:
    """What makes a value of this type what the driver takes; None: it is that already."""
    here: TypeEngine[Any] = type_.dialect_impl(dialect)
    if not isinstance(here, ARRAY):
        return here.bind_processor(dialect)
    if (one := _to_driver(here.item_type, dialect)) is None:
        return None  # SQLAlchemy would look at each value whether it is a list itself
    return lambda values: [one(value) for value in values]
