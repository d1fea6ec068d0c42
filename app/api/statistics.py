"""The door to the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.keys import GuardedRoute, TheService, requires
from app.api.schemas import Out, Time
from app.api.task_schemas import LastErrorOut
from app.core.public import time_text
from app.core.schedule import Urgency
from app.tracking.budget import Stand
from app.tracking.calls import word
from app.tracking.statistics import STEPS, AppStatistics, Span

router = APIRouter(prefix="/v1", tags=["operations"], route_class=GuardedRoute)
read = requires("read")


SweepState = TypeAliasType(
    "SweepState", Annotated[Literal["off", "idle", "working", "failing"], Field(description="How the sweep goes.")]
)


class TaskCounts(Out):
    """Number of tasks, by each of these words."""

    tracking: Annotated[dict[str, int], Field(description="What is done about them.")]
    status: Annotated[dict[str, int], Field(description="How their recordings are.")]
    outcome: Annotated[dict[str, int], Field(description="What became of their files.")]


class BudgetOut(Out):
    """The permits for one of the provider's actions, shared by all processes."""

    limit: Annotated[int, Field(description="Calls the provider allows in any second.")]
    allowed: Annotated[int, Field(description="What throttling left of them.")]
    in_use: Annotated[int, Field(description="Under way, or answered less than a second ago.")]
    in_doubt: Annotated[int, Field(description="Of calls given up, which may still arrive.")]
    paused: Annotated[str | None, Field(description="Why nothing is asked but probes; null: all is well.")]
    blocked_until: Annotated[Time | None, Field(description="When the next probe of a paused app may be sent.")]
    refused_at: Annotated[Time | None, Field(description="When the provider last refused a call as too many.")]


class CallsOut(Out):
    """Status queries that all processes sent, by what made them due."""

    last_minute: Annotated[dict[str, int], Field(description="In a minute that ended at most 16 s ago.")]
    last_hour: Annotated[dict[str, int], Field(description="In an hour that ended at most 16 s ago.")]


class DetectionOut(Out):
    """How soon ends of recordings were noticed: of tasks that closed in the last hour, of all apps the 2,000 newest."""

    ended: Annotated[int, Field(description="Of how many recordings this tells; those closed for 30 s at least.")]
    median_seconds: Annotated[
        float | None,
        Field(
            description="Half were noticed within so many seconds of their end, or of their registration if that was "
            "later; null: none ended."
        ),
    ]
    p95_seconds: Annotated[float | None, Field(description="And 95 of a hundred within so many seconds.")]
    lost_callbacks: Annotated[
        dict[str, int] | None,
        Field(
            description="Changes that polls found and no callback told: `ended` (nor any other callback of the end), "
            "`upload_finished`. Null: no callback secret is configured, so none can be taken."
        ),
    ]


class BacklogOut(Out):
    """Polls that are due now."""

    due: Annotated[int, Field(description="How many; of each class counted up to 10,000.")]
    due_by_class: Annotated[
        dict[str, int],
        Field(
            description="What they are: `hurried` (by a callback, a registration, the sweep), `refresh` (asked for), "
            "`prompt` (files are uploading), `routine`, `batch` (registered together), `look` (at settled tasks)."
        ),
    ]
    oldest_due_seconds: Annotated[float | None, Field(description="Seconds the longest has been waiting.")]


class DeadlinesOut(Out):
    """Query windows that close in the next 6 hours on tasks still waiting for their last look."""

    tasks: Annotated[int, Field(description="How many.")]
    horizon_seconds: Annotated[float, Field(description="Windows closing within these seconds go first.")]
    unservable: Annotated[int, Field(description="At least so many cannot be polled in time.")]
    short_in_seconds: Annotated[float | None, Field(description="Seconds until time is too short; null: never.")]


class SweepOut(Out):
    """The sweep over the provider's list of running tasks."""

    state: Annotated[
        SweepState,
        Field(description="`idle`: nothing to sweep for. `failing`: see `error`; polls and callbacks do without it."),
    ]
    completed_at: Annotated[Time | None, Field(description="When the last one that saw everything began.")]
    calls: Annotated[int, Field(description="It took so many pages,")]
    listed: Annotated[int, Field(description="and showed so many running tasks.")]
    error: Annotated[LastErrorOut | None, Field(description="Why the last one failed.")]
    budget: Annotated[BudgetOut, Field(description="Of the task list.")]


class AppOut(Out):
    """One of the provider's apps."""

    app_id: Annotated[int, Field(description="The provider's AppId.")]
    budget: Annotated[BudgetOut, Field(description="Of the status query.")]
    calls_in_last_minute: Annotated[int, Field(description="Status queries of all processes: see `calls`.")]
    calls: Annotated[
        CallsOut,
        Field(
            description="What the budget went to: the classes of `backlog.due_by_class`, and `deadline` (the query "
            "window closes soon)."
        ),
    ]
    detection: Annotated[DetectionOut, Field(description="How soon ends were noticed.")]
    rate: Annotated[float, Field(description="Calls a second that the permits allow at today's round trips.")]
    round_seconds: Annotated[float, Field(description="Seconds one round over all recordings is to take.")]
    backlog: Annotated[BacklogOut, Field(description="What is due now.")]
    deadlines: Annotated[DeadlinesOut, Field(description="What must be asked in time.")]
    sweep: Annotated[SweepOut, Field(description="The provider's list of running tasks.")]


class CallbackCounts(Out):
    """Callbacks of the last 24 hours (to 10 minutes) by verdict; those refused here since the start by reason."""

    accepted: Annotated[int, Field(description="New ones.")] = 0
    repeat: Annotated[int, Field(description="Came before, word for word.")] = 0
    suspicious: Annotated[int, Field(description="A signature seen before, with another body.")] = 0
    refused: Annotated[dict[str, int], Field(description="Number by reason.")]


