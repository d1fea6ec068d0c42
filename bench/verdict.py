"""What must hold after the failure drill, asked of the provider's memory and of the database, and nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.schedule import Urgency
from app.store.polls import CLAIM_LEASE
from bench.stoppable import DATABASE, StoppablePostgres

SLACK = 2.0
"""Seconds by which the clocks of process and database may differ."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold: what was counted, what it must be, and what is wrong if it is not so."""

    what: str
    counted: str
    must_be: str
    wrong: tuple[str, ...] = ()

    @classmethod
    def none(cls, what: str, wrong: Iterable[object], of: str = "") -> Check:
        """That there is none of these."""
        found = tuple(map(str, wrong))
        return cls(what, f"{len(found)}{of and f' of {of}'}", "0", found)

    @classmethod
    def at_most(cls, what: str, counted: float, most: float, unit: str = "") -> Check:
        wrong = () if counted <= most else (f"{counted:g}{unit}",)
        return cls(what, f"{counted:.4g}{unit}", f"at most {most:g}{unit}", wrong)


# -- every task as the provider knows it


async def unlike_the_truth(postgres: StoppablePostgres, truth: Iterable[Mapping[str, Any]]) -> list[str]:
    """The recordings that do not stand in the database as they ended at the provider."""
    tasks = {row["task_id"]: row for row in await postgres.ask("SELECT * FROM tasks")}
    files: defaultdict[str, dict[str, int | None]] = defaultdict(dict)
    for row in await postgres.ask("SELECT task_id, file_id, status_code FROM files WHERE source = 'poll'"):
        files[row["task_id"]][row["file_id"]] = row["status_code"]
    return [wrong for one in truth if (wrong := _difference(one, tasks.get(one["task_id"]), files[one["task_id"]]))]


def _difference(truth: Mapping[str, Any], task: Any, files: dict[str, int | None]) -> str | None:
    name = f"{truth['task_id']} ({truth['life']})"
    if task is None:
        return f"{name} is missing"
    true_files = {file["file_id"]: file["status"] for file in truth["files"]}
    is_so = (task["tracking"], task["status_code"], task["outcome"], files)
    should_be = ("settled", truth["status"], outcome(true_files.values()), true_files)
    return None if is_so == should_be else f"{name} is {is_so}, should be {should_be}"


UPLOADED, IN_BACKUP, LOST = 3, 4, 5


def outcome(files: Iterable[int]) -> str:
    """What a recording whose files ended thus came to, by the public contract."""
    kinds = set(files)
    if not kinds:
        return "no_files"
    if LOST in kinds:
        return "lost" if kinds == {LOST} else "partially_lost"
    return "uploaded_to_backup" if IN_BACKUP in kinds else "uploaded"


# -- events


async def event_checks(postgres: StoppablePostgres) -> list[Check]:
    rows = await postgres.ask(
        "SELECT seq, type, task_id, task_version, data->'file'->>'file_id' AS file_id,"
        " type <> 'task.registered' AND data->'previous' = '{}'::jsonb AS is_empty"
        " FROM events WHERE type <> 'callback.received' ORDER BY seq"
    )
    versions = {row["task_id"]: row["version"] for row in await postgres.ask("SELECT task_id, version FROM tasks")}
    told = Counter((row["task_id"], row["task_version"], row["file_id"]) for row in rows)
    twice = [f"{key} told {times} times" for key, times in told.items() if times > 1]
    by_task: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if not by_task[row["task_id"]] or by_task[row["task_id"]][-1] != row["task_version"]:
            by_task[row["task_id"]].append(row["task_version"])
    gaps = [
        f"{task_id} is at version {version}, its events tell {by_task[task_id]}"
        for task_id, version in versions.items()
        if by_task[task_id] != list(range(1, version + 1))
    ]
    taken_twice = await postgres.ask(
        "SELECT task_id, event_type, sequence, count(*) FROM callbacks WHERE verdict = 'accepted'"
        " GROUP BY signed, task_id, event_type, sequence HAVING count(*) > 1"
    )
    return [
        Check.none("Copies of a callback taken for another one", [dict(row) for row in taken_twice]),
        Check.none("Changes told twice", [*twice, *_repeated(rows)], f"{len(rows):,} events"),
        Check.none("Tasks whose versions have a gap, a repeat or no event", gaps, f"{len(versions):,}"),
    ]


