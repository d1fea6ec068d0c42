"""tasks list, show, refresh."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import typer

from app.commands import output
from app.commands.filters import TASK_FILTERS, filtered
from app.commands.output import FILE_COLUMNS, TASK_COLUMNS, Column, safe, when, write_list, write_table
from app.commands.service import AsJson, Json, KeyFile, Refused, Service, Url, plainly, to_json

tasks = typer.Typer(help="Look at registered tasks and steer them.", no_args_is_help=True)

TaskIds = Annotated[list[str], typer.Argument(metavar="TASK_ID...", help="The provider's TaskIds.")]
AT_ONCE = 8
"""Tasks that are waited for at the same time."""

LATELY = 15
"""Events that `show` shows, at most."""


@tasks.command("list")
@plainly
@filtered(TASK_FILTERS)
def list_tasks(
    *,
    filters: Json,
    order: Annotated[
        Literal["registered_at", "updated_at"], typer.Option(help="Newest registration or oldest update first.")
    ] = "registered_at",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 50,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List tasks.

    Examples:

        recording-status tasks list --tracking active --attention failing,expiring

        recording-status tasks list --outcome lost,partially_lost --settled-after 1d --json | jq -r .task_id
    """
    with Service(url, key_file) as service:
        found = service.items("/v1/tasks", {**filters, "order": order}, limit=limit or None)
        none = "No task matches." if filters else "No task is registered yet."
        write_list(TASK_COLUMNS, found, limit=limit, as_json=as_json, none=none)


@tasks.command("show")
@plainly
def show(
    task_id: Annotated[str, typer.Argument(help="The provider's TaskId.")],
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one task with its files and what happened to it lately.

    Examples:

        recording-status tasks show YZ4joOE4IwmFAAAT

        recording-status tasks show YZ4joOE4IwmFAAAT --json | jq -r '.files[].file_url'
    """
    with Service(url, key_file) as service:
        path = _path(task_id)
        task = service.get(path)
        if as_json:
            typer.echo(to_json(task))
            return
        history = list(service.items(f"{path}/events", {}, limit=2000))
    facts = _facts(task)
    longest = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name.ljust(longest)}  {safe(value)}")
    if task["files"]:
        typer.echo("")
        write_table(FILE_COLUMNS, task["files"])
        if task["files_truncated"]:
            typer.echo(f"These are the first {len(task['files'])}: `export files --task-id {safe(task_id)}` has all.")
    typer.echo("")
    write_table(_HISTORY, history[-LATELY:])


def _facts(task: Json) -> dict[str, str]:
    polling = task["polling"]
    error = polling["last_error"]
    facts = {
        "task": f"{task['task_id']}  (app {task['app_id']}, version {task['version']}, via {task['registered_via']})",
        "status": _with_code(task, "status"),
        "tracking": task["tracking"],
        "outcome": task["outcome"] and f"{task['outcome']} (told by {task['outcome_basis']})",
        "attention": ", ".join(task["attention"]),
        "files": output.files_text(task["file_counts"]),
        "room": task["room_id"],
        "labels": output.labels_text(task["labels"]),
        "recording": " to ".join(filter(None, [when(task["recording_began_at"]), when(task["recording_ended_at"])])),
        "quit reason": task["quit_reason"],
        "window closes": f"{when(task['query_deadline'])} (start known from {task['query_deadline_basis']})",
        "registered": when(task["registered_at"]),
        "settled": when(task["settled_at"]),
        "last polled": f"{when(polling['last_polled_at']) or 'never'} ({polling['poll_count']} answers)",
        "next poll": when(polling["next_poll_at"]) or "none",
        "last error": error and f"{error['code']}: {error['message']} ({when(error['at'])})",
        "notices": "; ".join(f"{one['code']}: {one['detail']} ({one['count']} times)" for one in task["notices"]),
    }
    return {name: value for name, value in facts.items() if value}


def _with_code(task: Json, name: str) -> str:
    code = task[f"{name}_code"]
    return f"{task[name]} ({code})" if code is not None else task[name]


_HISTORY = (
    Column("WHEN", lambda event: when(event["occurred_at"])),
    Column("WHAT", lambda event: event["type"]),
    Column("BY", lambda event: event["source"]),
    Column("BEFORE", lambda event: _before(event)),
)


def _before(event: Json) -> str:
    previous = event["data"].get("previous") or {}
    words = ("status", "tracking", "outcome", "attention")
    return ", ".join(f"{name} {previous[name] or 'none'}" for name in words if name in previous)


@tasks.command("refresh")
@plainly
def refresh(
    task_ids: TaskIds,
    wait: Annotated[int, typer.Option(min=0, max=50, help="Seconds to wait for each answer; 0: none.")] = 20,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Have tasks polled now, and show what they are like then.

    Example:

        recording-status tasks refresh YZ4joOE4IwmFAAAT
    """
    with Service(url, key_file) as service, ThreadPoolExecutor(AT_ONCE) as some:
        answers = list(some.map(lambda task_id: _refresh(service, task_id, wait), task_ids))
    rows = [one for one in answers if not isinstance(one, Refused)]
    if as_json:
        for task in rows:
            typer.echo(to_json(task))
    elif rows:
        write_table(TASK_COLUMNS, rows)
    if refused := [one.what for one in answers if isinstance(one, Refused)]:
        raise Refused("; ".join(refused))


def _refresh(service: Service, task_id: str, wait: int) -> Json | Refused:
    """One task's refusal spoils no other."""
    try:
        return service.post(f"{_path(task_id)}/refresh", b"{}", params={"wait": wait} if wait else None, wait=wait)
    except Refused as error:
        return error


def _path(task_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{16}", task_id):
        raise Refused(
            f"{safe(task_id)!r} is no TaskId", "16 characters of A-Z a-z 0-9 _ -, upper and lower case differ"
        )
    return f"/v1/tasks/{task_id}"
