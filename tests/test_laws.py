"""The laws of README.md, whatever happens in whatever order.

Recordings begin and end, callbacks are lost, repeated, reordered, stale and forged, polls are slow, fail and come out
of order, the provider goes away, the service dies at any statement and starts anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.core.hearing import HURRY_EVERY
from app.core.public import task_json
from app.core.recording import Task, Tracking
from app.core.schedule import claim_order
from app.core.told import CallbackEvent
from app.errors import CallbackRefused, NotPollable, ProviderError, TaskNotFound
from app.provider.callbacks import Letter, read
from app.provider.client import Described
from app.provider.simulator import DESCRIBE, LIST, LIVES, Event, Faults
from app.store import polls
from app.store.polls import Claim
from app.tracking.callbacks import FRESH
from app.tracking.registration import NewTask
from app.tracking.tasks import REFRESH_EVERY
from app.tracking.turns import Turn, Wait
from tests.laws import Laws, Receipt, Sight, decided, look
from tests.unruly import INSTANT, World
from tests.world import APP

P = ParamSpec("P")
Step = Callable[Concatenate["AnyDay", P], None]

LIFE = st.sampled_from([*sorted(LIVES), "growing", "growing", "backup_then_late_upload"])
PICK = st.integers(0, 7)
AFTER = st.sampled_from([0.0, 0.0, 0.5, 5.0, 20.0, 60.0, 60.0, 600.0, 3600.0, 86400.0])
NOWHERE = [f"NobodyKnowsThis{number}" for number in range(2)]
"""TaskIds of no recording."""

HOUR, DAY = 3600.0, 86400.0
AGES = [0.0, 0.0, 600.0, 2 * DAY, 3 * DAY - 1200, 3 * DAY - 60, 3 * DAY + HOUR]
"""How long ago a recording began, in seconds."""

FAULTS: dict[str, dict[str, float]] = {
    **{name: {name: 1.0} for name in ("http_500", "html", "reset", "hang", "garbage", "throttled", "system_error")},
    "not_visible": {"not_visible": 1.0},
    "visible_after": {"visible_after": 60.0},
    "jitter": {"rtt": 0.2, "jitter": 1.5},
    "all": {"http_500": 0.2, "reset": 0.2, "hang": 0.2, "garbage": 0.2, "throttled": 0.2},
}

OUTCOMES = {
    "normal": "uploaded",
    "paused": "uploaded",
    "idle_end": "uploaded",
    "abnormal": "uploaded",
    "backup": "uploaded_to_backup",
    "backup_then_late_upload": "uploaded",
    "lost_file": "partially_lost",
    "no_files": "no_files",
    "screenshots": "no_files",
    "growing": "uploaded",
}


def on_loop(steps: Callable[Concatenate[AnyDay, P], Coroutine[Any, Any, None]]) -> Step[P]:
    """The steps, done on the world's loop; if they fail, the machine is broken."""

    @wraps(steps)
    def run(machine: AnyDay, /, *args: P.args, **drawn: P.kwargs) -> None:
        whole, machine.whole = machine.whole, False
        machine.world.run(steps(machine, *args, **drawn))
        machine.whole = whole

    return run


def happens(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Step[...]]:
    """A rule: the steps, some time after those before."""

    def to_rule(steps: Callable[..., Coroutine[Any, Any, None]]) -> Step[...]:
        @wraps(steps)
        async def later(machine: AnyDay, /, after: float, **drawn: Any) -> None:
            if after:
                await machine.go_on(after)
            await steps(machine, **drawn)

        made: Step[...] = cast("Any", rule)(after=AFTER, **drawn)(on_loop(later))
        return made

    return to_rule


@dataclass(frozen=True, slots=True)
class Play:
    """A recording at the provider, and when the last of its files reached its end."""

    task_id: str
    life: str
    began_at: datetime
    over_at: datetime
    final_at: datetime

    @property
    def deadline(self) -> datetime:
        return self.began_at + timedelta(days=3)


