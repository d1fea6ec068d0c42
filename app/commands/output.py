"""What people read: tables that fit the terminal, plain columns when piped, nothing that steers a terminal."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from app.clock import wall_time
from app.commands.service import Json, to_json

if TYPE_CHECKING:
    from rich.table import Table

WIDEST = 60
"""Characters of a cell that are shown in a terminal."""

STYLES = {
    "uploaded": "green",
    "settled": "green",
    "delivered": "green",
    "ongoing": "cyan",
    "active": "cyan",
    "uploaded_to_backup": "yellow",
    "paused": "yellow",
    "expiring": "yellow",
    "backup_expiring": "yellow",
    "unresolved": "yellow",
    "partially_lost": "red",
    "lost": "bold red",
    "failing": "red",
    "failed": "red",
    "not_found": "red",
    "expired": "red",
}


@dataclass(frozen=True)
class Column:
    """A title, and what stands under it. Columns stand in order of weight: what does not fit goes from the right."""

    title: str
    show: Callable[[Json], Any]


def safe(value: Any) -> str:
    """One line of text without characters that steer a terminal or turn text around: names come from strangers."""
    text = "" if value is None else str(value)
    return "".join("\ufffd" if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") else one for one in text)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def write_table(columns: Sequence[Column], items: Sequence[Json]) -> None:
    """In a terminal a table of its width; elsewhere whole columns, without colour."""
    if is_terminal():
        from rich.console import Console

        Console(highlight=False).print(fitting_table(columns, items, width()))
        return
    rows = [[column.title for column in columns]]
    rows += [[safe(column.show(item)) or "-" for column in columns] for item in items]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip())


def write_list(columns: Sequence[Column], found: Iterable[Json], *, limit: int, as_json: bool, none: str) -> None:
    """A list: a table, or JSON as it comes, one object a line. Where there are ``limit`` items, there may be more."""
    if as_json:
        for item in found:
            typer.echo(to_json(item))
        return
    items = list(found)
    if not items:
        typer.echo(none, err=True)
        return
    write_table(columns, items)
    if len(items) == limit:
        typer.echo(f"There may be more than these {limit}: --limit 0 lists all.", err=True)


def width() -> int:
    return shutil.get_terminal_size().columns


def fitting_table(columns: Sequence[Column], items: Sequence[Json], width: int) -> Table:
    """As many of the columns as fit; the first two are always there."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    rows = [[_cut(safe(column.show(item)) or "-") for column in columns] for item in items]
    sizes = [max([len(column.title), *(cell_len(row[place]) for row in rows)]) for place, column in enumerate(columns)]
    number = len(columns)
    while number > 2 and sum(sizes[:number]) + 2 * (number - 1) > width:
        number -= 1
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns[:number]:
        table.add_column(column.title, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell.split(",")[0], "")) for cell in row[:number]))
    return table


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def when(text: str | None) -> str:
    """A time: how long ago in a terminal, as it is elsewhere."""
    if text is None or not is_terminal():
        return text or ""
    return ago(text, wall_time())


def ago(text: str, now: datetime) -> str:
    """How long ago, or in how long, in the largest unit that fits."""
    seconds = (now - datetime.fromisoformat(text).astimezone(UTC)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if abs(seconds) >= 2 * size or unit == "s":
            number = f"{round(abs(seconds) / size)} {unit}"
            return f"{number} ago" if seconds >= 0 else f"in {number}"
    raise AssertionError


def labels_text(labels: Json) -> str:
    return " ".join(f"{key}={value}" for key, value in labels.items())


def files_text(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in counts.items())


TASK_COLUMNS = (
    Column("TASK", lambda task: task["task_id"]),
    Column("STATUS", lambda task: task["status"]),
    Column("TRACKING", lambda task: task["tracking"]),
    Column("OUTCOME", lambda task: task["outcome"]),
    Column("ATTENTION", lambda task: ",".join(task["attention"])),
    Column("FILES", lambda task: files_text(task["file_counts"])),
    Column("UPDATED", lambda task: when(task["updated_at"])),
    Column("ROOM", lambda task: task["room_id"]),
    Column("APP", lambda task: task["app_id"]),
    Column("LABELS", lambda task: labels_text(task["labels"])),
)
FILE_COLUMNS = (
    Column("FILE", lambda file: file["file_id"]),
    Column("STATUS", lambda file: file["status"]),
    Column("SECONDS", lambda file: "" if file["duration_ms"] is None else f"{file['duration_ms'] / 1000:.1f}"),
    Column("BYTES", lambda file: file["file_size"]),
    Column("USER", lambda file: file["user_id"]),
    Column("STREAM", lambda file: file["stream_id"]),
    Column("URL", lambda file: file["file_url"]),
)
