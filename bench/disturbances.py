"""What the failure drill does to the service and to all it stands on, and when: a schedule drawn from a seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.doors import Gate
from bench.stoppable import DATABASE, StoppablePostgres
from bench.supervised import Process
from bench.world import Provider, RowFailed

STOP_DATABASE, TERMINATE = "stop the database", "terminate all its connections"
REFUSE, FREEZE, SLOW, THROTTLE = "provider refuses", "provider freezes", "provider is slow", "provider throttles"
KILL, FREEZE_PROCESS, ROLL = "kill -9", "freeze", "rolling restart"

SLOW_ROUND_TRIP = 4.0
"""Seconds; a call is given up after 8."""


@dataclass(frozen=True, slots=True)
class Form:
    """How large a drill is. Times in seconds; ``lengths`` and ``uploads`` of recordings as lived in the drill."""

    recordings: int
    registering: float
    lengths: tuple[float, float]
    uploads: tuple[float, float]
    lives: dict[str, int]
    stops: int
    terminations: int
    frozen_process: float
    refusing: float
    frozen: float
    slow: float
    throttling: float
    gap: tuple[float, float]
    kills: tuple[float, float]
    """Between two kills."""
    quiet: float
    """After the start, until the first."""
    settling: float
    """After the last disturbance, until every task must have ended."""


USUAL = {"normal": 10, "paused": 2, "idle_end": 2, "abnormal": 2, "backup": 2, "lost_file": 2, "growing": 3}
LATE = {"backup_then_late_upload": 1, "no_files": 1, "screenshots": 1}
"""They settle, or change, a minute after their end."""

FULL = Form(
    recordings=300,
    registering=110.0,
    lengths=(10.0, 50.0),
    uploads=(2.0, 8.0),
    lives=USUAL | LATE,
    stops=3,
    terminations=2,
    frozen_process=15.0,
    refusing=20.0,
    frozen=15.0,
    slow=20.0,
    throttling=20.0,
    gap=(4.0, 8.0),
    kills=(4.0, 9.0),
    quiet=5.0,
    settling=300.0,
)
SHORT = Form(
    recordings=60,
    registering=25.0,
    lengths=(4.0, 15.0),
    uploads=(1.0, 4.0),
    lives=USUAL,
    stops=1,
    terminations=1,
    frozen_process=11.0,
    refusing=4.0,
    frozen=9.0,
    slow=4.0,
    throttling=1.5,
    gap=(0.5, 2.0),
    kills=(5.0, 9.0),
    quiet=2.0,
    settling=180.0,
)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do ``at`` seconds from the start, for ``seconds``, perhaps to one process.

    Steps of one lane follow each other, however long each takes; the lanes go on beside each other.
    """

    lane: str
    at: float
    act: str
    seconds: float = 0.0
    whom: str = ""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.act} {self.whom}".strip() + lasting


def plan(form: Form, names: Sequence[str], seed: int) -> list[Step]:
    """The same for the same seed: when each step is to begin at the soonest."""
    dice = random.Random(seed)
    inside = [(STOP_DATABASE, dice.uniform(1.0, 5.0), "") for _ in range(form.stops)]
    inside += [(TERMINATE, 0.0, "")] * form.terminations
    inside.append((ROLL, 0.0, ""))
    outside = [(REFUSE, form.refusing, ""), (FREEZE, form.frozen, ""), (SLOW, form.slow, "")]
    outside.append((FREEZE_PROCESS, form.frozen_process, dice.choice(names)))  # while the other lane goes on
    dice.shuffle(inside)
    dice.shuffle(outside)
    # Throttling first: it takes ten seconds to get each permit back.
    outside.insert(0, (THROTTLE, form.throttling, ""))
    steps: list[Step] = []
    for lane, acts in (("database", inside), ("provider", outside)):
        at = form.quiet
        for act, seconds, whom in acts:
            at += dice.uniform(*form.gap)
            steps.append(Step(lane, round(at, 1), act, round(seconds, 1), whom))
            at += seconds + (ROLLING if act == ROLL else 0.0)
    end, at = max(step.at + step.seconds for step in steps), form.quiet
    while (at := at + dice.uniform(*form.kills)) < end:
        steps.append(Step("kills", round(at, 1), KILL, whom=dice.choice(names)))
    return sorted(steps, key=lambda step: step.at)


PAUSE = 1.0
"""Seconds at least between two steps of a lane, should the one before have taken long."""

ROLLING = 12.0
"""Seconds a rolling restart is expected to take."""


