"""The service beside the bare server (bench.bare), in one run: each load goes to one and to the other by turns."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from app.clock import SystemClock
from app.core.recording import File, FileStatus, Outcome, Polling, SeenFile, Status, Task, Tracking
from app.store import schema
from app.store import tasks as store
from app.store.engine import Database
from app.tracking.registration import NewTask
from bench import bare, world
from bench.hammer import Blows, hammer
from bench.world import Program, RowFailed, Service, Stage

KEY, CALLBACK_SECRET = "secret-of-the-reader", "callback-secret-of-the-benchmark"
SETTINGS = {
    "API_KEYS": f"one:read:{'a' * 32},reader:admin:{KEY},three:write:{'b' * 32}",
    "RATE_LIMIT": "1000000/s",
    "LOG_LEVEL": "warning",
    "SWEEP_INTERVAL": "0",
    "ZEGO_CALLBACK_SECRET": CALLBACK_SECRET,
}
AUTHORISED = {"Authorization": f"Bearer {KEY}"}

LABELS = {"team": "support"}


def task_id(number: int) -> str:
    """Of a stored task."""
    return f"{number:016d}"


async def fill(url: str, tasks: int) -> None:
    """Settled tasks with two files each, their times a second apart."""
    clock = SystemClock()
    database = Database(url, clock)
    try:
        await schema.migrate(database)
        now = clock.now() - timedelta(hours=6)
        for start in range(0, tasks, 1000):
            made = [_settled(number, now) for number in range(start, min(tasks, start + 1000))]
            async with database.write() as connection:
                await store.add_tasks(connection, made)
                await store.save_tasks(connection, [(replace(task, files={}), task) for task in made])
    finally:
        await database.close()


def _settled(number: int, now: datetime) -> Task:
    at = now + timedelta(seconds=number)
    files = [
        File(
            seen=SeenFile(
                file_id=f"{task_id(number)}_room_1_{kind}.{kind}", status=FileStatus.UPLOADED, status_code=3,
                user_id="", user_name="", stream_id="", video_id="",
                file_url=f"https://bucket.example/record/{task_id(number)}_room_1_{kind}.{kind}",
                output_file_format=kind, file_size=1_000_000, duration_ms=60_000, resolution_width=1280,
                resolution_height=720, media_track_type_code=3, began_at=at,
            ),
            claim_no=5, first_seen_at=at, updated_at=at, reached_end_at=at, source="poll",
        )
        for kind in ("mp4", "jpg")
    ]  # fmt: skip
    return Task(
        task_id=task_id(number), app_id=world.APP_ID, registered_at=at, updated_at=at, room_id=f"room-{number // 3}",
        labels=LABELS, claim_no=5, began_at=at, ended_at=at, status=Status.COMPLETED, status_code=3,
        record_mode_code=2, stream_type_code=3, version=4, tracking=Tracking.SETTLED, outcome=Outcome.UPLOADED,
        outcome_basis="poll", settled_at=at, closed_at=at, file_counts={"uploaded": 2},
        files={file.seen.file_id: file for file in files}, polling=Polling(last_polled_at=at, poll_count=5),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Both:
    """The service and the bare server, or another that stands in its place, each on a database of its own, with
    processor time of both."""

    service: Service
    url: str
    bare: Program | Service
    bare_url: str

    def cpu_seconds(self) -> list[float]:
        return [self.service.cpu_seconds(), self.bare.cpu_seconds()]


@asynccontextmanager
async def both(kind: str, stage: Stage, tasks: int) -> AsyncIterator[Both]:
    """Both of them, ready, with the same tasks; nothing is due, so that no call is made."""
    url, bare_url = [await stage.database_url(kind, f"{kind}-{name}") for name in ("service", "bare")]
    if kind == "sqlite":
        bare_url = bare_url.replace("recordings", "bare")
    await fill(url.replace("postgresql://", "postgresql+asyncpg://"), tasks)
    async with world.service(1, url, "http://127.0.0.1:9", stage.folder, settings=SETTINGS) as service:
        model = NewTask(task_id="", app_id=world.APP_ID, labels=LABELS)
        await bare.fill(bare_url, await _as_shown(str(service.url), tasks), model)
        start, env = (sys.executable, "-m", "bench.bare"), {"PYTHONPATH": str(Path(__file__).parents[1])}
        async with world.program("bare", *start, bare_url, folder=stage.folder, env=env) as program:
            yield Both(service, str(service.url), program, await program.says(r"is ready on (http://\S+)"))


async def _as_shown(url: str, tasks: int) -> list[tuple[str, int, str, str]]:
    """What the service answers about each: id, version, body, and what stands in a list."""
    shown = []
    async with httpx.AsyncClient(base_url=url, trust_env=False, headers=AUTHORISED, timeout=30) as client:
        for number in range(tasks):
            body = (await client.get(f"/v1/tasks/{task_id(number)}")).raise_for_status().text
            task = json.loads(body)
            item = {name: value for name, value in task.items() if name not in ("files", "files_truncated")}
            shown.append((task_id(number), task["version"], body, json.dumps(item, separators=(",", ":"))))
    return shown


Requests = Callable[[int], Iterator[bytes]]
"""The requests of a round, given its number."""


@dataclass(frozen=True, slots=True)
class Row:
    """A load: what is asked of the service and of the bare server, and what is wanted of their answers. ``share``: of
    the bare server's answers a second, at least."""

    name: str
    ours: Requests
    bares: Requests
    share: float | None = None
    statuses: frozenset[int] = frozenset({200})
    connections: int = 16
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """Figures of the service and of the bare server, medians of the rounds; and the ratios of the one to the other."""

    rates: tuple[float, float]
    """Answers a second."""
    p99s: tuple[float, float]
    """Seconds."""
    rate: float
    throughput: float
    p99: float
    processor: tuple[float, float]
    """Seconds of processor for one answer, of the process that answers."""


async def compare(pair: Both, row: Row, *, rounds: int, seconds: float) -> Compared:
    """Load one and the other by turns. Raises RowFailed if an answer has another status than one of those wanted."""
    seen: list[tuple[Blows, Blows]] = []
    used = [0.0, 0.0]
    for number in range(rounds + 1):
        if number == 1:
            used = pair.cpu_seconds()
        both = [
            await hammer(url, requests(number), connections=row.connections, seconds=seconds if number else seconds / 4)
            for url, requests in ((pair.url, row.ours), (pair.bare_url, row.bares))
        ]
        for blows, whose in zip(both, ("the service", "the bare server"), strict=True):
            if set(blows.statuses) - row.statuses or not blows.took:
                raise RowFailed(f"{row.name}: {whose} answered {dict(blows.statuses)}")
        seen += [(both[0], both[1])] if number else []  # the first is for warming up

    def median(of: Callable[[Blows], float]) -> tuple[float, float]:
        return statistics.median(of(one) for one, _ in seen), statistics.median(of(other) for _, other in seen)

    def ratio(of: Callable[[Blows], float]) -> float:
        return statistics.median(of(one) / of(other) for one, other in seen)

    rates, p99s = median(lambda one: one.rate), median(lambda one: one.p99)
    answers = [sum(len(one.took) for one in which) for which in zip(*seen, strict=True)]
    processor = [(now - before) / n for now, before, n in zip(pair.cpu_seconds(), used, answers, strict=True)]
    ratios = (ratio(lambda one: one.rate), ratio(lambda one: one.throughput or 1.0), ratio(lambda one: one.p99))
    return Compared(rates, p99s, *ratios, (processor[0], processor[1]))
