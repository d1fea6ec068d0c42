"""The door to the feed: every change in one order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.keys import GuardedRoute, TheCaller, TheService, caller_of, requires, service_of
from app.api.lists import ANY, AppId, Ids, LabelFilters, Limit, Split, label_pairs
from app.api.problems import may_answer
from app.api.schemas import Out
from app.api.task_schemas import EventOut
from app.api.waiting import Wait, unless_hung_up
from app.api.words import FeedType
from app.store.feed import FeedFilter, Page

router = APIRouter(prefix="/v1", tags=["events"], route_class=GuardedRoute)
read = requires("read")

LATEST = "latest"
POSITION = r"^(latest|[0-9]{1,19})$"
GREATEST = 2**63 - 1
ALIVE = b": ping\n\n"


class FeedFilterQuery(BaseModel):
    """What the feed is narrowed to. Sets are comma-separated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    types: Annotated[tuple[FeedType, ...], Split, Field(description=ANY)] = ()
    task_id: Annotated[Ids, Field(description="At most 100.")] = ()
    app_id: AppId = None
    label: Annotated[
        LabelFilters,
        Field(
            description="`key:value`; repeat it for several, all must match. `task.deleted` comes whatever the labels "
            "were: they are erased."
        ),
    ] = ()

    def to_filter(self) -> FeedFilter:
        labels = label_pairs(self.label)
        return FeedFilter(types=self.types, task_id=self.task_id, app_id=self.app_id, labels=labels)


class FeedQuery(FeedFilterQuery):
    """What the feed takes. An unknown parameter is refused."""

    after: Annotated[
        str,
        Field(
            pattern=POSITION,
            description="`0`: from the oldest event that is kept; `latest`: only what is yet to come; "
            "or the `next_after` of the page before, an `events_after` of a list.",
        ),
    ] = "0"
    limit: Limit = 100
    wait: Wait = None


class FeedPage(Out):
    """Events in the order of all, and the position after them."""

    items: Annotated[list[EventOut], Field(description="At most `limit`, oldest first.")]
    next_after: Annotated[str, Field(description="Pass it back as `after`. It advances on empty pages too.")]


@router.get(
    "/events",
    dependencies=[read],
    summary="Follow every change",
    operation_id="listEvents",
    openapi_extra=may_answer("feed_position_lost"),
)
async def list_events(query: Annotated[FeedQuery, Query()], request: Request) -> FeedPage:
    """In one order for all. Pass `next_after` back as `after`, also from an empty page: nothing is missed, even while
    many changes are written at once. An event comes once here, but keep its `id` if yours must never act twice."""
    service = service_of(request)
    after = await service.feed.latest() if query.after == LATEST else min(int(query.after), GREATEST)
    reading = service.waiting.page(
        after, query.to_filter(), limit=query.limit, seconds=query.wait or 0, key=caller_of(request).key
    )
    page = await unless_hung_up(request, reading)
    text = f'{{"items":[{",".join(event.text for event in page.events)}],"next_after":"{page.next_after}"}}'
    return Response(text, media_type="application/json")  # type: ignore[return-value]


class StreamQuery(FeedFilterQuery):
    """What the stream takes. An unknown parameter is refused."""

    after: Annotated[str | None, Field(pattern=POSITION, description="As in the feed; default: `latest`.")] = None


async def _start(
    query: Annotated[StreamQuery, Query()],
    service: TheService,
    caller: TheCaller,
    last_event_id: Annotated[
        str | None, Header(pattern=POSITION, description="The `id` of the last event you got; goes before `after`.")
    ] = None,
) -> AsyncIterator[int]:
    """Where the stream begins, and its place while it lasts. What it would end with at once is told here: a stream that
    has begun cannot."""
    after = last_event_id or query.after or LATEST
    with service.waiting.place(caller.key):
        position = await service.waiting.latest() if after == LATEST else min(int(after), GREATEST)
        await service.waiting.check(position)
        yield position


class EventStream(StreamingResponse):
    """Server-Sent Events, written by hand: FastAPI's own way takes three tasks a stream and five turns of the loop an
    event, which is too slow for many readers (docs/benchmarks.md)."""

    media_type = "text/event-stream"


@router.get(
    "/events/stream",
    dependencies=[read],
    summary="Follow every change as a stream",
    operation_id="streamEvents",
    response_class=EventStream,
    openapi_extra=may_answer("feed_position_lost"),
)
async def stream_events(
    query: Annotated[StreamQuery, Query()], service: TheService, start: Annotated[int, Depends(_start)]
) -> EventStream:
    """Server-Sent Events: `data` is an event as in the feed, `id` its `seq`; a comment every 15 s shows that the stream
    lives. It ends when the service stops: come again with `Last-Event-ID`, as browsers do by themselves."""
    pages = service.waiting.pages(start, query.to_filter())
    return EventStream(_sent(pages), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _sent(pages: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    async for page in pages:
        yield b"".join(event.streamed for event in page.events) or ALIVE