@dataclass
class Disturbances:
    """Carries a schedule out. ``done`` counts what was done, ``failures`` are what the service did not bear."""

    processes: dict[str, Process]
    postgres: StoppablePostgres
    provider: Provider
    gate: Gate
    say: Callable[[str], None]
    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _rolling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _freezing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """No process is killed or frozen while all are replaced: whether each gets ready, and stops, is tried then."""

    async def run(self, steps: Sequence[Step]) -> None:
        """Until the last step is over."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for lane in dict.fromkeys(step.lane for step in steps):
                group.create_task(self._run_lane([step for step in steps if step.lane == lane], began))

    async def _run_lane(self, steps: Sequence[Step], began: float) -> None:
        acts: dict[str, Any] = {
            STOP_DATABASE: self._stop_database,
            TERMINATE: self._terminate,
            REFUSE: self._refuse,
            FREEZE: self._freeze,
            SLOW: self._slow,
            THROTTLE: self._throttle,
            KILL: self._kill,
            FREEZE_PROCESS: self._freeze_process,
            ROLL: self._roll,
        }
        for step in steps:
            await asyncio.sleep(max(began + step.at - time.monotonic(), PAUSE))
            await acts[step.act](step)

    # -- the database

    async def _stop_database(self, step: Step) -> None:
        self.say(str(step))
        await self.postgres.stop()
        await asyncio.sleep(step.seconds)
        await self.postgres.start()
        self.done["PostgreSQL stopped hard and restarted"] += 1
        self.say("the database is back")

    async def _terminate(self, step: Step) -> None:
        rows = await self.postgres.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{DATABASE}' AND pid <> pg_backend_pid()"
        )
        self.done["Every database connection terminated"] += 1
        self.done["… connections terminated so"] += len(rows)
        self.say(f"{step}: {len(rows)}")

    # -- the provider

    async def _refuse(self, step: Step) -> None:
        self.say(str(step))
        await self.gate.shut()
        await asyncio.sleep(step.seconds)
        await self.gate.open()
        self._over(f"Provider refused connections for {step.seconds:g} s", "the provider accepts connections")

    async def _freeze(self, step: Step) -> None:
        self.say(str(step))
        self.provider.program.freeze()
        await asyncio.sleep(step.seconds)
        self.provider.program.resume()
        self._over(f"Provider frozen with open connections for {step.seconds:g} s", "the provider goes on")

    async def _slow(self, step: Step) -> None:
        await self._faulty(step, before={"rtt": 0.05}, during={"rtt": SLOW_ROUND_TRIP})
        self._over(f"Provider slow (round trip {SLOW_ROUND_TRIP:g} s) for {step.seconds:g} s", "the provider is fast")

    async def _throttle(self, step: Step) -> None:
        await self._faulty(step, before={"throttled": 0.0}, during={"throttled": 1.0})
        self._over(f"Provider throttling every call for {step.seconds:g} s", "the provider throttles no more")

    async def _faulty(self, step: Step, *, before: dict[str, float], during: dict[str, float]) -> None:
        self.say(str(step))
        await self.provider.change_faults(**during)
        await asyncio.sleep(step.seconds)
        await self.provider.change_faults(**before)

    def _over(self, what: str, now: str) -> None:
        self.done[what] += 1
        self.say(now)

    # -- the processes

    async def _kill(self, step: Step) -> None:
        async with self._rolling:
            others = [process for name, process in self.processes.items() if name != step.whom]
            up = [process for process in (self.processes[step.whom], *others) if process.url and not process.frozen]
            if not up:  # those that are starting must get there some time, on a slow machine too
                self.say("nothing to kill")
                return
            victim = up[0]
            self.say(f"{KILL} {victim.name}")
            await victim.kill()
            self.done["Process killed (kill -9) and restarted"] += 1

    async def _freeze_process(self, step: Step) -> None:
        process = self.processes[step.whom]
        async with self._freezing:
            try:
                await process.gets_ready()
            except RowFailed as failure:
                self.failures.append(str(failure))
                return
            self.say(str(step))
            process.freeze()
            await asyncio.sleep(step.seconds)
            process.resume()
            self._over(f"Process frozen for {step.seconds:g} s and resumed", f"{process.name} goes on")

    async def _roll(self, step: Step) -> None:
        async with self._freezing, self._rolling:
            self.say(str(step))
            for process in self.processes.values():
                try:
                    await process.gets_ready()
                    await process.stop()
                    await process.gets_ready()
                except RowFailed as failure:
                    self.failures.append(f"rolling restart: {failure}")
                self.say(f"{process.name} has been replaced")
            self.done["Rolling restart of all processes"] += 1