class DeliveryCounts(Out):
    """Webhooks on their way."""

    pending: Annotated[int, Field(description="How many wait or are tried again; counted up to 10,000.")]
    oldest_pending_seconds: Annotated[
        float | None, Field(description="Seconds the longest of those counted has been waiting.")
    ]
    failed: Annotated[int, Field(description="Given up, of those queued in the last 24 hours.")]


class Stats(Out):
    """What the service is doing."""

    at: Annotated[Time, Field(description="When it was counted.")]
    simulated: Annotated[bool, Field(description="Nothing here is real: a demonstration.")]
    tasks: Annotated[TaskCounts, Field(description="All registered tasks.")]
    apps: Annotated[list[AppOut], Field(description="Each configured app.")]
    callbacks: Annotated[CallbackCounts, Field(description="What the provider sent.")]
    deliveries: Annotated[DeliveryCounts, Field(description="What goes to subscribers.")]


@router.get("/stats", dependencies=[read], summary="What the service is doing", operation_id="getStats")
async def stats(service: TheService) -> Stats:
    """Tasks, each app's call budget, backlog, deadlines and sweep, and the callbacks."""
    numbers = await service.stats.collect()
    return Stats(
        at=time_text(numbers.at) or "",
        simulated=service.simulated,
        tasks=TaskCounts.model_validate(numbers.tasks),
        apps=[_app(app, at=numbers.at) for app in numbers.apps],
        callbacks=CallbackCounts(**numbers.callbacks, refused=dict(numbers.refused)),
        deliveries=DeliveryCounts(
            pending=numbers.outbox.pending,
            oldest_pending_seconds=(numbers.at - numbers.outbox.oldest).total_seconds()
            if numbers.outbox.oldest
            else None,
            failed=numbers.outbox.failed,
        ),
    )


class EndedOut(Out):
    """The tasks that ended in a step of time."""

    at: Annotated[Time, Field(description="When the step begins.")]
    outcomes: Annotated[dict[str, int], Field(description="Number of tasks by outcome; none is left out.")]


class EndedLately(Out):
    """What became of the tasks that ended lately."""

    step_seconds: Annotated[int, Field(description="Seconds in a step.")]
    steps: Annotated[list[EndedOut], Field(description="Oldest first; the last one is under way.")]


SpanWord = TypeAliasType(
    "SpanWord", Annotated[Span, Field(description="The last hour by minutes, or the last day by hours.")]
)


@router.get("/stats/outcomes", dependencies=[read], summary="What became of tasks lately", operation_id="getOutcomes")
async def ended(
    service: TheService,
    span: Annotated[SpanWord, Query(description="The last hour by minutes, or the last day by hours.")] = "day",
) -> EndedLately:
    """Tasks that settled, expired or were given up, by outcome and time; up to 5 s old."""
    steps = await service.stats.ended(span)
    return EndedLately(
        step_seconds=int(STEPS[span][0].total_seconds()),
        steps=[EndedOut(at=time_text(step.at) or "", outcomes=dict(step.outcomes)) for step in steps],
    )


def _app(app: AppStatistics, *, at: datetime) -> AppOut:
    closing, sweep = app.pace.closing, app.sweep
    return AppOut(
        app_id=app.app_id,
        budget=_budget(app.budget, at=at),
        calls_in_last_minute=sum(app.last_minute.values()),
        calls=CallsOut(last_minute=_by_class(app.last_minute), last_hour=_by_class(app.last_hour)),
        detection=_detection(app),
        rate=round(app.pace.rate, 2),
        round_seconds=round(app.pace.crowding.total_seconds(), 1),
        backlog=BacklogOut(
            due=app.backlog.due,
            due_by_class={word(urgency): count for urgency, count in sorted(app.backlog.by_class.items())},
            oldest_due_seconds=(at - app.backlog.oldest).total_seconds() if app.backlog.oldest else None,
        ),
        deadlines=DeadlinesOut(
            tasks=closing.tasks,
            horizon_seconds=closing.horizon.total_seconds(),
            unservable=closing.unservable,
            short_in_seconds=closing.short_in.total_seconds() if closing.short_in else None,
        ),
        sweep=SweepOut(
            state=app.sweep_state,
            completed_at=time_text(sweep.completed_at) if sweep else None,
            calls=sweep.calls if sweep else 0,
            listed=sweep.listed if sweep else 0,
            error=LastErrorOut.model_validate(sweep.error) if sweep and sweep.error else None,
            budget=_budget(app.list_budget, at=at),
        ),
    )


def _by_class(calls: Mapping[Urgency, int]) -> dict[str, int]:
    return {word(urgency): calls.get(urgency, 0) for urgency in Urgency}


def _detection(app: AppStatistics) -> DetectionOut:
    noticed = app.noticed
    lost = {"ended": noticed.ends_uncalled, "upload_finished": noticed.uploads_uncalled}
    return DetectionOut(
        ended=noticed.ended,
        median_seconds=None if noticed.median is None else round(noticed.median, 3),
        p95_seconds=None if noticed.p95 is None else round(noticed.p95, 3),
        lost_callbacks=lost if app.is_called else None,
    )


def _budget(stand: Stand, *, at: datetime) -> BudgetOut:
    refused = stand.last_refusal_ago
    return BudgetOut(
        limit=stand.limit,
        allowed=stand.allowed,
        in_use=stand.in_use,
        in_doubt=stand.in_doubt,
        paused=stand.paused,
        blocked_until=time_text(at + timedelta(seconds=stand.probe_in)) if stand.probe_in is not None else None,
        refused_at=time_text(at - timedelta(seconds=refused)) if refused is not None else None,
    )
