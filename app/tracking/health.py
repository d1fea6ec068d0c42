"""Whether this process can do its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from app.errors import DatabaseUnavailable
from app.store import schema
from app.store.engine import Database
from app.tracking.budget import Budget


class Heartbeat(Protocol):
    """A job's last sign of life, so many seconds ago."""

    @property
    def ago(self) -> float: ...

    @property
    def stuck(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Health:
    """``checks``: each thing examined and "ok", or what is wrong with it. ``heartbeats``: seconds, of each job."""

    status: Literal["ok", "degraded", "down"]
    checks: dict[str, str]
    heartbeats: dict[str, float]


class HealthCheck:
    """Examines database, schema, jobs and, for each app, the provider."""

    def __init__(
        self, database: Database, budgets: Mapping[int, Budget], heartbeats: Callable[[], Mapping[str, Heartbeat]]
    ) -> None:
        self._database, self._budgets, self._heartbeats = database, budgets, heartbeats

    async def examine(self) -> Health:
        beats = self._heartbeats()
        stuck = [name for name, beat in beats.items() if beat.stuck]
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
        return Health(_status(checks, provider), checks | provider, {name: beat.ago for name, beat in beats.items()})


def _status(own: Mapping[str, str], provider: Mapping[str, str]) -> Literal["ok", "degraded", "down"]:
    if any(check != "ok" for check in own.values()):
        return "down"
    return "degraded" if any(check != "ok" for check in provider.values()) else "ok"