ONCE = ("task.registered", "task.ended", "task.settled")
"""What happens to a task once, as long as it is not reopened."""


def _repeated(rows: Iterable[Any]) -> list[str]:
    """Events that say again what an earlier one of the same task said, without a reopening between."""
    said: defaultdict[str, set[str]] = defaultdict(set)
    wrong = []
    for row in rows:
        if row["type"] == "task.reopened":
            said[row["task_id"]].discard("task.settled")
        if row["type"] in ONCE:
            if row["type"] in said[row["task_id"]]:
                wrong.append(f"{row['task_id']}: {row['type']} again at version {row['task_version']}")
            said[row["task_id"]].add(row["type"])
        if row["is_empty"]:
            wrong.append(f"{row['task_id']}: {row['type']} at version {row['task_version']} tells of no change")
    return wrong


# -- claims


async def overlong_claims(postgres: StoppablePostgres) -> list[str]:
    """Tasks claimed until later than a claim taken this moment would last."""
    rows = await postgres.ask(
        "SELECT task_id, next_poll_at FROM polls WHERE urgency = $1 AND closes_at IS NULL AND early_at IS NULL"
        " AND next_poll_at > clock_timestamp() + make_interval(secs => $2)",
        int(Urgency.HURRIED),
        CLAIM_LEASE.total_seconds() + SLACK,
    )
    return [f"{row['task_id']} is claimed until {row['next_poll_at']}" for row in rows]


HEED = 60
"""Seconds that the last disturbances may leave hurried tasks waiting: tasks may all be at their end before."""


async def abandoned_claims(postgres: StoppablePostgres) -> list[str]:
    """Tasks whose claim ran out a while ago, and nobody asks about them."""
    for _ in range(HEED):
        if not (left := await _long_due(postgres)):
            break
        await asyncio.sleep(1)
    return left


async def _long_due(postgres: StoppablePostgres) -> list[str]:
    rows = await postgres.ask(
        "SELECT task_id, next_poll_at FROM polls WHERE urgency = $1"
        " AND next_poll_at < clock_timestamp() - make_interval(secs => $2)",
        int(Urgency.HURRIED),
        CLAIM_LEASE.total_seconds(),
    )
    return [f"{row['task_id']} was claimed until {row['next_poll_at']}" for row in rows]


# -- connections


async def backends(postgres: StoppablePostgres) -> list[Any]:
    """The server's side of every connection but the drill's own."""
    return await postgres.ask(
        "SELECT client_port, state, left(query, 60) AS query, state LIKE 'idle in transaction%'"
        " AND state_change < clock_timestamp() - interval '5 s' AS is_left_open FROM pg_stat_activity"
        f" WHERE datname = '{DATABASE}' AND backend_type = 'client backend' AND application_name <> 'chaos'"
    )


def ports_of(pid: int, server_port: int) -> set[int]:
    """The local ports of a process's connections to the server, by Linux's /proc."""
    inodes = {
        target.removeprefix("socket:[").rstrip("]")
        for descriptor in Path(f"/proc/{pid}/fd").iterdir()
        if (target := _target(descriptor)).startswith("socket:[")
    }
    ports = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        local, remote, inode = cells[1], cells[2], cells[9]
        if inode in inodes and int(remote.rpartition(":")[2], 16) == server_port:
            ports.add(int(local.rpartition(":")[2], 16))
    return ports


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:  # closed meanwhile
        return ""
