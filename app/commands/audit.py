"""audit: who did what."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.filters import Filter, filtered
from app.commands.output import Column, when, write_list
from app.commands.service import AsJson, Json, KeyFile, Service, Url, plainly, to_json

_TIME = "A time with its offset, or how long ago: 15m, 2h, 3d."
FILTERS = (
    Filter("key", "By the key of this name; several by commas."),
    Filter("action", "Of this kind, like task.delete; several by commas."),
    Filter("after", _TIME, time=-1),
    Filter("before", _TIME, time=-1),
)
_COLUMNS = (
    Column("AT", lambda one: when(one["at"])),
    Column("KEY", lambda one: one["key"]),
    Column("ACTION", lambda one: one["action"]),
    Column("SUBJECT", lambda one: one["subject"]),
    Column("DETAILS", lambda one: to_json(one["details"]) if one["details"] else None),
    Column("REQUEST", lambda one: one["request_id"]),
)


@plainly
@filtered(FILTERS)
def audit(
    *,
    filters: Json,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 50,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List who did what, newest first. It takes an admin's key.

    Examples:

        recording-status audit --action task.delete,task.untrack --after 1d

        recording-status audit --key dashboard --limit 0 --json
    """
    with Service(url, key_file) as service:
        found = service.items("/v1/audit", filters, limit=limit or None)
        none = "No line matches." if filters else "Nobody did anything yet."
        write_list(_COLUMNS, found, limit=limit, as_json=as_json, none=none)
