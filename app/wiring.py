"""Builds the parts once, for the web, the command line and tests; fakes enter here and only here."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import structlog

from app.clock import Clock, SystemClock
from app.core.schedule import Policy
from app.core.signing import new_webhook_secret
from app.core.targets import Rules, TargetRefused, check_url
from app.errors import DatabaseUnavailable, InvalidRequest, Misconfigured
from app.outgoing.sender import Sender
from app.provider.client import DESCRIBE_RECORD_STATUS, DESCRIBE_TASKS, Provider
from app.secret_box import SecretBox
from app.settings import ProviderApp, Settings
from app.store import schema
from app.store.engine import Database
from app.ticker import Job, Ticker
from app.tracking.budget import Budget
from app.tracking.callbacks import Callbacks
from app.tracking.changes import Changes
from app.tracking.health import HealthCheck
from app.tracking.hearing import Hearing
from app.tracking.housekeeping import Housekeeping
from app.tracking.observations import Observations
from app.tracking.pace import Paces
from app.tracking.poller import TICK, Poller
from app.tracking.posting import Post
from app.tracking.registration import Registration
from app.tracking.statistics import Statistics
from app.tracking.subscriptions import Subscriptions
from app.tracking.sweeper import Sweeper
from app.tracking.tasks import Tasks
from app.tracking.webhooks import Webhooks

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """The parts, put together. ``simulated``: the provider is the bundled simulator."""

    settings: Settings
    clock: Clock
    database: Database
    registration: Registration
    callbacks: Callbacks
    tasks: Tasks
    observations: Observations
    budgets: dict[int, Budget]
    list_budgets: dict[int, Budget]
    poller: Poller
    sweeper: Sweeper
    paces: Paces
    stats: Statistics
    housekeeping: Housekeeping
    subscriptions: Subscriptions
    webhooks: Webhooks
    sender: Sender
    ticker: Ticker
    health: HealthCheck
    simulated: bool

    def stop(self) -> None:
        """Start nothing more; what is under way finishes."""
        self.poller.stop()
        self.sweeper.stop()
        self.webhooks.stop()


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
        for budget in (*service.budgets.values(), *service.list_budgets.values()):
            await budget.open()
        await service.sweeper.open()
        try:
            yield service
        finally:
            await service.webhooks.close()
            await service.sender.close()
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
    providers = {
        app.app_id: Provider(
            app.app_id,
            app.server_secret.get_secret_value(),
            url=settings.zego_api_url,
            clock=clock,
            is_test=settings.zego_is_test,
            transport=transport,
        )
        for app in settings.apps.values()
    }

    def budget(app: ProviderApp, action: str, limit: int) -> Budget:
        return Budget(
            app.app_id,
            providers[app.app_id],
            action=action,
            database=database,
            clock=clock,
            limit=limit,
            share=settings.poll_budget,
        )

    apps = settings.apps.values()
    budgets = {app.app_id: budget(app, DESCRIBE_RECORD_STATUS, app.poll_limit) for app in apps}
    # Probes ask for the list too, one a second for each of the two budgets: they must find room within its limit.
    list_budgets = {app.app_id: budget(app, DESCRIBE_TASKS, max(1, app.poll_limit - 2)) for app in apps}

    def wake() -> None:
        poller.wake()
        ticker.wake("poll")

    every = timedelta(seconds=settings.sweep_interval)
    changes = Changes(clock, settings.public_url)
    hearing = Hearing(changes, app_ids=budgets)
    paces = Paces(database, clock, list(budgets.values()), policy, sweep_every=every or None)
    registration = Registration(database, clock, changes, hearing, app_ids=budgets, wake=wake)
    callbacks = Callbacks(
        database,
        clock,
        hearing,
        registration,
        secrets={app.app_id: app.callback_secret.get_secret_value() if app.callback_secret else None for app in apps},
        discover=settings.discover,
        wake=wake,
    )
    tasks = Tasks(database, clock, changes, app_ids=budgets, wake=wake)
    observations = Observations(clock, changes, hearing, policy, pace=paces.of)
    poller = Poller(
        database, clock, observations, list(budgets.values()), pace=paces.of, alive=lambda: ticker.beat("poll")
    )
    sweeper = Sweeper(
        database,
        clock,
        list(list_budgets.values()),
        registration,
        every=every,
        discover=settings.discover,
        wake=wake,
        alive=lambda: ticker.beat("sweep"),
    )
    housekeeping = Housekeeping(
        database, clock, changes, hearing, app_ids=budgets, alive=lambda: ticker.beat("housekeeping")
    )
    sender, box = Sender(clock), SecretBox()
    post = Post(sender, box, clock)
    rules = Rules(
        settings.webhook_allow_http, tuple(settings.webhook_allowed_networks), tuple(settings.webhook_allowed_ports)
    )
    webhooks = Webhooks(database, clock, post, public_url=settings.public_url, alive=lambda: ticker.beat("deliver"))

    def deliver(rung: str) -> None:
        if rung == "deliveries":
            webhooks.wake()
            ticker.wake("deliver")

    database.on_ring = deliver
    subscriptions = Subscriptions(
        database,
        clock,
        box,
        post,
        check_url=lambda url: _check_url(url, rules),
        new_secret=lambda: new_webhook_secret(secrets.token_bytes(32)),
    )
    jobs = [
        Job("poll", poller.run_once, every=timedelta(seconds=TICK)),
        Job("deliver", webhooks.run_once, every=timedelta(seconds=1)),
        Job("pace", paces.run_once, every=timedelta(seconds=5)),
        Job("checkpoint", database.checkpoint, every=timedelta(seconds=5)),
        Job("clock", database.synchronise, every=timedelta(minutes=1)),
        Job("housekeeping", housekeeping.run_once, every=timedelta(minutes=1)),
    ]
    if every:
        jobs.append(Job("sweep", sweeper.run_once, every=timedelta(seconds=1)))
    ticker = Ticker(jobs, clock)
    health = HealthCheck(database, budgets, ticker.stuck)
    return Service(
        settings=settings,
        clock=clock,
        database=database,
        registration=registration,
        callbacks=callbacks,
        tasks=tasks,
        observations=observations,
        budgets=budgets,
        list_budgets=list_budgets,
        poller=poller,
        sweeper=sweeper,
        paces=paces,
        stats=Statistics(database, clock, budgets, list_budgets, paces, callbacks, sweeping=bool(every)),
        housekeeping=housekeeping,
        subscriptions=subscriptions,
        webhooks=webhooks,
        sender=sender,
        ticker=ticker,
        health=health,
        simulated=simulated,
    )


def _check_url(url: str, rules: Rules) -> None:
    try:
        check_url(url, rules)
    except TargetRefused as error:
        raise InvalidRequest.at("/url", error.detail) from None


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """The background jobs at work; at the end, polls under way finish and are recorded."""
    service.ticker.start()
    try:
        yield
    finally:
        service.stop()
        await service.ticker.stop()
