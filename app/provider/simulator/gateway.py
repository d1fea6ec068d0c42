"""The simulated provider: all its state, no I/O. A server, or a test's own transport, carries the answers."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from email.utils import formatdate

from app.provider.simulator import bodies
from app.provider.simulator.answers import (
    NO_ACTION,
    NO_SUCH_TASK,
    OK,
    THROTTLED,
    UNSUPPORTED_ACTION,
    RefusalError,
    Reply,
    json_reply,
)
from app.provider.simulator.callbacks import Callback
from app.provider.simulator.credentials import Credentials
from app.provider.simulator.faults import REFUSALS, REPLIES, Faults, garbled
from app.provider.simulator.lists import ListReading
from app.provider.simulator.lives import LIVES, Pace
from app.provider.simulator.outbox import Outbox
from app.provider.simulator.recordings import Recording, Recordings, Truth, check_start, new_task_id
from app.provider.simulator.traffic import Counts, Stats, Tally

DESCRIBE, LIST = "DescribeRecordStatus", "DescribeTasks"
DAY = 86400.0
_ACTIONS = (DESCRIBE, LIST)
_REFUSALS = {DESCRIBE: ("throttled", "system_error", "not_visible"), LIST: ("throttled", "system_error")}
_FIRST_REQUEST_ID = 10**18


class Simulator:
    """A provider to develop against. Deterministic for one seed, clocks and order of calls; not thread-safe.

    `apps` maps AppIds to server secrets. `speed` divides the lengths of recordings and uploads. `window` is
    how many seconds after its start a task can be asked about, `limit` how many calls of one app to one
    action may arrive in any second. Callbacks come due for the apps in `callback_secrets`; `outbox` counts
    what became of them. `time` gives Unix seconds, `monotonic` seconds that never decrease. `faults` may be
    replaced at any time.
    """

    def __init__(
        self,
        apps: Mapping[int, str],
        *,
        speed: float = 1.0,
        window: float = 3 * DAY,
        limit: int = 10,
        visible_after: float = 0.0,
        callback_secrets: Mapping[int, str] | None = None,
        list_reading: ListReading | None = None,
        seed: int = 0,
        time: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not apps or speed <= 0:
            raise ValueError("a simulator needs an app and a speed above 0")
        if not set(callback_secrets or {}) <= set(apps):
            raise ValueError("callback_secrets has an app that is not in apps")
        self.apps = tuple(apps)
        self.faults = Faults(visible_after=visible_after)
        self.outbox = Outbox(callback_secrets or {}, seed)
        self._list_reading = list_reading or ListReading()
        self._speed, self._window, self._limit = speed, window, limit
        self._time, self._monotonic = time, monotonic
        # Two dice, so that the ids of recordings do not depend on the calls that came between.
        self._dice, self._id_dice = random.Random(seed), random.Random(seed)
        self._credentials = Credentials(apps)
        self._recordings = Recordings()
        self._tallies = {(str(app_id), action): Tally() for app_id in apps for action in _ACTIONS}
        self._unattributed = Tally()
        self._requests = 0

    def start(
        self,
        life: str = "normal",
        *,
        app_id: int | None = None,
        task_id: str | None = None,
        room_id: str | None = None,
        began_at: float | None = None,
        duration: float = 60.0,
        upload: float = 10.0,
    ) -> str:
        """Start a recording and return its TaskId; ValueError says which argument is wrong.

        `duration` is how long it records and `upload` how long its files then take, both in seconds at speed
        1. `began_at` is Unix seconds, the present by default, and may lie in the past; callbacks due by now
        are not sent any more.
        """
        now = self._time()
        began = now if began_at is None else began_at
        check_start(task_id, room_id, began, duration, upload)
        if life not in LIVES:
            raise ValueError(f"unknown life {life!r}; known are {', '.join(LIVES)}")
        owner = self._owner(app_id)
        name = new_task_id(began, self._id_dice) if task_id is None else task_id
        room = f"room_{len(self._recordings) + 1}" if room_id is None else room_id
        pace = Pace.of(duration, upload, self._speed)
        recording = Recording(owner, name, room, life, LIVES[life], pace, began)
        self._recordings.add(recording)
        self.outbox.follow(recording, now)
        return name

    def due_callbacks(self, now: float | None = None) -> list[Callback]:
        """Return the callbacks due by `now`, the present by default, in order of moment; each is returned once."""
        return self.outbox.due(self._time() if now is None else now)

    def callback_body(self, callback: Callback, now: float | None = None) -> bytes:
        """Return what is sent at `now`, the present by default: signed JSON, with a new nonce each time."""
        return self.outbox.body(callback, self._time() if now is None else now)

    def call_back(
        self,
        task_id: str,
        event_type: int,
        detail: Mapping[str, object] | None = None,
        *,
        app_id: int | None = None,
        room_id: str = "",
        sequence: int = 0,
    ) -> None:
        """Make this callback due at once, whether there is such a task or not; ValueError without a secret."""
        owner = self._owner(app_id)
        if not self.outbox.has_secret(owner):
            raise ValueError(f"app_id {owner} has no callback secret")
        self.outbox.add(Callback(owner, task_id, room_id, self._time(), event_type, sequence, detail or {}))

    def delay_before_arrival(self) -> float:
        """Return the seconds a request travels: wait them before `answer`, which stamps the arrival."""
        return self.faults.one_way(self._dice)

    def answer(self, query: Mapping[str, str], body: bytes, method: str = "POST") -> Reply:
        """Take a call in as it arrives and return what becomes of it. `query` holds the decoded parameters.

        Whatever arrives counts against the limit, refused or not. A method other than POST is refused by
        100000007: the platform would allow GET, but both actions are documented as POST only.
        """
        stamp = self._monotonic()
        tally = self._tally(query)
        crowded = tally.arrive(stamp) > self._limit
        fault = self._strike(REPLIES, tally)
        reply = REPLIES[fault] if fault else self._outcome(query, body, method, stamp, crowded, tally)
        date = ("Date", formatdate(self._time(), usegmt=True))
        return replace(reply, headers=(*reply.headers, date), delay=self.faults.one_way(self._dice))

    def recordings(self) -> list[Truth]:
        """Return the truth about every recording, in the order of their `start`."""
        now = self._time()
        return [recording.truth(now) for recording in self._recordings]

    def stats(self) -> Stats:
        """Return the counts since the start or the last reset.

        `busiest_second` is the most calls of one app to one action that arrived in any (t - 1 s, t].
        """
        counts: dict[str, dict[str, Counts]] = {str(app_id): {} for app_id in self.apps}
        for (app_id, action), tally in self._tallies.items():
            counts[app_id][action] = tally.report()
        return {"apps": counts, "unattributed": self._unattributed.report(), "callbacks": {**self.outbox.counts}}

    def reset_stats(self) -> None:
        """Start counting anew, the busiest second included. The limit itself is unmoved."""
        for tally in (*self._tallies.values(), self._unattributed):
            tally.reset()
        self.outbox.reset()

    def arrivals(self, app_id: int, action: str = DESCRIBE) -> tuple[float, ...]:
        """Return the monotonic stamps of the calls that arrived since the last reset, 72,000 at most."""
        return tuple(self._tallies[str(app_id), action].arrivals)

    def _owner(self, app_id: int | None) -> int:
        owner = self.apps[0] if app_id is None else app_id
        if owner not in self.apps:
            raise ValueError(f"unknown app_id {owner}")
        return owner

    def _tally(self, query: Mapping[str, str]) -> Tally:
        return self._tallies.get((query.get("AppId", ""), query.get("Action", "")), self._unattributed)

    def _strike(self, names: Iterable[str], tally: Tally) -> str | None:
        fault = self.faults.strike(names, self._dice)
        if fault:
            tally.faults[fault] += 1
        return fault

    def _outcome(
        self, query: Mapping[str, str], body: bytes, method: str, stamp: float, crowded: bool, tally: Tally
    ) -> Reply:
        try:
            action = self._admit(query, method, stamp)
            if crowded:
                tally.refused_throttled += 1
                raise RefusalError(THROTTLED, f"request rate over limit of {self._limit} calls in a second")
            if fault := self._strike(_REFUSALS[action], tally):
                return json_reply(self._envelope(*REFUSALS[fault]))
            data = self._describe(query, body) if action == DESCRIBE else self._list(query, body)
        except RefusalError as refusal:
            tally.errors[refusal.code] += 1
            return json_reply(self._envelope(refusal.code, refusal.message))
        envelope = self._envelope(OK, "succeed") | {"Data": data}
        if self._strike(("garbage",), tally):
            return garbled(envelope, self._dice)
        tally.answered += 1
        return json_reply(envelope)

    def _admit(self, query: Mapping[str, str], method: str, stamp: float) -> str:
        action = query.get("Action")
        if not action:
            raise RefusalError(NO_ACTION, "Action is missing")
        if action not in _ACTIONS or method != "POST":
            raise RefusalError(UNSUPPORTED_ACTION, f"Action is not supported: {method} {action}")
        self._credentials.check(query, now=self._time(), stamp=stamp)
        return action

    def _envelope(self, code: int, message: str) -> dict[str, object]:
        self._requests += 1
        return {"Code": code, "Message": message, "RequestId": str(_FIRST_REQUEST_ID + self._requests)}

    def _describe(self, query: Mapping[str, str], body: bytes) -> dict[str, object]:
        now = self._time()
        recording = self._recordings.find(int(query["AppId"]), bodies.described_task(body))
        if recording is None or not self._visible(recording, now) or recording.began_at < now - self._window:
            raise RefusalError(NO_SUCH_TASK, "recording task does not exist")
        return recording.described(now)

    def _list(self, query: Mapping[str, str], body: bytes) -> dict[str, object]:
        now = self._time()
        asked = bodies.listing(body, now=now, window=self._window)
        started = self._recordings.started_between(int(query["AppId"]), asked.start_ms, asked.end_ms)
        visible = (recording for recording in started if self._visible(recording, now))
        return self._list_reading.data(visible, asked, now)

    def _visible(self, recording: Recording, now: float) -> bool:
        return now - recording.began_at >= self.faults.visible_after
