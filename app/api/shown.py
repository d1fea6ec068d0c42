"""What the API shows of tasks, as bytes: made once, and again when the task has changed."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import Depends, Request, Response
from pydantic_core import to_json

from app.api.etags import matches, tag
from app.core.public import Json, task_json, task_with_files_json
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
        self._shown: OrderedDict[tuple[str, bool], Shown] = OrderedDict()
        self._size = 0

    async def answer(self, task_id: str, if_none_match: str | None) -> Response:
        """A task with the first of its files, unless the caller has this version. Raises TaskNotFound."""
        stamp = await self._tasks.stamp(task_id)
        if matches(if_none_match, stamp.version):
            return unchanged(stamp.version)
        return answer(await self.task(stamp))

    async def task(self, stamp: Stamp) -> Shown:
        """A task with the first of its files, not older than its stamp. Raises TaskNotFound."""
        (shown,) = self._remembered([stamp], True)
        return shown or self._remember(show(await self._tasks.get(stamp.task_id), stamp), True)

    async def tasks(self, stamps: Sequence[Stamp], *, with_files: bool) -> list[bytes]:
        """Tasks, with the first of their files or without; those that were deleted meanwhile are left out."""
        found = self._remembered(stamps, with_files)
        if not all(found):
            others = {one.task_id: one for one, shown in zip(stamps, found, strict=True) if shown is None}
            tasks = await self._tasks.get_all(list(others), with_files=with_files)
            made = {
                task_id: self._remember(show(task, others[task_id], with_files=with_files), with_files)
                for task_id, task in tasks.items()
            }
            found = [shown or made.get(one.task_id) for one, shown in zip(stamps, found, strict=True)]
        return [shown.body for shown in found if shown is not None]

    def _remembered(self, stamps: Sequence[Stamp], with_files: bool) -> list[Shown | None]:
        found: list[Shown | None] = []
        for stamp in stamps:
            key = stamp.task_id, with_files
            shown = self._shown.get(key)
            if shown is not None and shown.stamp == stamp:
                self._shown.move_to_end(key)
                found.append(shown)
            else:
                found.append(None)
        return found

    def _remember(self, shown: Shown, with_files: bool) -> Shown:
        assert shown.stamp is not None
        key = shown.stamp.task_id, with_files
        before = self._shown.pop(key, None)
        self._size += len(shown.body) - (len(before.body) if before else 0)
        self._shown[key] = shown
        while self._size > self._most:
            _, oldest = self._shown.popitem(last=False)
            self._size -= len(oldest.body)
        return shown


def show(task: Task, stamp: Stamp | None = None, *, with_files: bool = True) -> Shown:
    """A task, with the first of its files or without: as TaskOut describes it."""
    return Shown(stamp, task.version, to_json(task_with_files_json(task) if with_files else task_json(task)))


def page(items: Sequence[bytes], rest: Json) -> Response:
    """Items of a list, and what else its page tells."""
    told = json.dumps(rest, separators=(",", ":"), ensure_ascii=False).encode()
    body = b"".join((b'{"items":[', b",".join(items), b"],", told[1:]))
    return Response(body, media_type="application/json")


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
