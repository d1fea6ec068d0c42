"""Doors to registered tasks: parse, authorise, call one verb, shape the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from app.api import lists
from app.api.etags import IF_MATCH, SHOWN, expected, matches
from app.api.keys import GuardedRoute, TheCaller, TheService, caller_of, requires, service_of
from app.api.lists import ListQuery, TaskQuery
from app.api.problems import may_answer
from app.api.schemas import LabelsIn, TaskIdPath
from app.api.shown import TheGallery, answer, gallery_of, page, show, unchanged
from app.api.task_schemas import AnswerOut, EventPage, TaskOut, TaskPage
from app.api.waiting import Wait, unless_hung_up
from app.api.words import Awaited
from app.core.public import Json, event_json, time_text
from app.core.recording import Task
from app.errors import InvalidRequest, TaskNotFound
from app.tracking.waiting import has_ended, is_over

router = APIRouter(prefix="/v1", tags=["tasks"], route_class=GuardedRoute)
read, write, admin = requires("read"), requires("write"), requires("admin")


@router.get(
    "/tasks",
    dependencies=[read],
    summary="List tasks",
    operation_id="listTasks",
    response_model=TaskPage,
    response_model_exclude_unset=True,
)
async def list_tasks(query: Annotated[TaskQuery, Query()], request: Request) -> Response:
    """By pages; pass `next_cursor` back as `cursor` until it is null. To keep a copy up to date, note the first page's
    `events_after`, copy all pages, and follow `/v1/events?after=` from there: nothing is missed."""
    query, after = lists.resume(query, lists.TASK_PLACE)
    found = await service_of(request).tasks.list_tasks(
        query.to_filter(), order=query.order, after=after, limit=lists.page_size(query)
    )
    items = await gallery_of(request).tasks(found.tasks, with_files=query.include == "files")
    rest: Json = {"next_cursor": lists.next_cursor(query, found.more)}
    if query.task_id:
        rest["missing"] = found.missing
    if found.events_after is not None:
        rest["events_after"] = str(found.events_after)
    return page(items, rest)


@router.get(
    "/tasks/{task_id}",
    dependencies=[read],
    summary="One task",
    operation_id="getTask",
    response_model=TaskOut,
    responses={200: SHOWN, 304: SHOWN | {"description": "Unchanged since the version in If-None-Match."}},
    openapi_extra=may_answer("not_found"),
)
async def get_task(
    task_id: TaskIdPath,
    service: TheService,
    gallery: TheGallery,
    request: Request,
    wait: Wait = None,
    until: Annotated[
        Awaited | None,
        Query(description="Wait until the recording has `ended`, or (default) until the task is no longer `active`."),
    ] = None,
    version: Annotated[int | None, Query(ge=0, description="Wait until its version is another.")] = None,
    if_none_match: Annotated[str | None, Header(description="The ETag you have.")] = None,
) -> Response:
    """With its first files. 304 says nothing of `polling` and `last_callback`. With `wait` it may answer early: ask
    again until the answer is what you wait for."""
    if wait is None:
        if until is not None or version is not None:
            raise InvalidRequest.at("wait", "give the seconds to wait: until and version say what for")
        return await gallery.answer(task_id, if_none_match)
    if until is not None and version is not None:
        raise InvalidRequest.at("version", "wait either until something holds, or for another version")
    waiting = service.waiting.task(task_id, _awaited(until, version), seconds=wait, key=caller_of(request).key)
    task = await unless_hung_up(request, waiting)
    return unchanged(task.version) if matches(if_none_match, task.version) else answer(show(task))


@router.patch(
    "/tasks/{task_id}",
    dependencies=[write],
    summary="Change a task's labels",
    operation_id="patchTask",
    response_model=TaskOut,
    responses={200: SHOWN},
    openapi_extra=may_answer("not_found", "precondition_failed"),
)
async def patch_task(
    task_id: TaskIdPath,
    body: LabelsIn,
    service: TheService,
    caller: TheCaller,
    if_match: Annotated[str | None, IF_MATCH] = None,
) -> Response:
    """A merge patch: labels given are set, `null` removes one, others stay."""
    await service.tasks.set_labels(task_id, body.labels, if_versions=expected(if_match), by=caller)
    return await _shown(service, task_id)


@router.post(
    "/tasks/{task_id}/refresh",
    dependencies=[write],
    status_code=202,
    summary="Poll a task soon",
    operation_id="refreshTask",
    response_model=TaskOut,
    responses={
        200: SHOWN | {"model": TaskOut, "description": "With `wait`: an answer asked after this request is recorded."},
        202: SHOWN | {"description": "It will be polled as soon as the budget allows."},
    },
    openapi_extra=may_answer("not_found", "not_pollable"),
)
async def refresh_task(task_id: TaskIdPath, service: TheService, request: Request, wait: Wait = None) -> Response:
    """As soon as the budget allows, once however often it is asked, at most every 5 s."""
    asked_at = service.clock.now()
    await service.tasks.refresh(task_id)
    told = wait is not None and await unless_hung_up(
        request, service.waiting.told(task_id, since=asked_at, seconds=wait, key=caller_of(request).key)
    )
    return await _shown(service, task_id, 200 if told else 202)


@router.post(
    "/tasks/{task_id}/untrack",
    dependencies=[admin],
    summary="Stop polling a task",
    operation_id="untrackTask",
    response_model=TaskOut,
    responses={200: SHOWN},
    openapi_extra=may_answer("not_found"),
)
async def untrack_task(task_id: TaskIdPath, service: TheService, caller: TheCaller) -> Response:
    """The recording itself is untouched."""
    await service.tasks.untrack(task_id, by=caller)
    return await _shown(service, task_id)


@router.post(
    "/tasks/{task_id}/track",
    dependencies=[write],
    summary="Resume polling a task",
    operation_id="trackTask",
    response_model=TaskOut,
    responses={200: SHOWN},
    openapi_extra=may_answer("not_found", "not_pollable"),
)
async def track_task(task_id: TaskIdPath, service: TheService, caller: TheCaller) -> Response:
    """Only this resumes an untracked task; registering it again does not."""
    await service.tasks.track(task_id, by=caller)
    return await _shown(service, task_id)


@router.delete(
    "/tasks/{task_id}",
    dependencies=[admin],
    status_code=204,
    summary="Erase a task",
    operation_id="deleteTask",
    openapi_extra=may_answer("not_found"),
)
async def delete_task(task_id: TaskIdPath, service: TheService, caller: TheCaller) -> None:
    """Erases the task, its files and the contents of its events; leaves `task.deleted`."""
    await service.tasks.delete(task_id, by=caller)


@router.get(
    "/tasks/{task_id}/answer",
    dependencies=[read],
    summary="The provider's last answer",
    operation_id="getAnswer",
    responses={200: {"model": AnswerOut}},
    openapi_extra=may_answer("not_found"),
)
async def get_answer(task_id: TaskIdPath, service: TheService) -> Response:
    """As it came: `{"task_id", "asked_at", "answer"}`. 404 before the first."""
    told = await service.tasks.answer(task_id)
    if told is None:
        raise TaskNotFound(f"the provider has not answered about {task_id} yet")
    asked_at, body = told
    # Put together as text: what the provider sent need not survive a second encoding.
    text = f'{{"task_id":"{task_id}","asked_at":"{time_text(asked_at)}","answer":{body}}}'
    return Response(text, media_type="application/json")


@router.get(
    "/tasks/{task_id}/events",
    dependencies=[read],
    summary="A task's history",
    operation_id="listTaskEvents",
    openapi_extra=may_answer("not_found"),
)
async def list_task_events(task_id: TaskIdPath, query: Annotated[ListQuery, Query()], service: TheService) -> EventPage:
    """Oldest first; also of a deleted task, without contents."""
    query, place = lists.resume(query, lists.EVENT_PLACE)
    found = await service.tasks.history(task_id, after=place[0] if place else 0, limit=query.limit + 1)
    items = [event_json(event) for event in found[: query.limit]]
    more = len(found) > query.limit
    return EventPage.model_validate(
        {"items": items, "next_cursor": lists.next_cursor(query, [items[-1]["seq"]]) if more else None}
    )


def _awaited(until: str | None, version: int | None) -> Callable[[Task], bool]:
    if version is not None:
        return lambda task: task.version != version
    return has_ended if until == "ended" else is_over


async def _shown(service: TheService, task_id: str, status: int = 200) -> Response:
    return answer(show(await service.tasks.get(task_id)), status)
