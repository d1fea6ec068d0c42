"""What `make fuzz` looks at besides the description is noticed if it happens."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.errors import PreconditionFailed
from tests.fuzz.world import KEY, Watch, fuzzed
from tests.world import task_id

PATH = f"/v1/tasks/{task_id(1)}"


def test_a_refusal_that_stores_something_is_noticed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with fuzzed(database_url) as served, httpx.Client(base_url=served.url, headers=headers) as client:
        watch = Watch(served)

        def label(version: int) -> None:
            response = client.patch(PATH, json={"labels": {"team": "late"}}, headers={"If-Match": f'"{version}"'})
            watch.after("PATCH", PATH, response.status_code)

        label(999)
        label(client.get(PATH).json()["version"])
        watch.after("GET", PATH, client.get(PATH).status_code)

        right = served.service.tasks.set_labels

        async def stored_and_refused(task_id: str, patch: Any, *, if_versions: Any, by: Any) -> Any:
            await right(task_id, {"another": "label"}, if_versions=None, by=by)
            raise PreconditionFailed("too late: it is stored")

        monkeypatch.setattr(served.service.tasks, "set_labels", stored_and_refused)
        with pytest.raises(AssertionError, match=r"PATCH /v1/tasks/\w+ stored something"):
            label(999)
