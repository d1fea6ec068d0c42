"""Builds the parts once, for the web, the command line and tests; fakes enter here and only here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Literal

import httpx
import structlog

from app import metrics
from app.clock import Clock, SystemClock
from app.core.limits import RateLimit
from app.core.schedule import Policy
from app.core.signing import NEW_SECRET_SIZE, new_webhook_secret
from app.core.targets import Rules, check_url
from app.errors import DatabaseUnavailable, Misconfigured
from app.outgoing.sender import Sender
from app.provider.client import DESCRIBE_RECORD_STATUS, DESCRIBE_TASKS, Provider
from app.secret_box import SecretBox
from app.settings import LOOPBACK, ProviderApp, Settings
from app.store import feed as feed_store
from app.store import schema
from app.store.bell import DELIVERIES, EVENTS, POLLS, Bell
from app.store.engine import Database
from app.ticker import Job, Ticker
from app.tracking.apps import Apps
from app.tracking.audit import Audit
from app.tracking.budget import Budget
from app.tracking.callbacks import Callbacks
from app.tracking.calls import FLUSH_EVERY, Spending
from app.tracking.changes import Changes
from app.tracking.feed import Feed
from app.tracking.follower import Follower
from app.tracking.gauges import Gauges, feel_lag
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
from app.tracking.timekeeping import Timekeeping
from app.tracking.waiting import Waiting
from app.tracking.webhooks import Webhooks

log = structlog.get_logger(__name__)

ProcessRole = Literal["all", "api", "worker"]
"""What a process does: answer, work, or both."""


DELIVER_EVERY = timedelta(seconds=1)
"""Between two looks for what is to be sent while nobody says that something is."""


@dataclass(frozen=True, slots=True)
class Service:
    """The parts, put together. ``simulated``: the provider is the bundled simulator."""

    settings: Settings
    role: ProcessRole
    clock: Clock
    database: Database
    registration: Registration
    callbacks: Callbacks
    tasks: Tasks
    observations: Observations
    feed: Feed
    budgets: dict[int, Budget]
    list_budgets: dict[int, Budget]
    spending: Spending
    poller: Poller
    sweeper: Sweeper
    timekeeping: Timekeeping
    paces: Paces
    stats: Statistics
    apps: Apps
    audit: Audit
    rate_limit: RateLimit | None
    housekeeping: Housekeeping
    follower: Follower
    waiting: Waiting
    bell: Bell
    subscriptions: Subscriptions
    webhooks: Webhooks
    ticker: Ticker
    health: HealthCheck
    gauges: Gauges
    simulated: bool

    def stop(self) -> None:
        """Start nothing more; what is under way finishes."""
        self.poller.stop()
        self.sweeper.stop()
        self.follower.stop()
        self.webhooks.stop()


@asynccontextmanager
async def open_service(
    settings: Settings,
    *,
    clock: Clock | None = None,
    policy: Policy | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    role: ProcessRole = "all",
    patience: float = 0.0,
    simulated: bool = False,
) -> AsyncIterator[Service]:
    """The service on its database, nothing running yet. Raises Misconfigured if the schema is not ours.

    With the role `api` only the jobs run that answering needs.

    SQLite is migrated here; PostgreSQL is shared, so its schema changes only by `recording-status migrate`. For so
    many seconds (``patience``) it waits for a PostgreSQL that is not there yet, or not migrated yet.
    """
    clock = clock or SystemClock()
    policy = policy or Policy()
    database = Database(settings.database_url, clock)
    try:
        await _prepare_in_time(database, clock, patience)
        async with database.write() as connection:
            await feed_store.jump(connection)
        service = _build(settings, clock, policy, database, transport, role=role, simulated=simulated)
        for budget in (*service.budgets.values(), *service.list_budgets.values()):
            await budget.open()
        await service.sweeper.open()
        try:
            yield service
        finally:
            await service.webhooks.close()
            await service.gauges.close()
            for budget in service.budgets.values():
                await budget.provider.close()
    finally:
        await database.close()


async def _prepare_in_time(database: Database, clock: Clock, patience: float) -> None:
    give_up = clock.monotonic() + (0.0 if database.is_sqlite else patience)
    while True:
        try:
            return await prepare(database)
        except Misconfigured as error:
            if clock.monotonic() >= give_up:
                raise
            log.warning("waiting for the database", reason=str(error), seconds=round(give_up - clock.monotonic()))
            await clock.sleep(1.0)


async def prepare(database: Database) -> None:
    """Reach the database, set the clock by it, and see to its schema."""
    try:
        if database.is_sqlite:
            await schema.migrate(database)
        elif not await schema.fits(database):
            raise Misconfigured(["DATABASE_URL: its schema is not this version's; run `recording-status migrate`"])
        await database.synchronise()
    except DatabaseUnavailable as error:
        reason = database.unwritable() or str(error)
        raise Misconfigured([f"DATABASE_URL: cannot use the database: {reason}"]) from error


def _build(
    settings: Settings,
    clock: Clock,
    policy: Policy,
    database: Database,
    transport: httpx.AsyncBaseTransport | None,
    *,
    role: ProcessRole,
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

    every = timedelta(seconds=settings.sweep_interval)
    changes = Changes(clock, settings.public_url)
    hearing = Hearing(changes, app_ids=budgets)
    paces = Paces(database, clock, list(budgets.values()), policy, sweep_every=every or None)
    registration = Registration(database, clock, changes, hearing, app_ids=budgets)
    callbacks = Callbacks(
        database,
        clock,
        hearing,
        registration,
        secrets={app.app_id: app.callback_secret.get_secret_value() if app.callback_secret else None for app in apps},
        discover=settings.discover,
    )
    tasks = Tasks(database, clock, changes, app_ids=budgets)
    observations = Observations(database, clock, changes, hearing, policy, pace=paces.of)
    spending = Spending(database, clock, budgets)
    poller = Poller(
        database,
        clock,
        observations,
        list(budgets.values()),
        pace=paces.of,
        spent=spending.count,
        alive=lambda: ticker.beat("poll"),
    )
    sweeper = Sweeper(
        database,
        clock,
        list(list_budgets.values()),
        registration,
        every=every,
        discover=settings.discover,
        alive=lambda: ticker.beat("sweep"),
    )
    housekeeping = Housekeeping(
        database,
        clock,
        changes,
        hearing,
        app_ids=budgets,
        keep=timedelta(days=settings.retention_days) or None,
        alive=lambda: ticker.beat("housekeeping"),
    )
    timekeeping = Timekeeping(database, clock, policy, app_ids=budgets, pace=paces.of, sweep_every=every)
    rules = Rules(
        settings.webhook_allow_http, settings.webhook_allowed_networks, frozenset(settings.webhook_allowed_ports)
    )
    secret_key = settings.secret_key.get_secret_value() if settings.secret_key else None
    box = SecretBox.of(secret_key, on_loopback=settings.host in LOOPBACK)
    post = Post(Sender(rules, clock=clock), box, clock)
    webhooks = Webhooks(database, clock, post, public_url=settings.public_url, alive=lambda: ticker.beat("deliver"))
    subscriptions = Subscriptions(
        database,
        clock,
        box,
        post,
        check_url=lambda url: check_url(url, rules),
        new_secret=lambda: new_webhook_secret(clock.secret(NEW_SECRET_SIZE)),
    )
    jobs = [
        Job("pace", paces.run_once, every=timedelta(seconds=5)),
        Job("checkpoint", database.checkpoint, every=timedelta(seconds=5)),
    ]
    if role == "api":
        jobs.append(Job("clock", database.synchronise, every=timedelta(minutes=1)))
    else:
        jobs += [
            Job("clock", timekeeping.run_once, every=timedelta(minutes=1)),
            Job("poll", poller.run_once, every=timedelta(seconds=TICK)),
            Job("spending", spending.run_once, every=FLUSH_EVERY),
            Job("deliver", webhooks.run_once, every=DELIVER_EVERY),
            Job("housekeeping", housekeeping.run_once, every=timedelta(minutes=1)),
        ]
        if every:
            jobs.append(Job("sweep", sweeper.run_once, every=timedelta(seconds=1)))
    ticker = Ticker(jobs, clock)
    bell = _bell(settings, database, clock)
    feed = Feed(database)
    follower = Follower(database, clock, keys=len({key.name for key in settings.api_keys}))
    bell.on(EVENTS, follower.wake)
    if role != "api":
        bell.on(POLLS, poller.wake)
        bell.on(POLLS, lambda: ticker.wake("poll"))
        bell.on(DELIVERIES, webhooks.wake)
        bell.on(DELIVERIES, lambda: ticker.wake("deliver"))
    health = HealthCheck(database, budgets, ticker.heartbeats)
    metrics.BUILD.labels(version("recording-status"), role, "sqlite" if database.is_sqlite else "postgresql").set(1)
    return Service(
        settings=settings,
        role=role,
        clock=clock,
        database=database,
        registration=registration,
        callbacks=callbacks,
        tasks=tasks,
        observations=observations,
        feed=feed,
        budgets=budgets,
        list_budgets=list_budgets,
        spending=spending,
        poller=poller,
        sweeper=sweeper,
        timekeeping=timekeeping,
        paces=paces,
        stats=Statistics(database, clock, budgets, list_budgets, paces, callbacks, spending, sweeping=bool(every)),
        apps=Apps(database, clock, budgets, list_budgets),
        audit=Audit(database),
        rate_limit=RateLimit(settings.requests_per_second) if settings.requests_per_second else None,
        housekeeping=housekeeping,
        follower=follower,
        waiting=Waiting(clock, tasks, feed, follower),
        bell=bell,
        subscriptions=subscriptions,
        webhooks=webhooks,
        ticker=ticker,
        health=health,
        gauges=Gauges(database, clock, budgets, list_budgets, paces, follower, ticker.heartbeats),
        simulated=simulated,
    )


def _bell(settings: Settings, database: Database, clock: Clock) -> Bell:
    # Behind PgBouncer there is nothing to listen on: a connection there is another one for each transaction.
    direct = None if database.is_sqlite or database.is_pooled else settings.database_url
    bell = Bell(settings.database_listen_url or direct, clock)
    database.committed = bell.ring
    return bell


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """The background jobs at work; at the end, polls under way finish and are recorded."""
    service.ticker.start()
    beside = [asyncio.create_task(service.bell.run()), asyncio.create_task(service.follower.run())]
    beside.append(asyncio.create_task(feel_lag()))
    try:
        yield
    finally:
        service.stop()
        await service.ticker.stop()
        for one in beside:
            one.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
