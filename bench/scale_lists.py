"""Every list with every filter, alone and in pairs, from its beginning, its middle and its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from app.core.recording import Attention
from app.store import audit, callbacks, delivery_lists, events, feed, listing
from app.store.audit import AuditFilter
from app.store.callbacks import CallbackFilter
from app.store.connection import Connection
from app.store.delivery_lists import DeliveryFilter
from app.store.feed import FeedFilter
from app.store.listing import FileFilter, TaskFilter
from app.store.tables import CALLBACKS, EVENTS
from app.store.tables_audit import AUDIT
from app.store.tables_webhooks import DELIVERIES
from bench.scale_data import registered_at, task_id

LIMIT = 100
NOBODY, DAY = "nobody-has-this", timedelta(days=1)

Ask = Callable[[Connection], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """A page: of which list, narrowed how, where in it."""

    list: str
    filter: str
    place: str
    ask: Ask


def task_filters(n: int, now: datetime) -> dict[str, dict[str, Any]]:
    """By name: each filter of GET /v1/tasks, and pairs of them."""
    ids = tuple(task_id(i) for i in range(0, n, max(n // 100, 1)))[:100]
    recent, old, hour = now - 3 * DAY, now - 60 * DAY, now - timedelta(hours=1)
    team, ticket, none = ("team", "t1"), ("ticket", f"T-{n // 2}"), ("team", NOBODY)
    return {
        "": {},
        "task_id: 1": {"task_id": ids[:1]},
        "task_id: 100": {"task_id": ids},
        **{f"tracking={one}": {"tracking": (one,)} for one in ("active", "settled", "expired", "untracked")},
        "tracking=expired,untracked": {"tracking": ("expired", "untracked")},
        **{f"status={one}": {"status": (one,)} for one in ("pending", "ongoing", "completed", "paused", "unknown")},
        "status=paused,initialized": {"status": ("paused", "initialized")},
        **{f"outcome={one}": {"outcome": (one,)} for one in ("uploaded", "lost", "unresolved")},
        "outcome=lost,partially_lost": {"outcome": ("lost", "partially_lost")},
        "attention=lost": {"attention": int(Attention.LOST)},
        "attention=failing (none)": {"attention": int(Attention.FAILING)},
        **{f"app_id={one}": {"app_id": one} for one in (1, 2, 3, 4)},
        "room_id": {"room_id": "room-7"}, "room_id=lobby": {"room_id": "lobby"}, "room_id (none)": {"room_id": NOBODY},
        "user_id": {"user_id": "user-7"}, "user_id=recorder": {"user_id": "recorder"},
        "user_id (none)": {"user_id": NOBODY}, "stream_id": {"stream_id": "stream-7-0"},
        "stream_id (none)": {"stream_id": NOBODY},
        **{f"file_status={one}": {"file_status": (one,)} for one in ("uploaded", "uploading", "lost", "unknown")},
        "label, a fifth": {"labels": (team,)}, "label, one": {"labels": (ticket,)}, "label (none)": {"labels": (none,)},
        "registered_after": {"registered_after": old}, "registered_before": {"registered_before": old},
        "registered_after (none)": {"registered_after": now + DAY},
        "updated_after": {"updated_after": hour}, "updated_after, old": {"updated_after": old},
        "updated_before": {"updated_before": old},
        "settled_after": {"settled_after": recent}, "settled_before": {"settled_before": old},
        "settled_after (none)": {"settled_after": now + DAY},
        "deadline_before": {"deadline_before": now}, "deadline_before, old": {"deadline_before": old},
        "tracking=active, deadline_before": {"tracking": ("active",), "deadline_before": now + DAY / 3},
        "tracking=settled, outcome=lost": {"tracking": ("settled",), "outcome": ("lost",)},
        "tracking=active, status=completed": {"tracking": ("active",), "status": ("completed",)},
        "tracking=settled, label": {"tracking": ("settled",), "labels": (team,)},
        "tracking=active, app_id=2": {"tracking": ("active",), "app_id": 2},
        "outcome=lost, registered_after": {"outcome": ("lost",), "registered_after": old},
        "outcome=lost, label": {"outcome": ("lost",), "labels": (team,)},
        "room_id=lobby, tracking=active": {"room_id": "lobby", "tracking": ("active",)},
        "room_id, user_id": {"room_id": "room-7", "user_id": "user-15"},
        "user_id=recorder, outcome=lost": {"user_id": "recorder", "outcome": ("lost",)},
        "user_id=recorder, label": {"user_id": "recorder", "labels": (team,)},
        "two labels": {"labels": (team, ticket)}, "two labels (none)": {"labels": (team, ("team", "t2"))},
        "app_id=2, outcome=lost": {"app_id": 2, "outcome": ("lost",)},
    }  # fmt: skip


def file_filters(n: int, now: datetime) -> dict[str, dict[str, Any]]:
    ids = tuple(task_id(i) for i in range(0, n, max(n // 100, 1)))[:100]
    hour, old = now - timedelta(hours=1), now - 60 * DAY
    return {
        "": {}, "task_id: 1": {"task_id": ids[:1]}, "task_id: 100": {"task_id": ids},
        **{f"status={one}": {"status": (one,)} for one in ("uploaded", "uploading", "lost", "unknown")},
        "status=uploading,recording": {"status": ("uploading", "recording")},
        "status=lost,uploaded_to_backup": {"status": ("lost", "uploaded_to_backup")},
        **{f"app_id={one}": {"app_id": one} for one in (1, 2, 3, 4)},
        "room_id": {"room_id": "room-7"}, "room_id=lobby": {"room_id": "lobby"}, "room_id (none)": {"room_id": NOBODY},
        "user_id": {"user_id": "user-7"}, "user_id=recorder": {"user_id": "recorder"},
        "user_id (none)": {"user_id": NOBODY}, "stream_id": {"stream_id": "stream-7-0"},
        "updated_after": {"updated_after": hour}, "updated_before": {"updated_before": old},
        "updated_after (none)": {"updated_after": now + DAY},
        "backup_expires_before": {"backup_expires_before": now},
        "backup_expires_before (none)": {"backup_expires_before": now - 200 * DAY},
        "status=lost, updated_after": {"status": ("lost",), "updated_after": old},
        "status=lost, room_id": {"status": ("lost",), "room_id": "lobby"},
        "status=lost, user_id=recorder": {"status": ("lost",), "user_id": "recorder"},
        "status=uploading, app_id=2": {"status": ("uploading",), "app_id": 2},
    }  # fmt: skip


def callback_filters(n: int, now: datetime) -> dict[str, dict[str, Any]]:
    ids = tuple(task_id(i) for i in range(0, n, max(n // 100, 1)))[:100]
    hour, old = now - timedelta(hours=1), now - 60 * DAY
    return {
        "": {}, "task_id: 1": {"task_id": ids[:1]}, "task_id: 100": {"task_id": ids},
        **{f"app_id={one}": {"app_id": one} for one in (1, 2, 3, 4)},
        **{f"verdict={one}": {"verdict": (one,)} for one in ("accepted", "repeat", "suspicious")},
        "known": {"known": True}, "known=false (none)": {"known": False},
        "received_after": {"received_after": hour}, "received_before": {"received_before": old},
        "received_after (none)": {"received_after": now + DAY},
        "verdict=repeat, app_id=2": {"verdict": ("repeat",), "app_id": 2},
        "verdict=suspicious, received_after": {"verdict": ("suspicious",), "received_after": old},
    }  # fmt: skip


def delivery_filters(now: datetime) -> dict[str, dict[str, Any]]:
    hour, old = now - timedelta(hours=1), now - 60 * DAY
    return {
        "": {}, **{f"status={one}": {"status": (one,)} for one in ("pending", "delivered", "failed", "cancelled")},
        "subscription_id": {"subscription_id": "sub_1"}, "subscription_id (none)": {"subscription_id": NOBODY},
        "type": {"type": ("task.expired",)}, "type (none)": {"type": ("delivery.failed",)},
        "created_after": {"created_after": hour}, "created_before": {"created_before": old},
        "subscription_id, status=failed": {"subscription_id": "sub_1", "status": ("failed",)},
        "subscription_id, status=pending": {"subscription_id": "sub_1", "status": ("pending",)},
        "status=failed, created_after": {"status": ("failed",), "created_after": old},
    }  # fmt: skip


def audit_filters(now: datetime) -> dict[str, dict[str, Any]]:
    return {
        "": {}, "key, most": {"key": ("billing",)}, "key, few": {"key": ("anna",)}, "key (none)": {"key": (NOBODY,)},
        "two keys": {"key": ("anna", "billing")}, "action": {"action": ("task.delete",)},
        "action (none)": {"action": ("task.track",)}, "after": {"after": now - timedelta(hours=1)},
        "before": {"before": now - 60 * DAY}, "key, action": {"key": ("anna",), "action": ("task.register",)},
    }  # fmt: skip


def feed_filters(n: int) -> dict[str, dict[str, Any]]:
    ids = tuple(task_id(i) for i in range(0, n, max(n // 100, 1)))[:100]
    return {
        "": {}, "types": {"types": ("task.settled",)}, "types (none)": {"types": ("task.expired",)},
        "task_id: 1": {"task_id": ids[:1]}, "task_id: 100": {"task_id": ids}, "app_id=2": {"app_id": 2},
        "app_id=4 (none)": {"app_id": 4}, "label, all": {"labels": (("team", "t1"),)},
        "label (none)": {"labels": (("team", NOBODY),)}, "types, app_id=2": {"types": ("task.ended",), "app_id": 2},
    }  # fmt: skip


async def cases(connection: Connection, n: int, now: datetime) -> list[Case]:
    """All of them, for a database of bench.scale_data."""
    found = list(_tasks(n, now)) + list(_files(n, now))
    for name, table, filters, of, ask in (
        ("callbacks", CALLBACKS, callback_filters(n, now), CallbackFilter, callbacks.list_callbacks),
        ("deliveries", DELIVERIES, delivery_filters(now), DeliveryFilter, delivery_lists.page),
        ("audit", AUDIT, audit_filters(now), AuditFilter, audit.page),
    ):
        most = (await connection.execute(select(func.max(table.c.id)))).scalar_one()
        below = "below" if name == "audit" else "before"
        for place, id_ in (("first", None), ("middle", most // 2), ("last", most // 500)):
            found += [
                Case(name, words, place, _by_id(ask, of(**given), {below: id_})) for words, given in filters.items()
            ]
    last = (await connection.execute(select(func.max(EVENTS.c.seq)))).scalar_one()
    for place, seq in (("first", 0), ("middle", last // 2), ("last", last - 20)):
        found += [
            Case("feed", words, place, _of_feed(FeedFilter(**given), seq)) for words, given in feed_filters(n).items()
        ]
    found.append(Case("task's events", "", "first", lambda c: events.history(c, task_id(7), after=0, limit=LIMIT)))
    found.append(
        Case("task's files", "", "first", lambda c: listing.list_task_files(c, task_id(7), after=None, limit=LIMIT))
    )
    return found


def _tasks(n: int, now: datetime) -> Iterator[Case]:
    places = {"first": None, "middle": n // 2, "last": n // 500}
    for words, given in task_filters(n, now).items():
        for order in ("registered_at", "updated_at"):
            for place, i in places.items():
                i = n - i if i is not None and order == "updated_at" else i
                after = None if i is None else (registered_at(i, n, now), "0" * 16)
                yield Case(
                    "tasks" if order == "registered_at" else "tasks by update", words, place,
                    _of_tasks(TaskFilter(**given), order, after),
                )  # fmt: skip


def _of_tasks(wanted: TaskFilter, order: Any, after: Any) -> Ask:
    return lambda c: listing.list_tasks(c, wanted, order=order, after=after, limit=LIMIT)


def _files(n: int, now: datetime) -> Iterator[Case]:
    for words, given in file_filters(n, now).items():
        for place, i in (("first", None), ("middle", n // 2), ("last", n - n // 500)):
            after = None if i is None else (registered_at(i, n, now), "0" * 16, "")
            yield Case("files", words, place, _of_files(FileFilter(**given), after))


def _of_files(wanted: FileFilter, after: Any) -> Ask:
    return lambda c: listing.list_files(c, wanted, after=after, limit=LIMIT)


def _by_id(ask: Any, wanted: Any, place: dict[str, int | None]) -> Ask:
    return lambda c: ask(c, wanted, limit=LIMIT, **place)


def _of_feed(wanted: FeedFilter, after: int) -> Ask:
    async def ask(connection: Connection) -> Any:
        page = await feed.page(connection, after, wanted, LIMIT)
        await feed.is_lost(connection, after)
        return page

    return ask
