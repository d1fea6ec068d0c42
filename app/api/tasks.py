"""Doors to tasks and files: parse, authorise, call one verb, shape the answer."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import TypeAdapter, ValidationError

from app.api import lists
from app.api.keys import GuardedRoute, TheService, requires
from app.api.lists import FileQuery, ListQuery, TaskQuery
from app.api.problems import pointer
from app.api.schemas import (
    TASK_ID,
    BatchErrorOut,
    BatchIn,
    BatchOut,
    BatchResultOut,
    EventPage,
    FilePage,
    LabelsIn,
    ProblemOut,
    TaskIn,
    TaskOut,
    TaskPage,
)
from app.core.public import Json, file_json, task_json, task_with_files_json, time_text
from app.core.recording import Task
from app.errors import InvalidRequest, TaskNotFound
from app.tracking.tasks import NewTask, Registered


def _problem(description: str) -> dict[str, Any]:
    return {"model": ProblemOut, "description": description, "content": {"application/problem+json": {}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": _problem("Refused; nothing was changed."),
    "503": _problem("Not available for now; see Retry-After."),
}
router = APIRouter(prefix="/v1", tags=["tasks"], responses=PROBLEMS, route_class=GuardedRoute)
TaskIdPath = Annotated[str, Path(pattern=TASK_ID, description="The provider's TaskId.")]
read, write, admin = requires("read"), requires("write"), requires("admin")


def tag(task: Task) -> str:
    """The weak ETag of a task's version."""
    return f'W/"{task.version}"'


@router.post(
    "/tasks",
    dependencies=[write],
    status_code=201,
    summary="Register a task",
    operation_id="registerTask",
    responses={200: {"model": TaskOut, "description": "It was registered already; its labels are merged."}},
)
async def register_task(body: TaskIn, service: TheService, response: Response) -> TaskOut:
    """From now on the task is followed until it is settled or its query window has closed."""
    done = await service.tasks.register(_new_task(body))
    task = _task_of(done)
    response.status_code = 201 if done.result == "created" else 200
    response.headers["Location"] = f"/v1/tasks/{task.task_id}"
    if done.result == "existing":
        task = await service.tasks.get(task.task_id)
    response.headers["ETag"] = tag(task)
    return TaskOut(**task_with_files_json(task))


@router.post(
    "/tasks/batch",
    dependencies=[write],
    summary="Register many tasks",
    operation_id="registerTasks",
)
async def register_tasks(body: BatchIn, service: TheService) -> BatchOut:
    """Valid items commit together; after a 5xx or a broken connection repeat the whole."""
    results: list[BatchResultOut | None] = []
    wanted: list[NewTask] = []
    for number, item in enumerate(body.tasks):
        try:
            wanted.append(_new_task(_ITEM.validate_python(item)))
            results.append(None)
        except ValidationError as error:
            results.append(_invalid(number, item, error))
    done = iter(enumerate(await service.tasks.register_batch(wanted))) if wanted else iter(())
    places = [number for number, result in enumerate(results) if result is None]
    for index, registered in done:
        results[places[index]] = _batch_result(places[index], registered)
    whole = [result for result in results if result is not None]
    words = [result.result for result in whole]
    return BatchOut(
        results=whole,
        created=words.count("created"),
        existing=words.count("existing"),
        conflict=words.count("conflict"),
        invalid=words.count("invalid"),
    )


_ITEM = TypeAdapter(TaskIn)


@router.get(
    "/tasks",
    dependencies=[read],
    summary="List tasks",
    operation_id="listTasks",
    response_model_exclude_unset=True,
)
async def list_tasks(query: Annotated[TaskQuery, Query()], service: TheService) -> TaskPage:
    """By pages; pass `next_cursor` back as `cursor` until it is null."""
    query, after = lists.resume(query, lists.TASK_PLACE)
    size = lists.page_size(query)
    with_files = query.include == "files"
    tasks, missing = await service.tasks.list_tasks(
        query.to_filter(), order=query.order, after=after, limit=size + 1, with_files=with_files
    )
    more, tasks = len(tasks) > size, tasks[:size]
    show = task_with_files_json if with_files else task_json
    page: Json = {"items": [show(task) for task in tasks], "next_cursor": None}
    if more:
        last = tasks[-1]
        moment = last.registered_at if query.order == "registered_at" else last.updated_at
        page["next_cursor"] = lists.next_cursor(query, [lists.time_place(moment), last.task_id])
    if query.task_id:
        page["missing"] = missing
    return TaskPage.model_validate(page)


