"""Conditions, and what indexes do with them."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, Select, false, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType


def checked(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition, of no use to an index."""
    return condition.is_(true())


def holds(of_row: Select[Any], *checks: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether what this finds for the row in question passes. An EXISTS PostgreSQL may answer for all rows at once."""
    return of_row.where(*map(checked, checks)).limit(1).scalar_subquery().is_not(None)


def shows_label(json: ColumnElement[Any], *path: str, value: str) -> ColumnElement[bool]:
    """Whether JSON has this label; ``path``: where in it, the label's key last."""
    # No task has another key, and it would need quoting in a path.
    return json[path].as_string() == value if _LABEL_KEY.fullmatch(path[-1]) else false()


_LABEL_KEY = re.compile(r"[a-z0-9._-]+")


class By(FunctionElement[Any]):
    """A condition as PostgreSQL finds it by an index, and the same as SQLite does."""

    type = NullType()  # of a truth value SQLite would be asked whether it is 1, and find nothing by that
    inherit_cache = True


@compiles(By, "postgresql")
def _by_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    condition, _ = element.clauses
    return f"({compiler.process(condition, **kw)})"


@compiles(By, "sqlite")
def _by_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    _, condition = element.clauses
    return f"({compiler.process(condition, **kw)})"
