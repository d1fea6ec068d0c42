"""The filters of lists as options of commands."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer

from app.clock import wall_time
from app.commands.service import Failed, Json

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Filter:
    """One filter of a list: the API's name for it, the words it takes, and how its value is written."""

    name: str
    help: str
    words: tuple[str, ...] = ()
    time: int = 0
    """A time; a length of time counts back from now (-1) or forward (1)."""
    many: bool = False


def _set(name: str, *words: str) -> Filter:
    return Filter(name, f"Any of {', '.join(words)}; several by commas.", words=words)


def _times(name: str) -> tuple[Filter, Filter]:
    told = "A time with its offset, or how long ago: 90s, 15m, 2h, 3d, 1w."
    return Filter(f"{name}_after", told, time=-1), Filter(f"{name}_before", told, time=-1)


FILE_STATUSES = ("recording", "uploading", "uploaded", "uploaded_to_backup", "lost", "unknown")
_AHEAD = "A time with its offset, or how far ahead: 30m, 6h, 1d."
_APP = Filter("app_id", "Of this app.")
_ROOM = Filter("room_id", "Of this room.")
_PEOPLE = (Filter("user_id", "With a file of this user."), Filter("stream_id", "With a file of this stream."))
_LABEL = Filter("label", "KEY=VALUE; repeat it for several, all must match.", many=True)

TASK_FILTERS = (
    _set("tracking", "active", "settled", "expired", "untracked"),
    _set("status", "pending", "initialized", "ongoing", "completed", "ended_abnormally", "paused", "unknown"),
    _set("outcome", "uploaded", "uploaded_to_backup", "partially_lost", "lost", "no_files", "unresolved"),
    _set("attention", "failing", "not_found", "expiring", "lost", "backup_expiring"),
    _LABEL,
    _APP,
    _ROOM,
    *_PEOPLE,
    _set("file_status", *FILE_STATUSES),
    *_times("registered"),
    *_times("updated"),
    *_times("settled"),
    Filter("deadline_before", f"Their query window closes by then. {_AHEAD}", time=1),
)
FILE_FILTERS = (
    _set("status", *FILE_STATUSES),
    _APP,
    _ROOM,
    *_PEOPLE,
    *_times("updated"),
    Filter("backup_expires_before", f"Their backup copy goes by then. {_AHEAD}", time=1),
)


def filtered(filters: Iterable[Filter]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these filters; it gets what was given as ``filters``, as the API takes it."""
    known = tuple(filters)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            found: Json = {}
            for one in known:
                value = given.pop(one.name)
                if value:
                    found[one.name] = moment(one, value) if one.time else list(map(_pair, value)) if one.many else value
            command(filters=found, **given)

        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.name != "filters"]
        run.__signature__ = signature.replace(parameters=[*own, *map(_parameter, known)])  # type: ignore[attr-defined]
        run.__annotations__ = {}
        del run.__wrapped__
        return run

    return decorate


def _pair(text: str) -> str:
    """KEY=VALUE, as labels are written everywhere else here, or KEY:VALUE as the API takes it."""
    key, equals, value = text.partition("=")
    return f"{key}:{value}" if equals and ":" not in key else text


def _parameter(one: Filter) -> inspect.Parameter:
    words = list(one.words)
    option = typer.Option(
        f"--{one.name.replace('_', '-')}",
        help=one.help,
        metavar="TIME" if one.time else "WORD" if words else "KEY=VALUE" if one.many else one.name.upper(),
        autocompletion=(lambda incomplete: [word for word in words if word.startswith(incomplete)]) if words else None,
        rich_help_panel="Filters",
    )
    kind: Any = list[str] | None if one.many else str | None
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(one.name, keyword, default=None, annotation=Annotated[kind, option])


def moment(filter: Filter, text: str) -> str:
    """A time as the API takes it. Raises Failed."""
    option = f"--{filter.name.replace('_', '-')}"
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if found is None:
        if not re.match(r"\d{4}-", text.strip()):
            raise Failed(f"{option}: {text!r} is no time", "2026-01-31T18:00:00Z, or a length: 90s, 15m, 2h, 3d, 1w")
        return text
    length = timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        return (wall_time() + filter.time * length).isoformat(timespec="milliseconds")
    except OverflowError as error:
        raise Failed(f"{option}: {text} reaches beyond all calendars") from error
