"""SQLite on a disk that is full, or that cannot be written: a clear word, nothing lost, and work goes on with space."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx

from app.provider.simulator import Server
from app.settings import load_settings
from app.wiring import open_service, running
from tests.outages import remount_read_only, small_disk
from tests.test_operation import environment, run
from tests.world import APP, SECRET, open_client, sqlite_url, task_id


async def registered_until_full(client: httpx.AsyncClient) -> set[str]:
    """The tasks that were acknowledged before the first refusal, which tells that it is not the caller's fault."""
    acknowledged: set[str] = set()
    for number in range(0, 100_000, 20):
        ids = [task_id(number + one) for one in range(20)]
        batch = [{"task_id": id_, "labels": {"a": "x" * 200}} for id_ in ids]
        response = await client.post("/v1/tasks/batch", json={"tasks": batch})
        if response.status_code != 200:
            assert (response.status_code, response.json()["code"]) == (503, "unavailable"), response.text
            return acknowledged
        acknowledged.update(ids)
    raise AssertionError("the disk did not fill")


async def test_a_full_disk_is_told_and_loses_nothing_that_was_acknowledged(tmp_path: Path, provider: Server) -> None:
    with small_disk(tmp_path, megabytes=4):
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(2_500_000))
        chosen = load_settings(
            database_url=sqlite_url(tmp_path / "full.db"),
            zego_app_id=APP,
            zego_server_secret=SECRET,
            zego_api_url=provider.url,
        )
        async with open_service(chosen) as service, open_client(service) as client, running(service):
            acknowledged = await registered_until_full(client)
            assert acknowledged
            for number in (900_000, 900_001):
                refused = await client.post("/v1/tasks", json={"task_id": task_id(number), "labels": {"a": "x" * 255}})
                assert refused.status_code in (201, 503), refused.text  # a small one may still find a page
            reading = await client.get("/v1/tasks", params={"limit": 5})
            assert (reading.status_code, len(reading.json()["items"])) == (200, 5)
            ballast.unlink()
            recovered = await client.post("/v1/tasks", json={"task_id": task_id(999_999)})
            assert recovered.status_code == 201
            assert (await client.get("/readyz")).status_code == 200
        file = sqlite3.connect(tmp_path / "full.db")
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        kept = {row[0] for row in file.execute("SELECT task_id FROM tasks")}
        file.close()
        assert acknowledged | {task_id(999_999)} <= kept


async def test_a_folder_that_cannot_be_written_stops_the_start_and_says_why(tmp_path: Path) -> None:
    with small_disk(tmp_path, megabytes=1, read_only=True):
        code, said = await run(Path("/"), "serve", "--port", "0", env=environment(tmp_path))
    assert code == 2, said
    assert "DATABASE_URL" in said
    assert str(tmp_path) in said
    assert "Traceback" not in said


async def test_a_database_that_cannot_be_written_stops_the_start_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with small_disk(folder, megabytes=4):
        env = environment(tmp_path)
        assert (await run(tmp_path, "migrate", env=env))[0] == 0
        remount_read_only(folder)
        code, said = await run(tmp_path, "serve", "--port", "0", env=env)
    assert code == 2, said
    assert "DATABASE_URL" in said
    assert str(folder) in said
    assert "Traceback" not in said
