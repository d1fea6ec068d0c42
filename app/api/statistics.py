"""The door to the numbers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.keys import GuardedRoute, TheService, requires
from app.api.problems import PROBLEMS
from app.api.schemas import LastErrorOut, Out, Time
from app.core.public import time_text
from app.tracking.budget import Stand
from app.tracking.statistics import STEPS, AppStatistics, Span

router = APIRouter(prefix="/v1", tags=["operations"], responses=PROBLEMS, route_class=GuardedRoute)
read = requires("read")


class TaskCounts(Out):
    """Number of tasks, by each of these words."""

    tracking: dict[str, int]
    status: dict[str, int]
    outcome: dict[str, int]


class BudgetOut(Out):
    """The permits for one of the provider's actions, shared by all processes."""

    limit: Annotated[int, Field(description="Calls the provider allows in any second.")]
    allowed: Annotated[int, Field(description="What throttling left of them.")]
    in_use: Annotated[int, Field(description="Under way, or answered less than a second ago.")]
    in_doubt: Annotated[int, Field(description="Of calls given up, which may still arrive.")]
    paused: Annotated[str | None, Field(description="Why nothing is asked but probes; null: all is well.")]
    blocked_until: Annotated[Time | None, Field(description="When the next probe of a paused app may be sent.")]
    refused_at: Annotated[Time | None, Field(description="When the provider last refused a call as too many.")]


class BacklogOut(Out):
    """Polls that are due now."""

    due: int
    due_by_class: Annotated[
        dict[str, int],
        Field(
            description="What they are: `hurried` (by a callback, a registration, the sweep), `refresh` (asked for), "
            "`prompt` (files are uploading), `routine`, `batch` (registered together), `look` (at settled tasks)."
        ),
    ]
    oldest_due_seconds: Annotated[float | None, Field(description="How long the longest has been waiting.")]


class DeadlinesOut(Out):
    """Query windows that close in the next 6 hours on tasks still waiting for their last look."""

    tasks: int
    horizon_seconds: Annotated[float, Field(description="Windows that close within this are served now, first.")]
    unservable: Annotated[int, Field(description="At least so many cannot be polled in time.")]
    short_in_seconds: Annotated[float | None, Field(description="When the time begins to be too short.")]


class SweepOut(Out):
    """The sweep over the provider's list of running tasks."""

    state: Annotated[
        Literal["off", "idle", "working", "failing"],
        Field(description="`idle`: nothing to sweep for. `failing`: see `error`; polls and callbacks do without it."),
    ]
    completed_at: Annotated[Time | None, Field(description="When the last one that saw everything began.")]
    calls: Annotated[int, Field(description="It took so many pages,")]
    listed: Annotated[int, Field(description="and showed so many running tasks.")]
    error: LastErrorOut | None
    budget: BudgetOut


class AppOut(Out):
    """One of the provider's apps."""

    app_id: int
    budget: BudgetOut
    calls_in_last_minute: Annotated[int, Field(description="Made by this process.")]
    rate: Annotated[float, Field(description="Calls a second that the permits allow at today's round trips.")]
    round_seconds: Annotated[float, Field(description="How long one round over all recordings is to take.")]
    backlog: BacklogOut
    deadlines: DeadlinesOut
    sweep: SweepOut


class CallbackCounts(Out):
    """Callbacks of the last 24 hours by verdict; those refused by this process since its start by reason."""

    accepted: int = 0
    repeat: int = 0
    suspicious: int = 0
    refused: dict[str, int]


class DeliveryCounts(Out):
    """Webhooks on their way."""

    pending: int
    oldest_pending_seconds: Annotated[float | None, Field(description="How long the longest has been waiting.")]
    failed: Annotated[int, Field(description="Given up, of those queued in the last 24 hours.")]


class Stats(Out):
    """What the service is doing."""

    at: Time
    simulated: bool
    tasks: TaskCounts
    apps: list[AppOut]
    callbacks: CallbackCounts
    deliveries: DeliveryCounts


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

    step_seconds: int
    steps: Annotated[list[EndedOut], Field(description="Oldest first; the last one is under way.")]


@router.get("/stats/outcomes", dependencies=[read], summary="What became of tasks lately", operation_id="getOutcomes")
async def ended(
    service: TheService,
    span: Annotated[Span, Query(description="The last hour by minutes, or the last day by hours.")] = "day",
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
        calls_in_last_minute=app.calls,
        rate=round(app.pace.rate, 2),
        round_seconds=round(app.pace.crowding.total_seconds(), 1),
        backlog=BacklogOut(
            due=app.backlog.due,
            due_by_class={urgency.name.lower(): count for urgency, count in sorted(app.backlog.by_class.items())},
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
