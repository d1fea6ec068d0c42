"""The check of incompatible changes notices what breaks callers, and lets pass what does not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.compatibility import breaks, unreleased
from tests.described import document

Json = dict[str, Any]


def schema(new: Json, name: str) -> Json:
    found: Json = new["components"]["schemas"][name]
    return found


def operation(new: Json, path: str, method: str) -> Json:
    found: Json = new["paths"][path][method]
    return found


def parameter(new: Json, name: str) -> Json:
    found: Json = next(one for one in operation(new, "/v1/tasks", "get")["parameters"] if one["name"] == name)
    return found


BREAKING: dict[str, Callable[[Json], Any]] = {
    "DELETE /v1/tasks/{task_id}": lambda new: new["paths"]["/v1/tasks/{task_id}"].pop("delete"),
    "getTask": lambda new: operation(new, "/v1/tasks/{task_id}", "get").update(operationId="task"),
    "getTask.wait": lambda new: operation(new, "/v1/tasks/{task_id}", "get").update(parameters=[
        one for one in operation(new, "/v1/tasks/{task_id}", "get")["parameters"] if one["name"] != "wait"]),
    "listTasks.limit": lambda new: parameter(new, "limit")["schema"].update(maximum=100),
    "listTasks.room_id": lambda new: parameter(new, "room_id").update(required=True),
    "registerTask 200": lambda new: operation(new, "/v1/tasks", "post")["responses"].pop("200"),
    "listFiles": lambda new: operation(new, "/v1/files", "get").update({"x-role": "admin"}),
    "Task.room_id": lambda new: schema(new, "Task")["properties"].pop("room_id"),
    "Task.version": lambda new: schema(new, "Task")["properties"]["version"].update(type="string"),
    "File.file_id": lambda new: schema(new, "File")["required"].remove("file_id"),
    "File.app_id": lambda new: schema(new, "File")["properties"].update(
        app_id={"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    "Outcome.lost": lambda new: schema(new, "Outcome")["enum"].remove("lost"),
    "TaskRequest.labels": lambda new: schema(new, "TaskRequest")["required"].append("labels"),
    "TaskRequest.task_id": lambda new: schema(new, "TaskRequest")["properties"]["task_id"].update(pattern="^x$"),
    "Playlist": lambda new: new["components"]["schemas"].pop("Playlist"),
    "task.ended": lambda new: new["webhooks"].pop("task.ended"),
}  # fmt: skip

HARMLESS: dict[str, Callable[[Json], Any]] = {
    "nothing": lambda new: None,
    "a field of an answer": lambda new: schema(new, "Task")["properties"].update(more={"type": "string"}),
    "a word": lambda new: schema(new, "Outcome")["enum"].append("more"),
    "an optional field of a request": lambda new: schema(new, "TaskRequest")["properties"].update(more={}),
    "an operation": lambda new: new["paths"].update({"/v1/more": {"get": {}}}),
    "a field that is never null any more": lambda new: schema(new, "File")["properties"]["file_size"].update(
        anyOf=[{"type": "integer"}]),
    "a wider limit": lambda new: parameter(new, "limit")["schema"].update(maximum=1000),
    "other prose": lambda new: schema(new, "Task").update(description="Else."),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKING)
def test_what_breaks_callers_is_noticed_by_its_name(name: str) -> None:
    new = copy.deepcopy(document())
    BREAKING[name](new)
    assert name in [found for found, _ in breaks(document(), new)]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_breaks_nobody_passes(name: str) -> None:
    new = copy.deepcopy(document())
    HARMLESS[name](new)
    assert breaks(document(), new) == []


def test_only_the_unreleased_part_of_the_changelog_counts() -> None:
    assert unreleased("# C\n## [Unreleased]\n- `a`\n## [1.0]\n- `b`\n").split() == ["##", "[Unreleased]", "-", "`a`"]
