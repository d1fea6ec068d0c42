"""Whether this process can do its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from app.errors import DatabaseUnavailable
from app.store import schema
from app.store.engine import Database
from app.tracking.budget import Budget


@dataclass(frozen=True, slots=True)
class Health:
    """``checks``: each thing examined and "ok", or what is wrong with it."""

    status: Literal["ok", "degraded", "down"]
    checks: dict[str, str]


class HealthCheck:
    """Examines database, schema, jobs and, for each app, the provider."""

    def __init__(self, database: Database, budgets: Mapping[int, Budget], stuck_jobs: Callable[[], list[str]]) -> None:
        self._database, self._budgets, self._stuck_jobs = database, budgets, stuck_jobs

    async def examine(self) -> Health:
        stuck = self._stuck_jobs()
        checks = {"database": "ok", "schema": "ok", "jobs": f"stuck: {', '.join(stuck)}" if stuck else "ok"}
        provider: dict[str, str] = {}
        try:
            if not await schema.fits(self._database):
                checks["schema"] = "not this version's; run `recording-status migrate`"
            else:
                for app_id, budget in self._budgets.items():
                    provider[f"provider.{app_id}"] = await budget.trouble() or "ok"
        except DatabaseUnavailable as error:
            checks |= {"database": str(error), "schema": "not known"}
        if any(check != "ok" for check in checks.values()):
            return Health("down", checks | provider)
        degraded = any(check != "ok" for check in provider.values())
        return Health("degraded" if degraded else "ok", checks | provider)
