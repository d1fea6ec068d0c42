"""What the API shows of tasks, as bytes: made once, and again when the task has changed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, NamedTuple

from fastapi import Depends, Request, Response

from app.api.etags import tag
from app.api.task_schemas import TaskOut
from app.core.public import task_with_files_json
from app.core.recording import Task
from app.store.rows import Stamp
from app.tracking.tasks import Tasks

REMEMBERED = 16 * 1024 * 1024
"""Bytes, of all tasks together."""


class Shown(NamedTuple):
    """A task as it is shown. ``stamp``: it looks so as long as this is its stamp; None: nobody knows how long."""

    stamp: Stamp | None
    version: int
    body: bytes


class Gallery:
    """Remembers what was shown last, up to a number of bytes."""

    def __init__(self, tasks: Tasks, most: int = REMEMBERED) -> None:
        self._tasks, self._most = tasks, most
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._size = 0

    async def task(self, stamp: Stamp) -> Shown:
        """A task with the first of its files, not older than its stamp. Raises TaskNotFound."""
        task_id = stamp.task_id
        shown = self._shown.get(task_id)
        if shown is not None and shown.stamp == stamp:
            self._shown.move_to_end(task_id)
            return shown
        shown = show(await self._tasks.get(task_id), stamp)
        self._remember(task_id, shown)
        return shown

    def _remember(self, task_id: str, shown: Shown) -> None:
        before = self._shown.pop(task_id, None)
        self._size += len(shown.body) - (len(before.body) if before else 0)
        self._shown[task_id] = shown
        while self._size > self._most:
            _, oldest = self._shown.popitem(last=False)
            self._size -= len(oldest.body)


def show(task: Task, stamp: Stamp | None = None) -> Shown:
    """A task with the first of its files."""
    return Shown(stamp, task.version, TaskOut(**task_with_files_json(task)).model_dump_json().encode())


def answer(shown: Shown, status: int = 200) -> Response:
    """A task, with its ETag."""
    return Response(shown.body, status, media_type="application/json", headers={"ETag": tag(shown.version)})


def unchanged(version: int) -> Response:
    """To somebody who has this version of a task."""
    return Response(status_code=304, headers={"ETag": tag(version)})


def gallery_of(request: Request) -> Gallery:
    """For the routes."""
    gallery: Gallery = request.app.state.gallery
    return gallery


async def _the_gallery(request: Request) -> Gallery:
    return gallery_of(request)


TheGallery = Annotated[Gallery, Depends(_the_gallery)]
