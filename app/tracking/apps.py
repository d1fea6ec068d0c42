"""The switches of each app that operators have at hand; stored, so they hold for all processes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from app.clock import Clock
from app.errors import AppNotFound, InvalidRequest
from app.store.bell import POLLS, ring
from app.store.connection import Connection
from app.store.engine import Database
from app.tracking.audit import NOBODY, Caller, note
from app.tracking.budget import Budget

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """``poll_limit``: what the provider allows; ``poll_budget``: how much of it may be used."""

    app_id: int
    polling: bool
    poll_budget: int
    poll_limit: int
    sweeping: bool

    def told(self) -> dict[str, Any]:
        """In the words of the API."""
        words = {name: "on" if getattr(self, name) else "paused" for name in ("polling", "sweeping")}
        return asdict(self) | words


class Apps:
    """Shows the configured apps and turns their switches."""

    def __init__(
        self, database: Database, clock: Clock, budgets: Mapping[int, Budget], list_budgets: Mapping[int, Budget]
    ) -> None:
        self._database, self._clock, self._budgets, self._list_budgets = database, clock, budgets, list_budgets

    async def list_apps(self) -> list[App]:
        """By id."""
        async with self._database.read() as connection:
            return [await self._app(connection, app_id) for app_id in sorted(self._budgets)]

    async def switch(
        self,
        app_id: int,
        *,
        polling: bool | None = None,
        poll_budget: int | None = None,
        sweeping: bool | None = None,
        by: Caller = NOBODY,
    ) -> App:
        """Turn some switches; None leaves one as it is. Raises AppNotFound, InvalidRequest."""
        budget = self._budgets.get(app_id)
        if budget is None:
            raise AppNotFound(f"no app {app_id} is configured")
        if poll_budget is not None and poll_budget > budget.limit:
            raise InvalidRequest.at("/poll_budget", f"the provider allows this app {budget.limit} calls a second")
        async with self._database.write() as connection:
            before = await self._app(connection, app_id)
            await budget.switch(connection, off=None if polling is None else not polling, cap=poll_budget)
            await self._list_budgets[app_id].switch(connection, off=None if sweeping is None else not sweeping)
            ring(connection, POLLS)
            app = await self._app(connection, app_id)
            if turned := dict(app.told().items() - before.told().items()):
                await note(connection, by, "app.switch", str(app_id), at=self._clock.now(), **turned)
        log.warning("switched", app_id=app_id, polling=app.polling, poll_budget=app.poll_budget, sweeping=app.sweeping)
        return app

    async def _app(self, connection: Connection, app_id: int) -> App:
        polls, lists = self._budgets[app_id], self._list_budgets[app_id]
        stand, list_stand = await polls.stand(connection), await lists.stand(connection)
        return App(
            app_id=app_id,
            polling=not stand.switched_off,
            poll_budget=stand.cap,
            poll_limit=polls.limit,
            sweeping=not list_stand.switched_off,
        )
