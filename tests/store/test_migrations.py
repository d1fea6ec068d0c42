"""Migrations with data in every table: up, down, up again, from every version; and two versions on one schema.

The rows are made from the tables as each revision left them, so a new revision is covered as soon as it exists. What a
revision means to change stands in CHANGES.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Connection, DateTime, MetaData, Table, delete, insert, inspect, select, text

from app.core.schedule import Urgency
from app.errors import DatabaseUnavailable, Misconfigured
from app.provider.simulator import Server
from app.store import engine, schema
from app.store.engine import Database
from app.wiring import open_service, running
from tests.world import HandClock, MakeSettings, open_client, register, task_id

CHANGES: dict[str, set[str]] = {}
"""``table.column`` that a revision, or the way back from it, means to change in these rows."""

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def revisions() -> list[str]:
    """All of them, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    return [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()][::-1]


# -- rows for whatever tables there are

Rows = dict[str, list[dict[str, Any]]]


def value(column: Any, number: int) -> Any:
    """A value that fits the column; the same for each column of that kind, so that references lead somewhere."""
    if isinstance(column.type, DateTime):
        return MOMENT + timedelta(hours=number)
    if isinstance(column.type, JSON):
        return {"number": number}
    kind = column.type.python_type
    return task_id(number) if kind is str else kind(number)


def present(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection)
    found.remove(found.tables["alembic_version"])
    return found