@dataclass(slots=True)
class Mail:
    """A callback as it was signed; it may be delivered never, late and often."""

    body: bytes
    letter: Letter
    signed_at: datetime
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What was asked, and is written down later."""

    turn: Turn
    claim: Claim
    told: Described | ProviderError


class AnyDay(RuleBasedStateMachine):
    """A day in the life of the service, of which nothing can be said in advance."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.whole = True
        self.laws = Laws()
        self.plays: dict[str, Play] = {}
        self.ids = list(NOWHERE)
        self.mail: list[Mail] = []
        self.kept: list[Kept] = []
        self.buried: dict[str, datetime] = {}
        self.hidden = False
        """Whether the provider ever denied a recording that it had."""

    @initialize(discover=st.booleans(), life=LIFE, crowd=st.sampled_from([1, 3, 14]))
    def begin(self, discover: bool, life: str, crowd: int) -> None:
        self.discover = discover
        self.world = World(discover=discover)
        self.start(life=life, age=0.0, duration=60.0, upload=5.0, crowd=crowd, known=True, after=0.0)
        self.work(name="poll", seconds=9.0, after=0.0)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if self.whole:
                self.all_comes_to_its_end()
        finally:
            self.world.close()

    # -- recordings, and who follows them

    @happens(
        life=LIFE,
        age=st.sampled_from(AGES),
        duration=st.sampled_from([20.0, 60.0, 600.0, 2 * HOUR]),
        upload=st.sampled_from([5.0, 60.0, 600.0, 2 * HOUR]),
        crowd=st.sampled_from([1, 1, 1, 1, 12]),
        known=st.sampled_from([True, True, False]),
    )
    async def start(self, life: str, age: float, duration: float, upload: float, crowd: int, known: bool) -> None:
        plays = [self._start(life, age, duration, upload) for _ in range(crowd)]
        if known:
            await self._register_batch([play.task_id for play in plays])

    @happens(picks=st.lists(PICK, min_size=1, max_size=4), hint=st.sampled_from([None, None, "true", "long ago"]))
    async def register(self, picks: list[int], hint: str | None) -> None:
        if len(picks) > 1:
            await self._register_batch([self._id(pick) for pick in picks])
        else:
            await self._register(self._id(picks[0]), hint)

    @happens(
        pick=PICK,
        verbs=st.lists(st.sampled_from(["refresh", "untrack", "track", "label", "delete"]), min_size=1, max_size=3),
    )
    async def steer(self, pick: int, verbs: list[str]) -> None:
        for verb in verbs:
            await self._steer(self._id(pick), verb)

    # -- the service at work

    async def go_on(self, seconds: float) -> None:
        """Time passes in which the service's machine stands still, and then it works for a while."""
        await self.world.jump(seconds)
        for name in ("poll", "sweep", *(("pace", "housekeeping") if seconds >= 60.0 else ())):
            self._work(name)
        await asyncio.sleep(min(seconds, 2.0))
        self._collect()

    @happens(name=st.sampled_from(["poll", "sweep", "pace", "housekeeping"]), seconds=st.sampled_from([INSTANT, 9.0]))
    async def work(self, name: str, seconds: float) -> None:
        self._work(name)
        await asyncio.sleep(seconds)

    @happens(seconds=st.sampled_from([0.0, 20.0, 660.0, 7 * HOUR, DAY]))
    async def stand_still(self, seconds: float) -> None:
        await self.world.jump(seconds)

    @happens(pick=PICK, later=st.booleans(), order=st.sampled_from([0, -1]))
    async def overtake(self, pick: int, later: bool, order: int) -> None:
        """A task is asked about again while the last answer is still on its way."""
        for _ in range(2):
            self.world.line.keep = 1
            await self._refresh(self._id(pick))
            self._work("poll")
            await asyncio.sleep(5.5 if later else 0.5)
            await self._look()
        for _ in range(2):
            self.world.line.let_go(order)
            await asyncio.sleep(INSTANT)

    @happens(answers=st.integers(0, 3), pick=PICK)
    async def be_slow(self, answers: int, pick: int) -> None:
        """The next answers are kept back, and one that was comes through."""
        self.world.line.let_go(pick)
        self.world.line.keep = answers
        await asyncio.sleep(INSTANT)

    @happens(pick=PICK, seconds=st.sampled_from([None, 0.5, 20.0, 660.0, HOUR]))
    async def be_another_process(self, pick: int, seconds: float | None) -> None:
        """One that asks, and stands still before it writes down what it heard."""
        if seconds is None and self.kept:
            await self._write_down(self.kept.pop(pick % len(self.kept)))
            return
        await self._refresh(self._id(pick))
        await self._ask()
        if seconds is not None:
            await self.go_on(seconds)

    @happens(
        fuse=st.integers(0, 25),
        doing=st.sampled_from(["nothing", "register", "delete", "deliver", "poll", "sweep", "housekeeping"]),
        pick=PICK,
    )
    async def crash(self, fuse: int, doing: str, pick: int) -> None:
        self._collect()
        task_id = self._id(pick)
        before = (await self._look()).tasks
        await self.world.crash(self._do(doing, task_id, pick), left=fuse)
        after = (await look(self.world.eyes)).tasks
        if doing == "deliver":
            _nothing_was_decided(before, after)
        if doing == "delete" and task_id in before and task_id not in after:
            self._buried(before[task_id])
        if doing == "register" and task_id in after:
            self._acknowledged(task_id)

    # -- callbacks

    @happens(pick=PICK, how=st.sampled_from(["once", "twice", "all", "all backwards"]))
    async def deliver(self, pick: int, how: str) -> None:
        self._collect()
        new = [one for one in self.mail if not one.delivered]
        if how.startswith("all"):
            await self._deliver(*(reversed(new) if how == "all backwards" else new))
        elif self.mail:
            await self._deliver(*[self.mail[-1 - pick % len(self.mail)]] * (1 + (how == "twice")))

    @happens(
        pick=PICK,
        first=st.booleans(),
        about=st.one_of(st.none(), PICK),
        claim=st.sampled_from(["uploaded", "lost", "image", "no_files", "broken", "nonsense"]),
    )
    async def forge(self, pick: int, first: bool, about: int | None, claim: str) -> None:
        self._collect()
        mail = [one for one in self.mail if one.delivered is not first]
        if not mail:
            return
        genuine = mail[-1 - pick % len(mail)]
        task_id = (genuine.letter.task_id or "") if about is None else self._id(about)
        forged = self._forged(genuine, task_id, claim)
        known = {row.signed for row in self.laws.sight.callbacks}
        before = {task_id: _shown(task) for task_id, task in (await self._look()).tasks.items()}
        await self._deliver(forged)
        if genuine.letter.signed in known and forged.letter.said != genuine.letter.said:
            after = {task_id: _shown(task) for task_id, task in self.laws.sight.tasks.items()}
            assert {id_: after[id_] for id_ in before} == before, "a suspicious callback told something"

    # -- the provider has a bad day

    @happens(what=st.sampled_from([*["mend"] * 5, "cut", "refuse", "freeze", "thaw", *FAULTS]))
    async def go_wrong(self, what: str) -> None:
        line, simulator = self.world.line, self.world.simulator
        if what in FAULTS:
            simulator.faults = Faults(**FAULTS[what])
            self.hidden |= what in ("not_visible", "visible_after")
            return
        if what == "mend":
            simulator.faults = Faults()
        line.turn(what)
        await asyncio.sleep(INSTANT)

    @happens(seconds=st.sampled_from([3.0, 12.0, 40.0]), dies=st.booleans())
    async def freeze(self, seconds: float, dies: bool) -> None:
        """The provider stands still, and then takes in at once all that it was asked meanwhile."""
        self.world.line.turn("freeze")
        for task_id in sorted(self.laws.registered):
            await self._refresh(task_id)
        for name in ("poll", "sweep"):
            self._work(name)
        await asyncio.sleep(seconds / 2)
        if dies:
            await self.world.crash(_nothing(), left=1000)
            self._work("poll")
        await asyncio.sleep(seconds / 2)
        self.world.line.turn("thaw")
        await asyncio.sleep(1.0)

    # -- what holds

    @invariant()
    @on_loop
    async def the_laws_hold(self) -> None:
        self.world.look_after_jobs()
        await self._look()
        counts = self.world.simulator.stats()["apps"][str(APP)]
        assert counts[DESCRIBE]["busiest_second"] <= 10
        # Probes that were given up are not counted as still to arrive, so a long freeze lets more lists arrive at once.
        assert counts[LIST]["busiest_second"] <= 10 or self.world.line.was_frozen
        for task_id, task in self.laws.sight.tasks.items():
            if task_id not in self.laws.registered:
                assert self.discover, f"nobody registered {task_id}"
                assert self.world.clock.now() >= self.buried.get(task_id, task.registered_at), "back from the dead"
                self._acknowledged(task_id)
            if task.tracking is Tracking.SETTLED:
                assert task.settled_at is not None
                assert task_id in self.plays
                assert task.settled_at >= self.plays[task_id].over_at, "settled before it was over"

    @on_loop
    async def all_comes_to_its_end(self) -> None:
        """The provider comes back for good; every task settles, or its window closes."""
        self.world.simulator.faults = Faults()
        self.world.line.turn("mend")
        began = self.world.clock.now()
        for seconds in (0.0, 60.0, 660.0, HOUR, 4 * HOUR, 4 * DAY, HOUR):
            await self._pass_on(self.world.clock.now() + timedelta(seconds=seconds))
        for task_id in self.laws.registered:
            self._came_to_its_end(self.laws.sight.tasks[task_id], since=began)

    async def _pass_on(self, to: datetime) -> None:
        """Go on to then, with a stop in the last minutes of every window that closes until then."""
        clock = self.world.clock
        windows = {task.window[0] for task in self.laws.sight.tasks.values()}
        stops = [stop for window in windows for stop in (window - timedelta(minutes=9), window + timedelta(minutes=2))]
        for stop in sorted([*(stop for stop in stops if clock.now() < stop < to), to]):
            await self.world.jump((stop - clock.now()).total_seconds())
            await self._work("housekeeping")
            async with asyncio.timeout(HOUR):
                await self._work("poll")
            self.world.look_after_jobs()
            await self._look()

    def _came_to_its_end(self, task: Task, *, since: datetime) -> None:
        if task.tracking is Tracking.UNTRACKED:
            return
        assert task.tracking in (Tracking.SETTLED, Tracking.EXPIRED), f"{task.task_id} is still {task.tracking}"
        play = self.plays.get(task.task_id)
        if play is None:
            assert task.tracking is Tracking.EXPIRED
            return
        last_look = play.deadline - timedelta(minutes=10)
        reachable = max(since, play.over_at, task.registered_at) < last_look and not self.hidden
        if reachable:
            assert task.tracking is Tracking.SETTLED, f"{task.task_id} ({play.life}) was given up"
        if task.tracking is Tracking.SETTLED:
            assert task.outcome is not None
            late = play.life == "backup_then_late_upload" and max(since, play.final_at) >= last_look
            assert task.outcome.value in {OUTCOMES[play.life], *(["uploaded_to_backup"] if late else [])}

    # -- how it is done

    def _start(self, life: str, age: float, duration: float, upload: float) -> Play:
        began = self.world.clock.unix() - age
        task_id = self.world.simulator.start(life, began_at=began, duration=duration, upload=upload)
        truth = next(one for one in self.world.simulator.recordings() if one["task_id"] == task_id)
        over = began + duration + (upload if LIVES[life].files else 60.0)
        moments = (datetime.fromtimestamp(seconds, UTC) for seconds in (began, over, truth["final_at"]))
        self.plays[task_id] = Play(task_id, life, *moments)
        self.ids.append(task_id)
        return self.plays[task_id]

    async def _register_batch(self, ids: list[str]) -> None:
        done = await self.world.service.registration.register_batch([NewTask(task_id=id_, labels={}) for id_ in ids])
        assert {one.result for one in done} <= {"created", "existing"}
        self._acknowledged(*ids)

    def _id(self, pick: int) -> str:
        """The newest first, so that most steps are about what is going on."""
        return self.ids[-1 - pick % len(self.ids)]

    async def _look(self) -> Sight:
        return await self.laws.check(self.world.eyes, now=self.world.clock.now())

    async def _steer(self, task_id: str, verb: str) -> None:
        tasks = self.world.service.tasks
        try:
            if verb == "label":
                await tasks.set_labels(task_id, {"at": self.world.clock.token()}, if_versions=None)
            elif verb == "delete":
                await self._delete(task_id)
            else:
                await getattr(tasks, verb)(task_id)
        except TaskNotFound:
            assert task_id not in self.laws.registered
        except NotPollable:
            assert verb in ("refresh", "track")

    async def _refresh(self, task_id: str) -> None:
        with suppress(NotPollable, TaskNotFound):
            await self.world.service.tasks.refresh(task_id)
            self.laws.hurried(task_id, by=self.world.clock.now() + REFRESH_EVERY)

    async def _ask(self) -> None:
        service, clock = self.world.service, self.world.clock
        started, budget = clock.monotonic(), service.budgets[APP]
        if await budget.wait(started) is not None:
            return
        async with service.database.write(durable=False) as connection:
            permit = await budget.take(connection, started)
            if isinstance(permit, Wait):
                return
            order, horizon = claim_order(0), timedelta(minutes=10)
            claim = await polls.claim(connection, APP, order=order, now=clock.now(), horizon=horizon)
            if claim is None:
                await budget.put_back(connection, permit)
        if claim is None:
            return
        turn = budget.begin(permit, started)
        told: Described | ProviderError
        try:
            told = await budget.provider.describe(
                claim.task_id, turn.call, claim_no=claim.claim_no, asked_at=clock.now()
            )
        except ProviderError as error:
            told = error
        budget.settle_own(turn, told if isinstance(told, ProviderError) else None)
        self.kept.append(Kept(turn, claim, told))

    async def _write_down(self, kept: Kept) -> None:
        service = self.world.service
        async with service.database.write(durable=False) as connection:
            if isinstance(kept.told, ProviderError):
                await service.observations.poll_failed(connection, kept.claim, kept.told)
                await service.budgets[APP].settle(connection, kept.turn, kept.told)
            else:
                await service.observations.observe(connection, kept.claim, kept.told)
                await service.budgets[APP].settle(connection, kept.turn, None)

    async def _register(self, task_id: str, hint: str | None) -> None:
        started_at = None
        if hint == "long ago":
            started_at = self.world.clock.now() - timedelta(days=4)
        elif hint and task_id in self.plays:
            started_at = self.plays[task_id].began_at
        await self.world.service.registration.register(NewTask(task_id=task_id, started_at=started_at, labels={}))
        self._acknowledged(task_id)

    def _acknowledged(self, *ids: str) -> None:
        self.laws.registered.update(ids)
        for task_id in ids:
            self.buried.pop(task_id, None)

    async def _delete(self, task_id: str) -> None:
        before = (await self._look()).tasks.get(task_id)
        await self.world.service.tasks.delete(task_id)
        assert before is not None
        self._buried(before)

    def _buried(self, task: Task) -> None:
        self.laws.deleted(task.task_id)
        self.buried[task.task_id] = task.window[0]

    def _work(self, name: str) -> asyncio.Task[object]:
        service = self.world.service
        jobs: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "poll": service.poller.run_once,
            "sweep": service.sweeper.run_once,
            "pace": service.paces.run_once,
            "housekeeping": service.housekeeping.run_once,
        }
        return self.world.start(name, jobs[name])

    async def _do(self, doing: str, task_id: str, pick: int) -> None:
        """Something that the process dies of."""
        if doing == "register":
            await self._register(task_id, None)
        elif doing == "delete" and task_id in self.laws.sight.tasks:
            await self._delete(task_id)
        elif doing == "deliver" and self.mail:
            await self._deliver(self.mail[-1 - pick % len(self.mail)])
        elif doing in ("poll", "sweep", "housekeeping"):
            self._work(doing)
            await asyncio.sleep(3.0)

    # -- callbacks

    def _collect(self) -> None:
        """Sign what is due; when it arrives is another matter."""
        simulator, now = self.world.simulator, self.world.clock.now()
        for callback in simulator.due_callbacks():
            body = simulator.callback_body(callback)
            self.mail.append(Mail(body, read(body), now))

    async def _deliver(self, *mail: Mail) -> None:
        """All at once; and nothing changes that only polls, time and callers decide."""
        before = (await self._look()).tasks
        await asyncio.gather(*(self._hand_over(one) for one in mail))
        _nothing_was_decided(before, (await self._look()).tasks)

    async def _hand_over(self, one: Mail) -> None:
        now = self.world.clock.now()
        late = abs(now.timestamp() - int(one.letter.timestamp or 0)) > FRESH.total_seconds()
        known = one.letter.task_id in self.laws.sight.tasks
        try:
            await self.world.service.callbacks.receive(one.body)
        except CallbackRefused as refusal:
            if not late or refusal.reason != "stale":
                raise
            return
        assert not late, "a stale callback was taken in"
        hurries = not one.letter.callback.images and one.letter.callback.event is not CallbackEvent.ROOM_EMPTY
        if hurries and not any(row.signed == one.letter.signed for row in self.laws.sight.callbacks):
            self.laws.hurried(one.letter.task_id or "", by=now + HURRY_EVERY)
        one.delivered = True
        self.laws.receipts.append(Receipt(one.letter.task_id or "", one.letter.signed, one.letter.said, now, known))

    def _forged(self, genuine: Mail, task_id: str, claim: str) -> Mail:
        """Another message under the genuine one's signature."""
        polled = list(self.laws.sight.tasks[task_id].files) if task_id in self.laws.sight.tasks else []
        files = [{"file_id": file_id} for file_id in [*polled, f"{task_id}_made_up.mp4"]]
        contents: dict[str, tuple[int, object]] = {
            "uploaded": (Event.UPLOAD_FINISHED, {"file_info": [file | {"status": 3} for file in files]}),
            "lost": (Event.UPLOAD_FINISHED, {"file_info": [file | {"status": 5} for file in files]}),
            "image": (
                Event.UPLOAD_FINISHED,
                {"file_info": [file | {"status": 3, "output_file_format": "jpg"} for file in files]},
            ),
            "no_files": (Event.UPLOAD_FINISHED, {"file_info": []}),
            "broken": (Event.ENDED_ABNORMALLY, {"quit_reason": 1}),
            "nonsense": (999, "no object"),
        }
        event_type, detail = contents[claim]
        content = json.loads(genuine.body) | {"task_id": task_id, "event_type": int(event_type), "detail": detail}
        body = json.dumps(content).encode()
        return Mail(body, read(body), genuine.signed_at)


async def _nothing() -> None:
    """What the service dies of when it dies of nothing."""


def _nothing_was_decided(before: Mapping[str, Task], after: Mapping[str, Task]) -> None:
    for task_id, task in before.items():
        was, is_now = decided(task), decided(after[task_id])
        if task.tracking is Tracking.EXPIRED and after[task_id].outcome_basis == "callback":
            was, is_now = (replace(one, outcome=None, outcome_basis=None) for one in (was, is_now))
        assert is_now == was, "a callback decided something"


def _shown(task: Task) -> dict[str, Any]:
    """A task as it is shown, but for its next poll."""
    return task_json(task) | {"polling": None}


TestTheLawsHoldOnAnyDay = AnyDay.TestCase
TestTheLawsHoldOnAnyDay.settings = settings(
    max_examples=5,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
pytest.mark.filterwarnings("default")(TestTheLawsHoldOnAnyDay)
