"""The door to the switches of the apps."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.keys import GuardedRoute, TheCaller, TheService, requires
from app.api.problems import may_answer
from app.api.schemas import In, Out, Whole

router = APIRouter(prefix="/v1", tags=["operations"], route_class=GuardedRoute)

Switch = TypeAliasType("Switch", Annotated[Literal["on", "paused"], Field(description="Whether it is done.")])


class AppSwitchesOut(Out):
    """An app and what operators set for it."""

    app_id: Annotated[int, Field(description="The provider's AppId.")]
    polling: Annotated[Switch, Field(description="`paused`: nothing is asked of the provider about tasks.")]
    poll_budget: Annotated[int, Field(description="Calls under way or cooling at most, in all processes together.")]
    poll_limit: Annotated[int, Field(description="Calls the provider allows in any second.")]
    sweeping: Annotated[Switch, Field(description="`paused`: the provider's list of tasks is not read.")]


class AppsOut(Out):
    """The configured apps, by id."""

    items: Annotated[list[AppSwitchesOut], Field(description="All of them.")]


class AppSwitchesIn(In):
    """What is left out stays as it is. Windows go on closing while polling is paused."""

    polling: Annotated[Switch | None, Field(description="Ask the provider about tasks, or not.")] = None
    poll_budget: Annotated[
        int | None, Field(strict=True, ge=1, le=1000, description="Calls at once: 1 … `poll_limit`."), Whole
    ] = None
    sweeping: Annotated[Switch | None, Field(description="Read the provider's list of tasks, or not.")] = None


@router.get("/apps", dependencies=[requires("read")], summary="The apps and their switches", operation_id="listApps")
async def list_apps(service: TheService) -> AppsOut:
    """What operators set, for all processes."""
    return AppsOut(items=[AppSwitchesOut(**app.told()) for app in await service.apps.list_apps()])


@router.patch("/apps/{app_id}", dependencies=[requires("admin")], summary="Pause or slow an app down",
              operation_id="switchApp", openapi_extra=may_answer("not_found"))  # fmt: skip
async def switch_app(
    app_id: Annotated[int, Path(ge=1, description="The provider's AppId.")],
    body: AppSwitchesIn,
    service: TheService,
    caller: TheCaller,
) -> AppSwitchesOut:
    """Stored, and heeded by every process within a second; calls under way finish."""
    polling, sweeping = (None if one is None else one == "on" for one in (body.polling, body.sweeping))
    app = await service.apps.switch(app_id, polling=polling, poll_budget=body.poll_budget, sweeping=sweeping, by=caller)
    return AppSwitchesOut(**app.told())
