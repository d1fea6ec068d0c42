"""Doors to files."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.api import lists
from app.api.keys import GuardedRoute, TheService, requires
from app.api.lists import FileQuery, ListQuery
from app.api.problems import may_answer
from app.api.schemas import TaskIdPath
from app.api.task_schemas import FilePage
from app.core.public import Json, file_json

router = APIRouter(prefix="/v1", tags=["files"], route_class=GuardedRoute)
read = requires("read")


@router.get(
    "/tasks/{task_id}/files",
    dependencies=[read],
    summary="A task's files",
    operation_id="listTaskFiles",
    openapi_extra=may_answer("not_found"),
    response_model_exclude_unset=True,
)
async def list_task_files(task_id: TaskIdPath, query: Annotated[ListQuery, Query()], service: TheService) -> FilePage:
    """All of them, by their ids."""
    query, place = lists.resume(query, lists.TASK_FILE_PLACE)
    found = await service.tasks.files(task_id, after=place[0] if place else None, limit=query.limit + 1)
    page, more = found[: query.limit], len(found) > query.limit
    return FilePage.model_validate(
        {
            "items": [file_json(task, file) for task, file in page],
            "next_cursor": lists.next_cursor(query, [page[-1][1].seen.file_id]) if more else None,
        }
    )


@router.get(
    "/files",
    dependencies=[read],
    summary="Files across tasks",
    operation_id="listFiles",
    response_model_exclude_unset=True,
)
async def list_files(query: Annotated[FileQuery, Query()], service: TheService) -> FilePage:
    """By update, oldest first. The first page carries `events_after`, as that of tasks does."""
    query, after = lists.resume(query, lists.FILE_PLACE)
    found, events_after = await service.tasks.list_files(query.to_filter(), after=after, limit=query.limit)
    items = [file_json(task, file) for task, file in found.items]
    answer: Json = {"items": items, "next_cursor": lists.next_cursor(query, found.more)}
    if events_after is not None:
        answer["events_after"] = str(events_after)
    return FilePage.model_validate(answer)
