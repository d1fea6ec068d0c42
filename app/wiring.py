"""Builds the parts once, for the web, the command line and tests; fakes enter here and only here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import structlog

from app.clock import Clock, SystemClock
from app.core.schedule import Policy
from app.errors import DatabaseUnavailable, Misconfigured
from app.provider.client import Provider
from app.settings import Settings
from app.store import schema
from app.store.engine import Database
from app.ticker import Job, Ticker
from app.tracking.budget import Budget
from app.tracking.changes import Changes
from app.tracking.health import HealthCheck
from app.tracking.housekeeping import Housekeeping
from app.tracking.observations import Observations
from app.tracking.poller import TICK, Poller
from app.tracking.registration import Registration
from app.tracking.tasks import Tasks

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """The parts, put together. ``simulated``: the provider is the bundled simulator."""

    settings: Settings
    clock: Clock
    database: Database
    registration: Registration
    tasks: Tasks
    observations: Observations
    budgets: dict[int, Budget]
    poller: Poller
    housekeeping: Housekeeping
    ticker: Ticker
    health: HealthCheck
    simulated: bool


@asynccontextmanager
async def open_service(
    settings: Settings,
    *,
    clock: Clock | None = None,
    policy: Policy | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    simulated: bool = False,
) -> AsyncIterator[Service]:
    """The service on its database, nothing running yet. Raises Misconfigured if the schema is not ours.

    SQLite is migrated here; PostgreSQL is shared, so its schema changes only by `recording-status migrate`.
    """
    clock = clock or SystemClock()
    policy = policy or Policy()
    database = Database(settings.database_url, clock)
    try:
        await prepare(database)
        service = _build(settings, clock, policy, database, transport, simulated=simulated)
        for budget in service.budgets.values():
            await budget.open()
        try:
            yield service
        finally:
            for budget in service.budgets.values():
                await budget.provider.close()
    finally:
        await database.close()


async def prepare(database: Database) -> None:
    """Reach the database, set the clock by it, and see to its schema."""
    try:
        if database.is_sqlite:
            await schema.migrate(database)
        elif not await schema.is_current(database):
            raise Misconfigured(["DATABASE_URL: its schema is not this version's; run `recording-status migrate`"])
        await database.synchronise()
    except DatabaseUnavailable as error:
        raise Misconfigured([f"DATABASE_URL: cannot use the database: {error}"]) from error


def _build(
    settings: Settings,
    clock: Clock,
    policy: Policy,
    database: Database,
    transport: httpx.AsyncBaseTransport | None,
    *,
    simulated: bool,
) -> Service:
    budgets = {
        app.app_id: Budget(
            app.app_id,
            Provider(
                app.app_id,
                app.server_secret.get_secret_value(),
                url=settings.zego_api_url,
                clock=clock,
                is_test=settings.zego_is_test,
                transport=transport,
            ),
            database=database,
            clock=clock,
            limit=app.poll_limit,
            share=settings.poll_budget,
        )
        for app in settings.apps.values()
    }

    def wake() -> None:
        poller.wake()
        ticker.wake("poll")

    changes = Changes(clock)
    registration = Registration(database, clock, changes, app_ids=budgets, wake=wake)
    tasks = Tasks(database, clock, changes, app_ids=budgets, wake=wake)
    observations = Observations(clock, changes, policy)
    poller = Poller(database, clock, observations, list(budgets.values()), alive=lambda: ticker.beat("poll"))
    housekeeping = Housekeeping(database, clock, changes, app_ids=budgets)
    ticker = Ticker(
        [
            Job("poll", poller.run_once, every=timedelta(seconds=TICK)),
            Job("checkpoint", database.checkpoint, every=timedelta(seconds=5)),
            Job("clock", database.synchronise, every=timedelta(minutes=1)),
            Job("housekeeping", housekeeping.run_once, every=timedelta(minutes=1)),
        ],
        clock,
    )
    health = HealthCheck(database, budgets, ticker.stuck)
    return Service(
        settings=settings,
        clock=clock,
        database=database,
        registration=registration,
        tasks=tasks,
        observations=observations,
        budgets=budgets,
        poller=poller,
        housekeeping=housekeeping,
        ticker=ticker,
        health=health,
        simulated=simulated,
    )


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """The background jobs at work; at the end, polls under way finish and are recorded."""
    service.ticker.start()
    try:
        yield
    finally:
        service.poller.stop()
        await service.ticker.stop()
