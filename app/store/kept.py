"""Statements that are built once and run ever again.

What SQLAlchemy does to run a statement takes longer than all the rest of a page. So on PostgreSQL it only writes the
statement, once, and the driver runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy import ARRAY, CursorResult, Dialect
from sqlalchemy.types import TypeEngine

from app.store.engine import Connection
from app.store.postgresql import Rows, ask


class Kept:
    """A statement to be run again and again, with other values each time."""

    def __init__(self, statement: Any) -> None:
        self.statement = statement
        self._written: tuple[str, list[tuple[str, Callable[[Any], Any] | None, Any]]] | None = None

    async def rows(self, connection: Connection, given: Mapping[str, Any]) -> Rows:
        """All that it returns; ``given``: the values of the parameters, and maybe others that it has not."""
        if connection.dialect.name != "postgresql":
            return rows_of(await connection.execute(self.statement, given))
        if self._written is None:
            self._written = _write(self.statement, connection.dialect)
        text, parameters = self._written
        values = [
            process(given.get(name, own)) if process else given.get(name, own) for name, process, own in parameters
        ]
        return await ask(connection, text, values)


def rows_of(result: CursorResult[Any]) -> Rows:
    """What came back, if anything does."""
    rows: Any = result.mappings().all() if result.returns_rows else ()
    return cast(Rows, rows)


_DOUBLE = 701
"""PostgreSQL's number of that type; the types of other columns do not ask."""


def _write(statement: Any, dialect: Dialect) -> Any:
    """A statement as PostgreSQL takes it, and of each of its values the name, what to do to it, and what it is if none
    is given."""
    compiled: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    for name, *_, type_ in compiled._result_columns:
        assert type_.dialect_impl(dialect).result_processor(dialect, _DOUBLE) is None, f"{name} needs SQLAlchemy"
    own = compiled.params
    # Those of an IN, one for each value of its list, are texts and numbers.
    to_driver = {name: _processor(bind.type, dialect) for name, bind in compiled.binds.items()}
    return str(compiled), [(name, to_driver.get(name), own[name]) for name in compiled.positiontup]


def _processor(type_: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What makes a value of this type what the driver takes; None: it is that already."""
    if not isinstance(type_, ARRAY):
        return type_.dialect_impl(dialect).bind_processor(dialect)
    if (one := _processor(type_.item_type, dialect)) is None:
        return None  # SQLAlchemy would look at each value whether it is a list itself
    return lambda values: [one(value) for value in values]
