"""Doors for operators: is the process alive, is it ready, what is it doing."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from app import metrics
from app.api.keys import TheService, is_known, requires
from app.tracking.health import Health

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """`down`: this process cannot do its work (503). `degraded`: it can, but the provider is away."""

    status: Literal["ok", "degraded", "down"]
    checks: Annotated[dict[str, str] | None, Field(description="Left out without a key.")] = None
    jobs: Annotated[
        dict[str, float] | None,
        Field(description="Seconds since each background job of this process last showed a sign of life. As `checks`."),
    ] = None
    simulated: bool


@router.get("/livez", summary="The process runs", operation_id="livez")
async def livez() -> Live:
    """Never touches the database."""
    return Live()


@router.get("/readyz", summary="The process can do its work", operation_id="readyz",
            response_model_exclude_none=True,
            responses={503: {"model": Ready, "description": "It cannot."}})  # fmt: skip
async def readyz(service: TheService, known: Annotated[bool, Depends(is_known)], response: Response) -> Ready:
    """Trouble of the provider is `degraded` with 200: asking us still makes sense."""
    health: Health = await service.health.examine()
    response.status_code = 503 if health.status == "down" else 200
    ready = Ready(status=health.status, simulated=service.simulated)
    if known:
        ready.checks = health.checks
        ready.jobs = {name: round(ago, 1) for name, ago in health.heartbeats.items()}
    return ready


@router.get("/metrics", dependencies=[requires("read")], summary="The metrics of this process",
            operation_id="getMetrics", response_class=Response, tags=["operations"],
            responses={200: {"description": "In the text format of Prometheus.", "content": {metrics.CONTENT_TYPE: {}}}}
            )  # fmt: skip
async def metrics_of_process(service: TheService) -> Response:
    """Each process, workers too, tells its own: the help of each metric says whether to add them up."""
    await service.gauges.update()
    return Response(metrics.expose(), headers={"Content-Type": metrics.CONTENT_TYPE})
