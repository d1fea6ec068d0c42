"""export, deliveries and replay against a running service."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

from app.api.task_schemas import FileOut, TaskOut
from app.commands import exporting
from app.core.recording import Status
from app.tracking.registration import NewTask
from app.wiring import Service
from tests.commands.conftest import Command
from tests.world import observe, seen_file, task_id


def test_an_export_has_every_column_or_leaves_it_out_on_purpose() -> None:
    nested = {"last_callback", "live_playlists", "notices", "polling", "files", "files_truncated"}
    codes = {"record_mode_code", "stream_type_code", "media_track_type_code", "quit_reason_code"}
    assert set(TaskOut.model_fields) - set(exporting.TASK_FIELDS) <= nested | codes
    assert set(FileOut.model_fields) - set(exporting.FILE_FIELDS) <= codes


async def fill(service: Service, number: int) -> None:
    wanted = [NewTask(task_id=task_id(one), labels={"team": "a,b"}) for one in range(number)]
    await service.registration.register_batch(wanted)
    await observe(service, task_id(0), Status.COMPLETED, seen_file("f0"), seen_file("f1"), began_at=service.clock.now())


async def test_all_tasks_come_page_by_page_and_go_back_in(command: Command, served: Service) -> None:
    await fill(served, 1203)
    lines = (await command("export", "tasks")).out.splitlines()
    assert {json.loads(line)["task_id"] for line in lines} == {task_id(number) for number in range(1203)}
    ran = await command("export", "tasks", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert (len(rows), json.loads(rows[0]["labels"])) == (1203, {"team": "a,b"})
    for exported in ("\n".join(lines), ran.out):
        again = await command("import", "-", stdin=exported.encode())
        assert (again.code, again.out) == (0, "0 registered, 1203 known already, 0 refused\n")


async def test_files_and_tasks_with_files_are_written_to_a_file_that_is_whole(
    command: Command, served: Service, tmp_path: Path
) -> None:
    await fill(served, 60)
    ran = await command("export", "files", "--task-id", task_id(0), "--format", "csv", "-o", "files.csv")
    assert (ran.code, ran.out) == (0, "")
    with (tmp_path / "files.csv").open(newline="") as file:
        assert [row["file_id"] for row in csv.DictReader(file)] == ["f0", "f1"]
    ran = await command("export", "tasks", "--with-files", "-o", "tasks.jsonl")
    tasks = [json.loads(line) for line in (tmp_path / "tasks.jsonl").read_text().splitlines()]
    assert (len(tasks), sum(len(task["files"]) for task in tasks)) == (60, 2)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]  # noqa: PTH208


async def test_an_export_that_cannot_be_done_leaves_what_was_there(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("before")
    ran = await command("export", "tasks", "-o", "out", "--tracking", "nonsense")
    assert ran.code == 1
    assert (await command("export", "tasks", "-o", "missing/out")).code == 2
    assert (await command("export", "tasks", "--with-files", "--format", "csv")).code == 2
    assert (tmp_path / "out").read_text() == "before"
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]  # noqa: PTH208


# -- subscribers


async def subscribe(command: Command, served: Service) -> None:
    from tests.world import open_client

    body = {"name": "billing", "url": "http://127.0.0.1:1/hook", "types": ["task.settled", "task.registered"]}
    async with open_client(served, key=command.env["RECORDING_STATUS_KEY"]) as client:
        assert (await client.post("/v1/subscriptions", json=body)).status_code == 201


async def test_deliveries_are_listed_and_past_events_sent_again(command: Command, served: Service) -> None:
    await fill(served, 2)
    await subscribe(command, served)
    assert (await command("deliveries")).said == "Nothing was delivered yet.\n"
    ran = await command("replay", "billing", "--since", "1h", "--dry-run")
    assert (ran.code, ran.out) == (0, "3 would be sent\n")
    ran = await command("replay", "billing", "--since", "1h", "--types", "task.settled", "--json")
    assert json.loads(ran.out) == {"count": 1}
    ran = await command("deliveries", "--subscription", "billing", "--status", "pending,failed")
    head, row = ran.out.splitlines()
    assert head.startswith("DELIVERY")
    assert (row.split()[2], row.split()[3]) == ("task.settled", task_id(0))
    (line,) = (await command("deliveries", "--created-after", "1h", "--json")).out.splitlines()
    assert json.loads(line)["task_id"] == task_id(0)
    assert (await command("deliveries", "--created-before", "1h")).said == "No delivery matches.\n"


async def test_who_asks_for_a_subscriber_that_is_none_is_told_who_there_are(command: Command, served: Service) -> None:
    ran = await command("replay", "nobody", "--since", "1h")
    assert (ran.code, "there are none" in ran.said) == (1, True)
    await subscribe(command, served)
    assert "billing" in (await command("deliveries", "--subscription", "nobody")).said
    assert (await command("replay", "billing", "--since", "yesterday")).code == 2
