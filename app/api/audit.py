"""The window on who did what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.api import lists
from app.api.keys import GuardedRoute, TheService, requires
from app.api.lists import AFTER, ANY, BEFORE, ListQuery, Split
from app.api.schemas import Moment, NextCursor, Out, StorableText, Time
from app.api.words import AuditAction
from app.core.public import Json, time_text
from app.store.audit import AuditFilter, Line

router = APIRouter(prefix="/v1", tags=["operations"], route_class=GuardedRoute)


class AuditQuery(ListQuery):
    """Filters of GET /v1/audit. Sets are comma-separated."""

    key: Annotated[
        tuple[StorableText, ...], Split, Field(max_length=100, description="By keys of any of these names, by commas.")
    ] = ()
    action: Annotated[tuple[AuditAction, ...], Split, Field(description=ANY)] = ()
    after: Annotated[Moment | None, Field(description=AFTER)] = None
    before: Annotated[Moment | None, Field(description=BEFORE)] = None

    def to_filter(self) -> AuditFilter:
        return AuditFilter(**self.given())


class AuditOut(Out):
    """Something that a caller changed."""

    id: Annotated[str, Field(description="Opaque.")]
    at: Annotated[Time, Field(description="When.")]
    key: Annotated[str | None, Field(description="The name of the key; null where there are no keys.")]
    action: Annotated[AuditAction, Field(description="What was done.")]
    subject: Annotated[
        str | None,
        Field(description="The id of the task, subscription or app; null for a batch. A delivery: its subscription's."),
    ]
    details: Annotated[
        dict[str, Any],
        Field(
            description="Of a batch `created` and `labelled`, how many; of labels their keys; of subscriptions `name`, "
            "and which settings `changed`; of switches their new state. More may come."
        ),
    ]
    request_id: Annotated[str | None, Field(description="The request's X-Request-Id, as in the log.")]


class AuditPage(Out):
    """A page of what was done, newest first."""

    items: Annotated[list[AuditOut], Field(description="At most `limit`.")]
    next_cursor: NextCursor


@router.get("/audit", dependencies=[requires("admin")], summary="Who did what", operation_id="listAudit")
async def list_audit(query: Annotated[AuditQuery, Query()], service: TheService) -> AuditPage:
    """Newest first: a line for each request that changed something, as durable as the change. Asking, refreshing and
    pinging are none, nor is what the provider's callbacks and answers bring about."""
    query, place = lists.resume(query, lists.AUDIT_PLACE)
    found = await service.audit.page(query.to_filter(), below=place[1] if place else None, limit=query.limit)
    cursor = lists.next_cursor(query, found.more and ("audit", *found.more))
    return AuditPage.model_validate({"items": [_json(one) for one in found.items], "next_cursor": cursor})


def _json(one: Line) -> Json:
    return {
        "id": f"aud_{one.id}",
        "at": time_text(one.at),
        "key": one.key,
        "action": one.action,
        "subject": one.subject,
        "details": one.details,
        "request_id": one.request_id,
    }
