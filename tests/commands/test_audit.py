"""audit against a running service."""

from __future__ import annotations

import json

from app.tracking.audit import Caller
from app.tracking.registration import NewTask
from app.wiring import Service
from tests.commands.conftest import KEYS, Command
from tests.world import task_id


async def test_who_did_what_is_listed(command: Command, served: Service) -> None:
    assert (await command("audit")).said == "Nobody did anything yet.\n"
    by = Caller("recorder", "request-1")
    await served.registration.register_batch([NewTask(task_id=task_id(), labels={})], by=by)
    await served.tasks.untrack(task_id(), by=Caller("somebody"))
    ran = await command("audit", "--after", "1h")
    head, second, first = (line.split(maxsplit=4) for line in ran.out.splitlines())
    assert head[:4] == ["AT", "KEY", "ACTION", "SUBJECT"]
    assert second[1:4] == ["somebody", "task.untrack", task_id()]
    assert first[1:3] == ["recorder", "task.register"]
    assert '{"created": 1, "labelled": 0}' in first[4]
    (line,) = (await command("audit", "--key", "recorder", "--limit", "1", "--json")).out.splitlines()
    assert json.loads(line)["request_id"] == "request-1"
    assert (await command("audit", "--action", "task.delete", "--before", "1h")).said == "No line matches.\n"
    low = await command("audit", env={"RECORDING_STATUS_KEY": KEYS["write"]})
    assert (low.code, "not allowed" in low.said) == (2, True)
