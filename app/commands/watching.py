"""tasks watch: a live table in a terminal, a line for each change elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from app.clock import wall_time
from app.commands import output
from app.commands.filters import TASK_FILTERS, filtered
from app.commands.output import TASK_COLUMNS, safe
from app.commands.service import AsJson, Away, Json, KeyFile, Refused, Service, Url, plainly, to_json
from app.commands.tasks import tasks

__all__ = ["tasks"]

if TYPE_CHECKING:
    from rich.console import RenderableType

WAIT = 20
"""Seconds one request for changes may wait."""

FEED_FILTERS = {"task_id", "app_id", "label"}
MOST = 100


@tasks.command("watch")
@plainly
@filtered(TASK_FILTERS)
def watch(
    task_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK_ID...]", help="Only these, at most 100.")
    ] = None,
    *,
    filters: Json,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Follow tasks live; those that are active, unless told otherwise.

    With TASK_IDs it ends once none of them is active any more. Ctrl-C ends it at any time.

    Examples:

        recording-status tasks watch

        recording-status tasks watch YZ4joOE4IwmFAAAT && echo "its files are there"

        recording-status tasks watch --label team=support --json >>changes.jsonl
    """
    if task_ids:
        if len(set(task_ids)) > MOST:
            raise Refused(f"{len(set(task_ids))} tasks; {MOST} is the most")
        filters = {**filters, "task_id": ",".join(dict.fromkeys(task_ids))}
    wanted = filters or {"tracking": "active"}
    with contextlib.suppress(KeyboardInterrupt), Service(url, key_file) as service:
        watched = Watched(service, wanted, until_over=bool(task_ids))
        if as_json or not output.is_terminal():
            _tell(watched, as_json=as_json)
        else:
            _draw(watched)


class Watched:
    """The tasks that match, as they are now. ``rows`` keeps those that match no longer, to show how they ended."""

    def __init__(self, service: Service, wanted: Json, *, until_over: bool) -> None:
        self._service, self._wanted, self._until_over = service, wanted, until_over
        self.rows: dict[str, Json] = {}
        self.trouble = ""
        """Why what is shown may be old; empty if it is not."""
        self._after = self._list()

    def _list(self) -> str:
        page = self._service.get("/v1/tasks", {**self._wanted, "limit": MOST})
        if page.get("missing"):
            raise Refused(f"not registered: {', '.join(page['missing'])}")
        self.rows |= {task["task_id"]: task for task in page["items"]}
        return str(page["events_after"])

    @property
    def is_over(self) -> bool:
        return self._until_over and all(task["tracking"] != "active" for task in self.rows.values())

    def changes(self) -> Iterator[list[Json]]:
        """Events as they come, some at a time; an empty list now and then. Ends when the tasks are over."""
        pause = 1.0
        while not self.is_over:
            try:
                yield self._next()
                self.trouble, pause = "", 1.0
            except Away as error:
                self.trouble = error.what
                yield []
                time.sleep(pause)
                pause = min(2 * pause, 15.0)

    def _next(self) -> list[Json]:
        asked = {name: value for name, value in self._wanted.items() if name in FEED_FILTERS}
        try:
            page = self._service.get("/v1/events", {**asked, "after": self._after, "wait": WAIT}, wait=WAIT)
        except Refused as error:
            if error.code != "feed_position_lost":
                raise
            self._after = self._list()
            return []
        self._after = page["next_after"]
        fresh = False
        for event in page["items"]:
            task, known = event["data"].get("task"), self.rows.get(event["task_id"])
            if task and known and event["task_version"] >= known["version"]:
                self.rows[event["task_id"]] = {**known, **task}
            fresh = fresh or known is None
        if fresh:
            self._list()
        return [event for event in page["items"] if event["task_id"] in self.rows]


def _tell(watched: Watched, *, as_json: bool) -> None:
    for task in watched.rows.values():
        typer.echo(to_json({"type": "task", "task": task}) if as_json else _state(task["updated_at"], "now", task))
    trouble = ""
    for events in watched.changes():
        for event in events:
            task = event["data"].get("task")
            typer.echo(to_json(event) if as_json else _state(event["occurred_at"], event["type"], task, event))
        if watched.trouble != trouble:
            trouble = watched.trouble
            typer.echo(f"recording-status: {trouble or 'it is back'}", err=True)


def _state(at: str, what: str, task: Json | None, event: Json | None = None) -> str:
    told = [at, (task or event or {}).get("task_id"), what]
    if event and "file" in event["data"]:
        told += [event["data"]["file"]["file_id"], event["data"]["file"]["status"]]
    elif task:
        told += [task["status"], task["tracking"], task["outcome"] or "-", ",".join(task["attention"])]
    return "  ".join(map(safe, told)).rstrip()


def _draw(watched: Watched) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        live.update(_screen(watched, console.width, console.height), refresh=True)
        for _ in watched.changes():
            live.update(_screen(watched, console.width, console.height), refresh=True)


def _screen(watched: Watched, width: int, height: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = sorted(watched.rows.values(), key=lambda task: str(task["updated_at"]), reverse=True)
    shown = rows[: max(1, height - 3)]
    first = (
        f"{len(rows)} tasks, {sum(task['tracking'] == 'active' for task in rows)} active, at {wall_time():%H:%M:%S} UTC"
    )
    if len(shown) < len(rows):
        first += f"; the {len(shown)} that changed last"
    if not rows:
        first += ": nothing to see yet"
    head = Text(first, style="dim", no_wrap=True, overflow="ellipsis")
    if watched.trouble:
        head = Text(f"{watched.trouble}; what follows is old", style="bold red", no_wrap=True, overflow="ellipsis")
    return Group(head, output.fitting_table(TASK_COLUMNS, shown, width))
