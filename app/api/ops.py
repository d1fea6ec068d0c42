"""Doors for operators: is the process alive, is it ready, what is it doing."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.api.edge import TheService
from app.tracking.health import Health

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """`down`: this process cannot do its work (503). `degraded`: it can, but the provider is away."""

    status: Literal["ok", "degraded", "down"]
    checks: dict[str, str]
    simulated: bool


@router.get("/livez", summary="The process runs", operation_id="livez")
async def livez() -> Live:
    """Never touches the database."""
    return Live()


@router.get("/readyz", summary="The process can do its work", operation_id="readyz",
            responses={503: {"model": Ready, "description": "It cannot."}})  # fmt: skip
async def readyz(service: TheService, response: Response) -> Ready:
    """Trouble of the provider is `degraded` with 200: asking us still makes sense."""
    health: Health = await service.health.examine()
    response.status_code = 503 if health.status == "down" else 200
    return Ready(status=health.status, checks=health.checks, simulated=service.simulated)
