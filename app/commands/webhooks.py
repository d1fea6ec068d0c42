"""deliveries and replay: what went to subscribers, and sending it again."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from app.commands.filters import Filter, filtered, moment
from app.commands.output import Column, when, write_list
from app.commands.service import AsJson, Json, KeyFile, Refused, Service, Url, plainly, to_json

SUBSCRIPTION = "The subscription's name or id."
DELIVERY_FILTERS = (
    Filter(
        "status",
        "Any of pending, delivered, failed, cancelled; several by commas.",
        words=("pending", "delivered", "failed", "cancelled"),
    ),
    Filter("type", "Of events of this type; several by commas."),
    Filter("created_after", "A time with its offset, or how long ago: 15m, 2h, 3d.", time=-1),
    Filter("created_before", "A time with its offset, or how long ago: 15m, 2h, 3d.", time=-1),
)
_COLUMNS = (
    Column("DELIVERY", lambda one: one["delivery_id"]),
    Column("STATUS", lambda one: one["status"]),
    Column("TYPE", lambda one: one["type"]),
    Column("TASK", lambda one: one["task_id"]),
    Column("TRIES", lambda one: len(one["attempts"])),
    Column("LAST", lambda one: _last(one)),
    Column("NEXT", lambda one: when(one["next_attempt_at"])),
    Column("SUBSCRIPTION", lambda one: one["subscription_id"]),
)


def _last(delivery: Json) -> str:
    if not delivery["attempts"]:
        return ""
    last = delivery["attempts"][-1]
    return f"{when(last['at'])}: {last['error'] or last['status_code']}"


@plainly
@filtered(DELIVERY_FILTERS)
def deliveries(
    *,
    filters: Json,
    subscription: Annotated[str | None, typer.Option(help=SUBSCRIPTION)] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 50,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries to subscribers, newest first.

    Examples:

        recording-status deliveries --status failed --created-after 1d

        recording-status deliveries --subscription billing --limit 0 --json | jq -c .attempts
    """
    with Service(url, key_file) as service:
        if subscription is not None:
            filters = {**filters, "subscription_id": _id_of(service, subscription)}
        found = service.items("/v1/deliveries", filters, limit=limit or None)
        none = "No delivery matches." if filters else "Nothing was delivered yet."
        write_list(_COLUMNS, found, limit=limit, as_json=as_json, none=none)


@plainly
def replay(
    subscription: Annotated[str, typer.Argument(help=SUBSCRIPTION)],
    since: Annotated[str, typer.Option(metavar="TIME", help="A time with its offset, or how long ago: 15m, 2h, 3d.")],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Likewise; else until now.")] = None,
    types: Annotated[str | None, typer.Option(help="Events of these types alone, by commas.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was delivered already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send past events to a subscriber: those that were never delivered, unless told otherwise.

    Examples:

        recording-status replay billing --since 6h --dry-run

        recording-status replay billing --since 2026-01-31T00:00:00Z --types task.settled --all
    """
    body: Json = {"since": moment(_SINCE, since), "only": "all" if everything else "undelivered", "dry_run": dry_run}
    if until is not None:
        body["until"] = moment(_UNTIL, until)
    if types is not None:
        body["types"] = [one.strip() for one in types.split(",")]
    with Service(url, key_file) as service:
        answer = service.post(f"/v1/subscriptions/{_id_of(service, subscription)}/replay", to_json(body).encode())
    if as_json:
        typer.echo(to_json(answer))
    else:
        typer.echo(f"{answer['count']} {'would be sent' if dry_run else 'will be sent, behind live events'}")


_SINCE, _UNTIL = Filter("since", "", time=-1), Filter("until", "", time=-1)


def _id_of(service: Service, subscription: str) -> str:
    """The id of a subscription, given by name or id. Raises Refused."""
    names = []
    for one in service.items("/v1/subscriptions", {}):
        if subscription in (one["name"], one["subscription_id"]):
            return quote(one["subscription_id"], safe="")
        names.append(one["name"])
    known = f"there are: {', '.join(names[:20])}" if names else "there are none"
    raise Refused(f"no subscription {subscription}", known)