def fill(connection: Connection, above: int = 0) -> Rows:
    """Put two rows, numbered from ``above`` on, into each table.

    Numbers that the database gives (triggers write rows too) go on behind them.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT setval(oid::regclass, {above + 50}) FROM pg_class WHERE relkind = 'S'"))
    for table in present(connection).sorted_tables:
        rows = [{column.name: value(column, number) for column in table.columns} for number in (above + 1, above + 2)]
        connection.execute(insert(table), rows)
    return contents(connection)


def contents(connection: Connection) -> Rows:
    found = present(connection)
    return {name: content(connection, table) for name, table in found.tables.items()}


def content(connection: Connection, table: Table) -> list[dict[str, Any]]:
    rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
    return [
        {name: cell.replace(tzinfo=UTC) if isinstance(cell, datetime) else cell for name, cell in row.items()}
        for row in rows
    ]


def kept(before: Rows, after: Rows, step: str) -> None:
    """What both schemas have a place for is there, unchanged."""
    changed = set().union(*CHANGES.values())
    for name in before.keys() & after.keys():
        columns = {
            column for column in before[name][0].keys() & after[name][0].keys() if f"{name}.{column}" not in changed
        }
        assert [{c: row[c] for c in columns} for row in after[name]] == [
            {c: row[c] for c in columns} for row in before[name]
        ], f"{name} after {step}"


def references_hold(connection: Connection) -> None:
    """Nothing refers to what is not there, and what refers to a task still goes with it."""
    if connection.dialect.name == "sqlite":
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    found = present(connection)
    tasks = found.tables["tasks"]
    connection.execute(delete(tasks).where(tasks.c.task_id == task_id(1)))
    for table in found.tables.values():
        for reference in table.foreign_keys:
            if reference.column.table is tasks:
                assert task_id(1) not in connection.execute(select(reference.parent)).scalars().all(), table.name


# -- up and down


async def test_every_version_is_upgraded_with_all_its_rows(empty_database: Database) -> None:
    before: Rows = {}
    for number, revision in enumerate(revisions()):
        await schema.migrate(empty_database, revision)
        async with empty_database.write() as connection:
            kept(before, await connection.run_sync(contents), revision)
            before = await connection.run_sync(fill, 100 * number)
        assert all(before.values())
    assert await schema.fits(empty_database)
    async with empty_database.write() as connection:
        await connection.run_sync(references_hold)


async def test_every_step_down_and_up_again_keeps_what_both_versions_know(empty_database: Database) -> None:
    await schema.migrate(empty_database)
    async with empty_database.write() as connection:
        rows = await connection.run_sync(fill)
    known = revisions()[::-1]
    for newer, older in pairwise(known):
        for revision in (older, newer, older):
            await schema.migrate(empty_database, revision)
            assert await schema.fits(empty_database) is (revision == known[0])
            async with empty_database.read() as connection:
                before, rows = rows, await connection.run_sync(contents)
            kept(before, rows, f"{newer}, {older}")
    await schema.migrate(empty_database)
    assert await schema.fits(empty_database)
    async with empty_database.write() as connection:
        kept(rows, await connection.run_sync(contents), known[0])
        await connection.run_sync(references_hold)


async def test_down_to_nothing_and_up_again_with_rows_in_every_table(empty_database: Database) -> None:
    await schema.migrate(empty_database)
    async with empty_database.write() as connection:
        await connection.run_sync(fill)
    await schema.migrate(empty_database, "base")
    async with empty_database.read() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == ["alembic_version"]
    for _ in range(2):
        await schema.migrate(empty_database)
        assert await schema.fits(empty_database)


async def test_a_migration_that_fails_changes_nothing(
    empty_database: Database, another_version: AnotherVersion
) -> None:
    await schema.migrate(empty_database)
    async with empty_database.write() as connection:
        before = await connection.run_sync(fill)
    another_version.add("9000", 'op.execute("UPDATE tasks SET version = 99")\n    op.execute("SELECT nonsense")')
    with another_version.installed(), pytest.raises(Exception, match="nonsense"):
        await schema.migrate(empty_database)
    async with empty_database.read() as connection:
        assert await connection.run_sync(contents) == before
    assert await schema.fits(empty_database)
    async with empty_database.write() as connection:  # not the one that migrated
        if empty_database.is_sqlite:
            assert [*(await connection.ask("PRAGMA foreign_keys"))[0].values()] == [1]
            assert connection.driver.patience is not None


async def test_what_the_first_version_queued_goes_on_under_the_second(empty_database: Database) -> None:
    await schema.migrate(empty_database, "0001")
    async with empty_database.write() as connection:
        await connection.run_sync(fill)
        await connection.execute(text("UPDATE tasks SET tracking = 'active' WHERE version = 1"))
        await connection.execute(text("UPDATE polls SET urgency = CASE claim_no WHEN 1 THEN 3 ELSE 0 END"))
    await schema.migrate(empty_database)
    async with empty_database.read() as connection:
        polls = (await connection.execute(text("SELECT urgency, closes_at FROM polls ORDER BY task_id"))).all()
        deadline = (
            (await connection.execute(text("SELECT query_deadline FROM tasks ORDER BY task_id"))).scalars().first()
        )
    assert [tuple(poll) for poll in polls] == [(Urgency.ROUTINE, deadline), (Urgency.HURRIED, None)]


# -- two versions on one schema


class AnotherVersion:
    """A newer version of this program: our migrations and more. Between the two, the code is the same."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, patch
        shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._head = schema.HEAD

    def add(self, name: str, upgrade: str) -> None:
        Path(self._folder, "versions", f"{name}.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision = {name!r}, {self._head!r}\n"
            f"def upgrade() -> None:\n    {upgrade}\n"
        )
        self._head = name

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Meanwhile the newer version runs."""
        with self._patch.context() as patch:
            patch.setattr(schema, "MIGRATIONS", self._folder)
            patch.setattr(schema, "HEAD", self._head)
            yield


@pytest.fixture
def another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnotherVersion:
    return AnotherVersion(tmp_path / "migrations", monkeypatch)


ADD = """op.create_table("news", sa.Column("id", sa.Integer(), primary_key=True))
    op.add_column("tasks", sa.Column("news", sa.Text(), nullable=True))"""


async def test_a_service_goes_on_while_a_newer_version_adds_to_the_schema(
    empty_database: Database, another_version: AnotherVersion, settings: MakeSettings, provider: Server
) -> None:
    await schema.migrate(empty_database)
    chosen = settings(database_url=empty_database.url, zego_api_url=provider.url)
    first, second = (provider.simulator.start("normal", duration=6000) for _ in range(2))
    async with open_service(chosen) as service, open_client(service) as client, running(service):
        assert (await client.post("/v1/tasks", json={"task_id": first})).status_code == 201
        another_version.add(f"9000_since_{schema.HEAD[:4]}", ADD)
        with another_version.installed():
            await schema.migrate(empty_database)
        assert (await client.get("/readyz")).json()["checks"]["schema"] == "ok"
        assert (await client.post("/v1/tasks", json={"task_id": second})).status_code == 201
        for task in (first, second):
            assert (await client.get(f"/v1/tasks/{task}")).json()["version"] >= 1
    # The old version may also start there, and `migrate` of it leaves everything as it is: an upgrade can be undone.
    await schema.migrate(empty_database)
    async with open_service(chosen) as service, open_client(service) as client:
        assert (await client.get("/readyz")).json()["status"] == "ok"
        await register(client, 7)


async def test_a_service_is_down_when_a_newer_version_changed_what_it_needs(
    empty_database: Database, another_version: AnotherVersion, settings: MakeSettings
) -> None:
    await schema.migrate(empty_database)
    chosen = settings(database_url=empty_database.url)
    another_version.add("9000", ADD)
    async with open_service(chosen) as service, open_client(service) as client:
        with another_version.installed():
            await schema.migrate(empty_database)
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (503, "down")
        assert "not this version" in response.json()["checks"]["schema"]
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        async with open_service(chosen):
            pass


@pytest.mark.parametrize(
    ("there", "program", "serves"),
    [
        ("0002", "0002", True),
        ("0003_since_0002", "0002", True),
        ("0004_since_0002", "0003_since_0002", True),
        ("0004_since_0003", "0002", False),
        ("0003", "0002", False),
        ("0001", "0002", False),
        ("0002_since_0001", "0003_since_0002", False),
        ("another", "0002", False),
        (None, "0002", False),
    ],
)
def test_which_programs_a_schema_serves(there: str | None, program: str, serves: bool) -> None:
    assert schema.serves(there, program) is serves


def test_revisions_are_numbered_in_order_and_serve_no_program_that_an_earlier_one_turned_away() -> None:
    serving = "0001"
    for number, name in enumerate(revisions(), start=1):
        assert name[:4] == f"{number:04d}"
        since = name.partition("_since_")[2] or name
        assert serving <= since <= name, f"{name}: an earlier revision ended what programs before {serving} need"
        serving = since
    assert revisions()[-1] == schema.HEAD


# -- locks and time


async def test_a_migration_may_take_longer_than_a_statement_of_the_service(
    empty_database: Database, another_version: AnotherVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    if empty_database.is_sqlite:
        return  # it has no such limits
    monkeypatch.setattr(engine, "STATEMENT", 0.1)
    another_version.add("9000", 'op.execute("SELECT pg_sleep(1.5)")')
    with another_version.installed():
        patient = Database(empty_database.url, HandClock())
        await schema.migrate(patient)
        assert await schema.fits(patient)
        await patient.close()


async def test_a_migration_gives_up_rather_than_hold_up_the_service_behind_its_lock(
    empty_database: Database, another_version: AnotherVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    if empty_database.is_sqlite:
        return  # a writer waits for the other there, whoever it is
    await schema.migrate(empty_database)
    monkeypatch.setattr(schema, "WAIT", 0.2)
    another_version.add(f"9000_since_{schema.HEAD[:4]}", ADD)
    with another_version.installed():
        async with empty_database.write() as connection:
            await connection.execute(text("SELECT count(*) FROM tasks"))
            with pytest.raises(DatabaseUnavailable, match="lock timeout"):
                await schema.migrate(empty_database)
    assert await schema.fits(empty_database)
