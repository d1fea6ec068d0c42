"""Statements that are built once and run ever again.

What SQLAlchemy does to run a statement takes longer than all the rest of a page. So on PostgreSQL it only writes the
statement, once, and the driver runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Dialect, Select
from sqlalchemy.exc import OperationalError

from app.store.engine import Connection

Rows = Sequence[Mapping[str, Any]]


class Kept:
    """A statement to be run again and again, with other values each time."""

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement
        self._written: tuple[str, list[tuple[str, Callable[[Any], Any] | None, Any]]] | None = None

    async def rows(self, connection: Connection, given: Mapping[str, Any]) -> Rows:
        """All of them; ``given``: the values of the parameters, and maybe others that it has not."""
        if connection.dialect.name != "postgresql":
            return tuple((await connection.execute(self.statement, given)).mappings())
        if self._written is None:
            self._written = _write(self.statement, connection.dialect)
        text, parameters = self._written
        values = [
            process(given.get(name, own)) if process else given.get(name, own) for name, process, own in parameters
        ]
        driver: Any = connection.sync_connection.connection.driver_connection  # type: ignore[union-attr]
        try:
            found: Rows = await driver.fetch(text, *values)
        except BaseException as error:
            await connection.invalidate()  # whatever became of it
            if isinstance(error, Exception):
                raise OperationalError(text, None, error, hide_parameters=True) from error
            raise
        return found


_DOUBLE = 701
"""PostgreSQL's number of that type; the types of other columns do not ask."""


def _write(statement: Select[Any], dialect: Dialect) -> Any:
    """A statement as PostgreSQL takes it, and of each of its values the name, what to do to it, and what it is if none
    is given."""
    for column in statement.selected_columns:
        processor = column.type.dialect_impl(dialect).result_processor(dialect, _DOUBLE)
        assert processor is None, f"{column} needs SQLAlchemy"
    compiled: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    own, processors = compiled.params, compiled._bind_processors
    return str(compiled), [(name, processors.get(name), own[name]) for name in compiled.positiontup]
