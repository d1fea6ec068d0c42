"""What the service is doing, in numbers, for operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from app.clock import Clock
from app.core.detection import Ending, Noticed, noticed
from app.core.schedule import Pace, Urgency
from app.core.told import CallbackEvent
from app.provider.callbacks import numbers_of
from app.store import counts, outcomes, queue, sweeps
from app.store.connection import Connection
from app.store.delivery_lists import Outbox, outbox
from app.store.engine import Database
from app.tracking.budget import Budget, Stand
from app.tracking.callbacks import Callbacks
from app.tracking.calls import Spending
from app.tracking.pace import Paces

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SweepState = Literal["off", "idle", "working", "failing"]
Span = Literal["hour", "day"]

STEPS: dict[Span, tuple[timedelta, int]] = {"hour": (timedelta(minutes=1), 60), "day": (timedelta(hours=1), 24)}
"""What a span is divided into: how long each step is, and how many."""

_FORMS: dict[Span, str] = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d %H"}

FRESH = 5.0
"""Seconds for which what was once counted of ended tasks is shown again: many may be looking."""

ENDINGS = 2000
"""Of so many recordings that ended last it is told how that came to be known."""

ON_THE_WAY = timedelta(seconds=30)
"""How long a callback may take, the provider's two retries included, before it counts as lost."""

LATE = timedelta(minutes=1)
"""What came longer ago stands in the database; nothing is added there any more."""

_DIGITS = len("2026-11-26 15:4")
"""Of a time, so that steps of ten minutes have the same."""

_UPLOADS = numbers_of(CallbackEvent.UPLOAD_FINISHED)
_ENDS = _UPLOADS + numbers_of(CallbackEvent.ENDED, CallbackEvent.STOPPED, CallbackEvent.ENDED_ABNORMALLY)
"""The callbacks that tell of files, and of an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppStatistics:
    """One app: its budget and what it went to, its queue, its sweep, and how ends of the last hour came to be known.

    ``is_called``: whether callbacks of this app can be taken at all.
    """

    app_id: int
    budget: Stand
    last_minute: Mapping[Urgency, int]
    last_hour: Mapping[Urgency, int]
    noticed: Noticed
    is_called: bool
    pace: Pace
    backlog: queue.Backlog
    sweep: sweeps.Sweep | None
    sweep_state: SweepState
    list_budget: Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """All of it. ``refused``: callbacks that this process refused since its start, by reason."""

    at: datetime
    tasks: Mapping[str, Mapping[str, int]]
    apps: list[AppStatistics]
    callbacks: Mapping[str, int]
    refused: Mapping[str, int]
    outbox: Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The tasks that ended in a step of time, by outcome."""

    at: datetime
    outcomes: Mapping[str, int]


class Statistics:
    """Counts what there is."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        budgets: Mapping[int, Budget],
        list_budgets: Mapping[int, Budget],
        paces: Paces,
        callbacks: Callbacks,
        spending: Spending,
        *,
        sweeping: bool,
    ) -> None:
        self._database, self._clock, self._paces, self._callbacks = database, clock, paces, callbacks
        self._budgets, self._list_budgets, self._spending, self._sweeping = budgets, list_budgets, spending, sweeping
        self._endings: tuple[float, Mapping[int, list[Ending]]] | None = None
        self._ended: dict[Span, tuple[float, list[Ended]]] = {}
        self._called: tuple[datetime, Mapping[tuple[str, str], int]] = (datetime.min.replace(tzinfo=UTC), {})

    async def collect(self) -> Numbers:
        """As of now."""
        now = self._clock.now()
        async with self._database.read() as connection:
            return Numbers(
                at=now,
                tasks=await counts.tasks(connection),
                apps=[await self._app(connection, app_id, now=now) for app_id in self._budgets],
                callbacks=await self._count_callbacks(connection, now=now),
                refused=dict(self._callbacks.refused),
                outbox=await outbox(connection, since=now - DAY),
            )

    async def _count_callbacks(self, connection: Connection, *, now: datetime) -> Mapping[str, int]:
        """By verdict, of the last day, in steps of ten minutes: those of a step that is over are counted once."""
        until, counted = self._called
        oldest, over = _step(now - DAY), _step(now - LATE)
        since = max(oldest, min(until, over))
        new = await outcomes.count_callbacks(connection, since=since, digits=_DIGITS)
        kept = {key: number for key, number in counted.items() if _text(oldest) <= key[0] < _text(since)}
        self._called = (over, kept | {(at, verdict): number for at, verdict, number in new})
        by_verdict = Counter[str]()
        for (_, verdict), number in self._called[1].items():
            by_verdict[verdict] += number
        return by_verdict

    async def ended(self, span: Span) -> list[Ended]:
        """What became of the tasks that ended in the last hour, by minutes, or day, by hours; oldest first."""
        counted_at, steps = self._ended.get(span, (0.0, []))
        if not steps or self._clock.monotonic() - counted_at > FRESH:
            steps = await self._count_ended(span)
            self._ended[span] = (self._clock.monotonic(), steps)
        return steps

    async def _count_ended(self, span: Span) -> list[Ended]:
        step, number = STEPS[span]
        form = _FORMS[span]
        present = datetime.strptime(self._clock.now().strftime(form), form).replace(tzinfo=UTC)
        times = [present - step * back for back in reversed(range(number))]
        counts: dict[str, dict[str, int]] = {at.strftime(form): {} for at in times}
        async with self._database.read() as connection:
            for at, outcome, count in await outcomes.count(connection, since=times[0], digits=len(min(counts))):
                counts.setdefault(at, {})[outcome] = count
        return [Ended(at=at, outcomes=counts[at.strftime(form)]) for at in times]

    async def _how_ends_were_noticed(self, connection: Connection, *, now: datetime) -> Mapping[int, list[Ending]]:
        if self._endings is None or self._clock.monotonic() - self._endings[0] > FRESH:
            found = await outcomes.endings(
                connection, since=now - HOUR, until=now - ON_THE_WAY, ends=_ENDS, uploads=_UPLOADS, limit=ENDINGS
            )
            self._endings = (self._clock.monotonic(), found)
        return self._endings[1]

    async def _app(self, connection: Connection, app_id: int, *, now: datetime) -> AppStatistics:
        budget = self._budgets[app_id]
        sweep = await sweeps.find(connection, app_id)
        endings = await self._how_ends_were_noticed(connection, now=now)
        return AppStatistics(
            app_id=app_id,
            budget=await budget.stand(connection),
            last_minute=await self._spending.lately(connection, app_id, MINUTE),
            last_hour=await self._spending.lately(connection, app_id, HOUR),
            noticed=noticed(endings.get(app_id, [])),
            is_called=self._callbacks.can_hear(app_id),
            pace=self._paces.of(app_id),
            backlog=await queue.backlog(connection, app_id, now=now),
            sweep=sweep,
            sweep_state=self._sweep_state(sweep, now=now),
            list_budget=await self._list_budgets[app_id].stand(connection),
        )

    def _sweep_state(self, sweep: sweeps.Sweep | None, *, now: datetime) -> SweepState:
        """`off` by the settings · `failing`: the list was refused or garbled · `idle`: nothing to sweep for."""
        if not self._sweeping or sweep is None:
            return "off"
        if sweep.error:
            return "failing"
        late = sweep.next_at < now - timedelta(seconds=10)
        return "idle" if late or sweep.completed_at is None else "working"


def _step(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 10 * 10, second=0, microsecond=0)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")[:_DIGITS]