@router.get(
    "/tasks/{task_id}",
    dependencies=[read],
    summary="One task",
    operation_id="getTask",
    responses={304: {"description": "Unchanged since the version in If-None-Match."}},
)
async def get_task(
    task_id: TaskIdPath,
    service: TheService,
    response: Response,
    if_none_match: Annotated[str | None, Header(description="The ETag you have.")] = None,
) -> TaskOut:
    """With its first files. 304 says nothing of `polling` and `last_callback`."""
    task = await service.tasks.get(task_id)
    if if_none_match is not None and (if_none_match.strip() == "*" or task.version in _versions(if_none_match)):
        return Response(status_code=304, headers={"ETag": tag(task)})  # type: ignore[return-value]
    response.headers["ETag"] = tag(task)
    return TaskOut(**task_with_files_json(task))


@router.patch("/tasks/{task_id}", dependencies=[write], summary="Change a task's labels", operation_id="patchTask")
async def patch_task(
    task_id: TaskIdPath,
    body: LabelsIn,
    service: TheService,
    response: Response,
    if_match: Annotated[str | None, Header(description="Only if this is still its ETag.")] = None,
) -> TaskOut:
    """A merge patch: labels given are set, `null` removes one, others stay."""
    await service.tasks.set_labels(task_id, body.labels, if_versions=_expected(if_match))
    return await _shown(service, task_id, response)


@router.post(
    "/tasks/{task_id}/refresh",
    dependencies=[write],
    status_code=202,
    summary="Poll a task soon",
    operation_id="refreshTask",
)
async def refresh_task(task_id: TaskIdPath, service: TheService, response: Response) -> TaskOut:
    """As soon as the budget allows, once however often it is asked, at most every 5 s."""
    task = await service.tasks.refresh(task_id)
    response.headers["ETag"] = tag(task)
    return TaskOut(**task_with_files_json(task))


@router.post(
    "/tasks/{task_id}/untrack",
    dependencies=[admin],
    summary="Stop polling a task",
    operation_id="untrackTask",
)
async def untrack_task(task_id: TaskIdPath, service: TheService, response: Response) -> TaskOut:
    """The recording itself is untouched."""
    await service.tasks.untrack(task_id)
    return await _shown(service, task_id, response)


@router.post("/tasks/{task_id}/track", dependencies=[write], summary="Resume polling a task", operation_id="trackTask")
async def track_task(task_id: TaskIdPath, service: TheService, response: Response) -> TaskOut:
    """Only this resumes an untracked task; registering it again does not."""
    await service.tasks.track(task_id)
    return await _shown(service, task_id, response)


@router.delete(
    "/tasks/{task_id}",
    dependencies=[admin],
    status_code=204,
    summary="Erase a task",
    operation_id="deleteTask",
)
async def delete_task(task_id: TaskIdPath, service: TheService) -> None:
    """Erases the task, its files and the contents of its events; leaves `task.deleted`."""
    await service.tasks.delete(task_id)


@router.get(
    "/tasks/{task_id}/answer",
    dependencies=[read],
    summary="The provider's last answer",
    operation_id="getAnswer",
)
async def get_answer(task_id: TaskIdPath, service: TheService) -> Response:
    """As it came: `{"task_id", "asked_at", "answer"}`. 404 before the first."""
    answer = await service.tasks.answer(task_id)
    if answer is None:
        raise TaskNotFound(f"the provider has not answered about {task_id} yet")
    asked_at, body = answer
    # Put together as text: what the provider sent need not survive a second encoding.
    text = f'{{"task_id":"{task_id}","asked_at":"{time_text(asked_at)}","answer":{body}}}'
    return Response(text, media_type="application/json")


