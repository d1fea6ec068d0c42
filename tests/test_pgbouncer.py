"""The service on PostgreSQL through PgBouncer, which gives every transaction another connection."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.provider.simulator import Server
from app.store import schema
from app.wiring import open_service, running
from tests.world import MakeSettings, open_client, polled, register

pytestmark = [
    pytest.mark.skipif(
        shutil.which("pgbouncer") is None, reason="no pgbouncer is installed here (Debian: apt-get install pgbouncer)"
    ),
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

CONNECTIONS = 3
"""PgBouncer's connections to the server; fewer than the service has to PgBouncer."""


@pytest.fixture
def through_pgbouncer(database_url: str) -> Iterator[str]:
    """A PostgreSQL URL that leads through PgBouncer in transaction mode."""
    address, server = database_url.split("?host=")
    with tempfile.TemporaryDirectory(prefix="pgb-") as folder:
        Path(folder).chmod(0o777)
        lines = [
            "[databases]",
            f"postgres = host={server} user=postgres",
            "[pgbouncer]",
            f"unix_socket_dir = {folder}",
            "listen_port = 5432",
            "auth_type = any",
            "pool_mode = transaction",
            f"default_pool_size = {CONNECTIONS}",
        ]
        if os.getuid() == 0:  # it refuses to run as root
            lines.append(f"user = {Path(server).owner()}")
        ini = Path(folder, "pgbouncer.ini")
        ini.write_text("\n".join(lines) + "\n")
        bouncer = subprocess.Popen(["pgbouncer", str(ini)], stderr=subprocess.PIPE, text=True)
        assert bouncer.stderr is not None
        for line in bouncer.stderr:
            if "process up" in line:
                break
        else:
            pytest.fail("pgbouncer did not start")
        try:
            yield f"{address}?host={folder}&pgbouncer=true"
        finally:
            bouncer.send_signal(signal.SIGINT)
            bouncer.communicate(timeout=10)


async def test_it_registers_polls_and_answers_many_at_once(
    through_pgbouncer: str, settings: MakeSettings, provider: Server
) -> None:
    ids = [provider.simulator.start("normal", duration=1, upload=1) for _ in range(12)]
    await asyncio.sleep(0.05)
    async with (
        open_service(settings(database_url=through_pgbouncer, zego_api_url=provider.url)) as service,
        open_client(service) as client,
    ):
        assert await schema.fits(service.database)
        body = {"tasks": [{"task_id": one, "labels": {"of": "a test"}} for one in ids]}
        assert (await client.post("/v1/tasks/batch", json=body)).json()["created"] == len(ids)
        async with running(service):
            for _ in range(100):
                answers = await asyncio.gather(*(client.get(f"/v1/tasks/{one}") for one in ids * 5))
                assert {answer.status_code for answer in answers} == {200}
                if all(answer.json()["tracking"] == "settled" for answer in answers):
                    break
            assert all(answer.json()["outcome"] == "uploaded" for answer in answers)


@pytest.mark.parametrize("listening", ["directly", "not at all"])
async def test_wake_ups_come_over_a_direct_connection_or_are_done_without(
    listening: str,
    through_pgbouncer: str,
    database_url: str,
    settings: MakeSettings,
    provider: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without them the worker looks by itself."""
    monkeypatch.setattr("app.wiring.TICK", 30.0 if listening == "directly" else 1.0)
    direct = {"database_listen_url": database_url} if listening == "directly" else {}
    given = settings(database_url=through_pgbouncer, zego_api_url=provider.url, **direct)
    async with (
        open_service(given, role="worker") as worker,
        running(worker),
        open_service(given, role="api") as api,
        running(api),
        open_client(api) as client,
    ):
        await asyncio.sleep(0.3)  # the worker found nothing to do, and listens
        await register(client)
        await polled(client)
