"""import: register the tasks of a file, a thousand at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, BinaryIO

import typer

from app.commands.lines import Entry, Kind, Lines, RefusedLine
from app.commands.output import safe
from app.commands.service import AsJson, Failed, Json, KeyFile, Refused, Service, Url, plainly, to_json

BATCH, BATCH_BYTES = 1000, 4 * 1024 * 1024
"""Tasks and bytes of one request, at most; the service takes twice the bytes."""

SHOWN = 50
"""Refused lines that are told one by one, but for --json."""


@dataclass
class Report:
    """What became of the lines."""

    created: int = 0
    existing: int = 0
    refused: list[RefusedLine] = field(default_factory=list)


@plainly
def import_tasks(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON lines; - reads the standard input.")],
    kind: Annotated[Kind, typer.Option("--format", help="Else the first line tells.")] = "auto",
    app_id: Annotated[int | None, typer.Option(help="The app of lines that name none.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label for every task.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read the file; register nothing.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Register the tasks of a file. Repeating it is harmless.

    A line is a TaskId; or the first line names the columns task_id, app_id, started_at, labels (key=value;key=value),
    label.KEY; or every line is a JSON object with those members. Exit code 0: all are registered, 1: some lines were
    refused, 2: it could not be done.

    Examples:

        recording-status import task-ids.txt --label source=backfill

        psql -Atc "SELECT task_id FROM recordings" | recording-status import -

        recording-status import tasks.csv --json | jq '.refused[]'
    """
    defaults = _defaults(app_id, label or [])
    report = Report()
    with _opened(file) as stream, _progress(stream, quiet=as_json) as advance:
        lines = Lines(stream, kind)
        if dry_run:
            report.refused = [one for one in lines if isinstance(one, RefusedLine)]
        else:
            with Service(url, key_file) as service:
                _register(service, lines, defaults, report, advance)
    if lines.ignored:
        typer.echo(f"recording-status: ignored: {', '.join(sorted(map(safe, lines.ignored))[:20])}", err=True)
    _tell(report, as_json=as_json)
    if report.refused:
        raise typer.Exit(1)


def _register(service: Service, lines: Lines, defaults: Json, report: Report, advance: Callable[[int], None]) -> None:
    batch: list[tuple[Entry, bytes]] = []
    size = 0
    for one in lines:
        if isinstance(one, RefusedLine):
            report.refused.append(one)
            continue
        content = to_json(_with(defaults, one.task)).encode()
        if batch and (len(batch) == BATCH or size + len(content) > BATCH_BYTES):
            _send(service, batch, report)
            advance(lines.bytes_read)
            batch, size = [], 0
        batch.append((one, content))
        size += len(content) + 1
    if batch:
        _send(service, batch, report)
    advance(lines.bytes_read)


def _send(service: Service, batch: list[tuple[Entry, bytes]], report: Report) -> None:
    content = b'{"tasks":[' + b",".join(content for _, content in batch) + b"]}"
    try:
        answer = service.post("/v1/tasks/batch", content, patient=True)
    except Failed as error:
        first = batch[0][0].line
        rest = f"line {first} and those after it are not registered yet: repeat the whole"
        error.advice = "; ".join(filter(None, [error.advice, rest]))
        error.exit_code = 2
        raise
    report.created += answer["created"]
    report.existing += answer["existing"]
    for (entry, _), result in zip(batch, answer["results"], strict=True):
        if problem := result.get("error"):
            place = "/".join(problem["pointer"].split("/")[3:])
            detail = f"{place}: {problem['detail']}" if place else problem["detail"]
            report.refused.append(RefusedLine(entry.line, str(entry.task["task_id"]), detail, problem["code"]))
    report.refused.sort(key=lambda one: one.line)


def _with(defaults: Json, task: Json) -> Json:
    labels = {**defaults["labels"], **task.get("labels", {})}
    return {**defaults, **task, "labels": labels}


def _defaults(app_id: int | None, labels: list[str]) -> Json:
    pairs = [one.partition("=") for one in labels]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise Refused("--label takes KEY=VALUE", exit_code=2)
    return {"labels": {key: value for key, _, value in pairs}} | ({} if app_id is None else {"app_id": app_id})


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - what goes wrong later is not about opening it
    except OSError as error:
        raise Failed(f"cannot read {file}: {error.strerror}") from error
    with stream:
        yield stream


@contextlib.contextmanager
def _progress(stream: BinaryIO, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal that errors go to, if they go to one; it is told the bytes done with."""
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    status = os.fstat(stream.fileno())
    columns = (TextColumn("registering"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        bar = progress.add_task("", total=status.st_size if S_ISREG(status.st_mode) else None)
        yield lambda done: progress.update(bar, completed=done)


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(asdict(report)))
        return
    for one in report.refused[:SHOWN]:
        about = f" ({safe(one.task_id)[:40]})" if one.task_id else ""
        typer.echo(f"line {one.line}{about}: {safe(one.detail)}", err=True)
    if len(report.refused) > SHOWN:
        typer.echo(f"and {len(report.refused) - SHOWN} more: --json tells them all", err=True)
    typer.echo(f"{report.created} registered, {report.existing} known already, {len(report.refused)} refused")