@router.get("/tasks/{task_id}/events", dependencies=[read], summary="A task's history", operation_id="listTaskEvents")
async def list_task_events(task_id: TaskIdPath, query: Annotated[ListQuery, Query()], service: TheService) -> EventPage:
    """Oldest first; also of a deleted task, without contents."""
    query, place = lists.resume(query, lists.EVENT_PLACE)
    found = await service.tasks.history(task_id, after=place[0] if place else 0, limit=query.limit + 1)
    items = [
        {
            "id": event.id,
            "seq": event.seq,
            "type": event.type,
            "occurred_at": time_text(event.occurred_at),
            "app_id": event.app_id,
            "task_id": event.task_id,
            "task_version": event.task_version,
            "source": event.source,
            "data": event.data,
        }
        for event in found[: query.limit]
    ]
    more = len(found) > query.limit
    return EventPage.model_validate(
        {"items": items, "next_cursor": lists.next_cursor(query, [items[-1]["seq"]]) if more else None}
    )


@router.get("/tasks/{task_id}/files", dependencies=[read], summary="A task's files", operation_id="listTaskFiles")
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


@router.get("/files", dependencies=[read], summary="Files across tasks", operation_id="listFiles", tags=["files"])
async def list_files(query: Annotated[FileQuery, Query()], service: TheService) -> FilePage:
    """By update, oldest first."""
    query, after = lists.resume(query, lists.FILE_PLACE)
    found = await service.tasks.list_files(query.to_filter(), after=after, limit=query.limit + 1)
    page, cursor = found[: query.limit], None
    if len(found) > query.limit:
        task, file = page[-1]
        place = [lists.time_place(file.updated_at), task.task_id, file.seen.file_id]
        cursor = lists.next_cursor(query, place)
    return FilePage.model_validate({"items": [file_json(task, file) for task, file in page], "next_cursor": cursor})


async def _shown(service: TheService, task_id: str, response: Response) -> TaskOut:
    task = await service.tasks.get(task_id)
    response.headers["ETag"] = tag(task)
    return TaskOut(**task_with_files_json(task))


def _new_task(body: TaskIn) -> NewTask:
    return NewTask(task_id=body.task_id, app_id=body.app_id, started_at=body.started_at, labels=body.labels)


def _task_of(done: Registered) -> Task:
    assert done.task is not None
    return done.task


def _invalid(number: int, item: Any, error: ValidationError) -> BatchResultOut:
    fault = error.errors(include_input=False, include_url=False)[0]
    place = pointer(["body", "tasks", number, *fault["loc"]])
    given = item.get("task_id") if isinstance(item, dict) else None
    return BatchResultOut(
        task_id=given if isinstance(given, str) and re.fullmatch(TASK_ID, given) else None,
        result="invalid",
        error=BatchErrorOut(code="invalid_request", detail=fault["msg"], pointer=place),
    )


def _batch_result(number: int, done: Registered) -> BatchResultOut:
    result = BatchResultOut(task_id=done.task_id, result=done.result)
    if done.error is not None:
        inner = done.error.faults[0].pointer if done.error.faults else "/task_id"
        result.error = BatchErrorOut(code=done.error.code, detail=done.error.detail, pointer=f"/tasks/{number}{inner}")
    return result


def _versions(header: str) -> set[int]:
    """The versions named in If-Match or If-None-Match; weak and strong tags alike."""
    return {int(number) for number in re.findall(r'(?:W/)?"(\d{1,18})"', header)}


def _expected(if_match: str | None) -> set[int] | None:
    if if_match is None or if_match.strip() == "*":
        return None
    versions = _versions(if_match)
    if not versions:
        raise InvalidRequest.at("If-Match", 'takes an ETag as it was given, like W/"3"')
    return versions
