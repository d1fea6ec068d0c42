"""The switches of each app that operators have at hand; stored, so they hold for all processes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from app.errors import AppNotFound, InvalidRequest
from app.store.bell import POLLS, ring
from app.store.engine import Connection, Database
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


class Apps:
    """Shows the configured apps and turns their switches."""

    def __init__(self, database: Database, budgets: Mapping[int, Budget], list_budgets: Mapping[int, Budget]) -> None:
        self._database, self._budgets, self._list_budgets = database, budgets, list_budgets

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
    ) -> App:
        """Turn some switches; None leaves one as it is. Raises AppNotFound, InvalidRequest."""
        budget = self._budgets.get(app_id)
        if budget is None:
            raise AppNotFound(f"no app {app_id} is configured")
        if poll_budget is not None and poll_budget > budget.limit:
            raise InvalidRequest.at("/poll_budget", f"the provider allows this app {budget.limit} calls a second")
        async with self._database.write() as connection:
            await budget.switch(connection, off=None if polling is None else not polling, cap=poll_budget)
            await self._list_budgets[app_id].switch(connection, off=None if sweeping is None else not sweeping)
            ring(connection, POLLS)
            app = await self._app(connection, app_id)
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
