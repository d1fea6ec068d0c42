"""The service on virtual time, from recordings that begin to what its events say of them."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from app.provider.simulator import DESCRIBE, LIST, Callback, Event, Simulator, callbacks
from app.provider.simulator import recordings as provider
from app.provider.simulator.lives import LIVES, OPEN, STOPPED, FileLife, FileStatus, Life, Pace
from app.settings import Settings, load_settings
from app.store.tables import EVENTS
from app.tracking.registration import NewTask
from app.wiring import Service, open_service
from bench.inprocess import Carrier, jobs_of
from bench.recordings import REGISTERED, Found, Recording
from bench.virtual import START, VirtualClock

APP_ID, SECRET, CALLBACK_SECRET = 1, "secret-of-the-benchmark", "callback-secret-of-the-benchmark"
RTT = 0.1
BATCH = 1000
LOOK = 60.0
"""Seconds between two looks whether all is found."""


@dataclass(slots=True)
class Seen:
    """What the service found, and what arrived at the provider: the busiest second of each action, and its lists."""

    found: Found
    busiest: int
    busiest_of_lists: int
    lists: int
    seconds: float


async def watch(
    recordings: Sequence[Recording], *, loss: float, sweep: bool, seed: int, until: float, longest: float, folder: Path
) -> Seen:
    """Let the service follow the recordings until then, and on until it has found all that ended before, at most
    ``longest`` seconds in all."""
    loop = asyncio.get_running_loop()
    clock = VirtualClock(loop, seed)
    simulator = Simulator({APP_ID: SECRET}, seed=seed, time=clock.unix, monotonic=clock.monotonic)
    async with open_service(
        settings_for(folder, sweep=sweep), clock=clock, transport=Carrier(simulator, RTT)
    ) as service:
        stage = Stage(service, simulator, loss, seed)
        async with jobs_of(service), asyncio.TaskGroup() as group:
            playing = group.create_task(stage.play(recordings))
            await asyncio.sleep(until)
            found = await stage.found(recordings)
            while loop.time() < longest and not _complete(recordings, found, until):
                await asyncio.sleep(LOOK)
                found = await stage.found(recordings)
            playing.cancel()
    polls, lists = (simulator.stats()["apps"][str(APP_ID)][action] for action in (DESCRIBE, LIST))
    found.calls = polls["calls"]
    return Seen(found, polls["busiest_second"], lists["busiest_second"], lists["calls"], loop.time())


def settings_for(folder: Path, *, sweep: bool) -> Settings:
    return load_settings(
        _env_file=None,
        database_url=f"sqlite+aiosqlite:///{folder}/recordings.db",
        zego_app_id=APP_ID,
        zego_server_secret=SECRET,
        zego_callback_secret=CALLBACK_SECRET,
        zego_api_url="http://provider.example",
        sweep_interval=None if sweep else 0,
    )


def _complete(recordings: Sequence[Recording], found: Found, before: float) -> bool:
    """Whether all ends and all last files' ends before then are found."""
    missing = (
        (one.ended_at <= before and ended == math.inf) or (one.settled_at <= before and settled == math.inf)
        for one, ended, settled in zip(recordings, found.ended, found.settled, strict=True)
    )
    return not any(missing)


class Stage:
    """Plays recordings at the simulated provider, and tells the service what a customer's backend and the provider's
    callbacks would."""

    def __init__(self, service: Service, simulator: Simulator, loss: float, seed: int) -> None:
        self._service, self._simulator, self._loss = service, simulator, loss
        self._dice = random.Random(seed)
        self._played: dict[Recording, provider.Recording] = {}
        self._sent = 0

    async def play(self, recordings: Sequence[Recording]) -> None:
        """Those that run already are registered together at once, the others one by one as they start."""
        running = [one for one in recordings if one.began_at <= 0]
        tasks = [NewTask(task_id=self._begin(one), labels={}) for one in running]
        for first in range(0, len(tasks), BATCH):
            await self._service.registration.register_batch(tasks[first : first + BATCH])
        async with asyncio.TaskGroup() as group:
            for one in recordings:
                group.create_task(self._follow(one))

    async def found(self, recordings: Sequence[Recording]) -> Found:
        """What the service's events say by now."""
        kinds = (EVENTS.c.type == "task.settled").label("settled")
        statement = (
            select(EVENTS.c.task_id, kinds, func.min(EVENTS.c.occurred_at))
            .where(EVENTS.c.type.in_(["task.ended", "task.settled"]))
            .group_by(EVENTS.c.task_id, kinds)
        )
        async with self._service.database.read() as connection:
            rows = (await connection.execute(statement)).all()
        number = {self._played[one].task_id: i for i, one in enumerate(recordings) if one in self._played}
        found = Found.nothing(len(recordings))
        for task_id, settled, at in rows:
            if (i := number.get(task_id or "")) is None:
                continue
            seconds = (at - START).total_seconds()
            found.ended[i] = min(found.ended[i], seconds)  # both may be seen at once; then one event tells it
            if settled:
                found.settled[i] = seconds
        return found

    async def _follow(self, one: Recording) -> None:
        if one not in self._played:
            await _until(one.began_at)
            task_id = self._begin(one)
            await _until(one.began_at + REGISTERED)
            await self._service.registration.register(NewTask(task_id=task_id, labels={}))
        told = {told.event_type: told for told in callbacks(self._played[one])}
        arrivals = one.callbacks(self._loss)
        for event, at in zip((Event.COMPLETED, Event.UPLOAD_FINISHED), arrivals, strict=True):
            if at is not None and await _until(at):
                await self._call_back(told[event])

    def _begin(self, one: Recording) -> str:
        """Start a recording at the provider; its TaskId."""
        began_at = START.timestamp() + one.began_at
        task_id, slowest = provider.new_task_id(began_at, self._dice), max(one.uploads)
        life, pace = _life(one.uploads), Pace.of(one.duration, slowest)
        played = provider.Recording(APP_ID, task_id, f"room_{len(self._played)}", "normal", life, pace, began_at)
        self._simulator._recordings.add(played)
        self._played[one] = played
        return task_id

    async def _call_back(self, told: Callback) -> None:
        self._sent += 1
        timestamp = START.timestamp() + asyncio.get_running_loop().time()
        await self._service.callbacks.receive(
            told.body(CALLBACK_SECRET, str(100_000 + self._sent), str(int(timestamp)))
        )


def _life(uploads: tuple[float, ...]) -> Life:
    """A normal life with a file for each upload, every one open from the beginning."""
    files = tuple(
        FileLife(
            (
                (OPEN, FileStatus.RECORDING),
                (STOPPED, FileStatus.UPLOADING),
                (STOPPED + seconds / max(uploads), FileStatus.UPLOADED),
            ),
            publisher=number,
        )
        for number, seconds in enumerate(uploads, 1)
    )
    return Life("recorded, ended, its files uploaded", LIVES["normal"].statuses, files)


async def _until(at: float) -> bool:
    """Wait until then; False if that has passed."""
    left = at - asyncio.get_running_loop().time()
    if left > 0:
        await asyncio.sleep(left)
    return left >= 0
