"""export: tasks or files, all that match, as JSON lines or CSV."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from app.commands.filters import FILE_FILTERS, TASK_FILTERS, Filter, filtered
from app.commands.service import Failed, Json, KeyFile, Service, Url, plainly, to_json

export = typer.Typer(help="Write all tasks or files that match as JSON lines or CSV.", no_args_is_help=True)

Format = Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="JSON lines, or CSV with a heading.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Replaced once all is there. Else standard output."),
]

TASK_FIELDS = (
    "task_id", "app_id", "room_id", "labels", "registered_via", "status", "status_code", "tracking", "outcome",
    "outcome_basis", "attention", "record_mode", "stream_type", "recording_began_at", "recording_ended_at",
    "query_deadline", "query_deadline_basis", "quit_reason", "file_counts", "version", "updated_at", "registered_at",
    "settled_at",
)  # fmt: skip
FILE_FIELDS = (
    "task_id", "app_id", "room_id", "file_id", "status", "status_code", "user_id", "user_name", "stream_id", "video_id",
    "file_url", "output_file_format", "file_size", "duration_ms", "resolution_width", "resolution_height",
    "media_track_type", "began_at", "custom_begin_timestamp", "source", "first_seen_at", "updated_at",
    "reached_end_at", "backup_expires_at",
)  # fmt: skip
_ONE_TASK = Filter("task_id", "Of these tasks, at most 100, by commas.")


@export.command("tasks")
@plainly
@filtered(TASK_FILTERS)
def export_tasks(
    *,
    filters: Json,
    format: Format = "jsonl",
    with_files: Annotated[
        bool, typer.Option("--with-files", help="JSON lines only: each task with its files.")
    ] = False,
    output: Output = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Write all tasks that match. What changes meanwhile may appear as it was or as it is.

    Examples:

        recording-status export tasks --settled-after 1d --format csv -o yesterday.csv

        recording-status export tasks --outcome lost --with-files | jq -c .files[]
    """
    if with_files and format == "csv":
        raise Failed("CSV has no place for a task's files", "export files, or --format jsonl")
    more = {"include": "files", "limit": 50} if with_files else {}
    with Service(url, key_file) as service:
        _write(service.items("/v1/tasks", filters | more, patient=True), TASK_FIELDS, format, output)


@export.command("files")
@plainly
@filtered((_ONE_TASK, *FILE_FILTERS))
def export_files(
    *,
    filters: Json,
    format: Format = "jsonl",
    output: Output = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Write all files that match.

    Examples:

        recording-status export files --task-id YZ4joOE4IwmFAAAT

        recording-status export files --status uploaded_to_backup --backup-expires-before 1d --format csv
    """
    with Service(url, key_file) as service:
        _write(service.items("/v1/files", filters, patient=True), FILE_FIELDS, format, output)


def _write(items: Iterator[Json], fields: tuple[str, ...], format: str, output: Path | None) -> None:
    number = 0
    with _target(output) as target:
        write = _csv(target, fields) if format == "csv" else lambda item: target.write(f"{to_json(item)}\n")
        for item in items:
            write(item)
            number += 1
    if output is not None:
        typer.echo(f"{number} written to {output}", err=True)


def _csv(target: TextIO, fields: tuple[str, ...]) -> Callable[[Json], Any]:
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(fields)
    return lambda item: writer.writerow([_cell(item.get(name)) for name in fields])


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return to_json(value) if isinstance(value, dict) else value


@contextlib.contextmanager
def _target(output: Path | None) -> Iterator[TextIO]:
    """Standard output; or a file that is there whole or not at all."""
    if output is None:
        yield sys.stdout
        return
    unfinished = output.with_name(f"{output.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as target:
            yield target
        unfinished.replace(output)
    except OSError as error:
        raise Failed(f"cannot write {output}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
