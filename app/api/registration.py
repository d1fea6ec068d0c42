"""The door through which tasks come in."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Response
from pydantic import TypeAdapter, ValidationError

from app.api.etags import SHOWN
from app.api.keys import GuardedRoute, TheCaller, TheService, requires
from app.api.problems import may_answer, pointer
from app.api.schemas import TASK_ID, BatchIn, TaskIn
from app.api.shown import answer, show
from app.api.task_schemas import BatchErrorOut, BatchOut, BatchResultOut, TaskOut
from app.core.recording import Task
from app.tracking.registration import NewTask, Registered

router = APIRouter(prefix="/v1", tags=["tasks"], route_class=GuardedRoute)
write = requires("write")

LOCATION = {"description": "Where the task stands.", "required": True, "schema": {"type": "string"}}
CREATED: dict[str, Any] = {"headers": {"Location": LOCATION, **SHOWN["headers"]}}


@router.post(
    "/tasks",
    dependencies=[write],
    status_code=201,
    summary="Register a task",
    operation_id="registerTask",
    response_model=TaskOut,
    responses={
        201: CREATED,
        200: CREATED | {"model": TaskOut, "description": "It was registered already; its labels are merged."},
    },
    openapi_extra=may_answer("app_conflict"),
)
async def register_task(body: TaskIn, service: TheService, caller: TheCaller) -> Response:
    """From now on the task is followed until it is settled or its query window has closed."""
    done = await service.registration.register(_new_task(body), by=caller)
    task = _task_of(done)
    if done.result == "existing":
        task = await service.tasks.get(task.task_id)
    shown = answer(show(task), status=201 if done.result == "created" else 200)
    shown.headers["Location"] = f"/v1/tasks/{task.task_id}"
    return shown


@router.post(
    "/tasks/batch",
    dependencies=[write],
    summary="Register many tasks",
    operation_id="registerTasks",
    response_model=BatchOut,
)
async def register_tasks(body: BatchIn, service: TheService, caller: TheCaller) -> Response:
    """Valid items commit together; after a 5xx or a broken connection repeat the whole."""
    results: list[BatchResultOut | None] = []
    wanted: list[NewTask] = []
    for number, item in enumerate(body.tasks):
        try:
            wanted.append(_new_task(_ITEM.validate_python(item)))
            results.append(None)
        except ValidationError as error:
            results.append(_invalid(number, item, error))
    done = iter(enumerate(await service.registration.register_batch(wanted, by=caller))) if wanted else iter(())
    places = [number for number, result in enumerate(results) if result is None]
    for index, registered in done:
        results[places[index]] = _batch_result(places[index], registered)
    whole = [result for result in results if result is not None]
    words = [result.result for result in whole]
    told = BatchOut(
        results=whole,
        created=words.count("created"),
        existing=words.count("existing"),
        conflict=words.count("conflict"),
        invalid=words.count("invalid"),
    )
    return Response(told.model_dump_json(), media_type="application/json")


_ITEM = TypeAdapter(TaskIn)


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
