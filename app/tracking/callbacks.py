"""Takes the provider's callbacks in: checks who signed them, keeps them, and hurries the polls they ask for.

Receipt and hurry are committed before the answer. What arrives while a commit is under way is committed together with
the next: under load a transaction carries many callbacks, and each still waits for the disk.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import product

import structlog

from app import metrics
from app.clock import Clock
from app.core.recording import Polling, Task
from app.core.schedule import Urgency
from app.core.told import CallbackEvent
from app.errors import CallbackRefused, CallbackUnreadable
from app.provider.callbacks import Letter, read
from app.store import callbacks as store
from app.store import tasks as task_store
from app.store.bell import after_commit
from app.store.callbacks import ACCEPTED, REPEAT, SUSPICIOUS, CallbackFilter, Receipt, Stored
from app.store.connection import Connection
from app.store.engine import Database
from app.store.many import one_trip
from app.store.pages import Page
from app.tracking.hearing import REMEMBER, Heard, Hearing
from app.tracking.registration import Registration
from app.tracking.together import Together

log = structlog.get_logger(__name__)

FRESH = timedelta(minutes=10)
"""How far a callback's timestamp may lie from now, either way."""

TOGETHER = 100
"""Callbacks in one transaction at most."""

KEPT_OF_ONE_SIGNATURE = 20
"""Receipts with one signature that are kept; the provider sends a callback three times at most."""

REASONS = (
    "app_unknown",
    "no_callback_secret",
    "signature_wrong",
    "timestamp_malformed",
    "stale",
    CallbackUnreadable.code,
    "signature_used_up",
)
"""Why callbacks come to nothing."""

_TASK_ID = re.compile(r"[A-Za-z0-9_-]{16}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A callback whose signature is right, waiting to be committed."""

    letter: Letter
    app_id: int
    at: datetime


class Callbacks:
    """Receives callbacks and tells what arrived. ``refused``: how many came to nothing here, by reason."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        hearing: Hearing,
        registration: Registration,
        *,
        secrets: Mapping[int, str | None],
        discover: bool,
    ) -> None:
        self._database, self._clock, self._hearing, self._registration = database, clock, hearing, registration
        self._secrets, self._discover = secrets, discover
        self._committed = Together(database.write, self._take_in, most=TOGETHER, patient=not database.is_sqlite)
        self.refused: Counter[str] = Counter()
        for event, verdict in product(CallbackEvent, (ACCEPTED, REPEAT, SUSPICIOUS)):
            metrics.CALLBACKS.labels(event, verdict)
        for reason in REASONS:
            metrics.CALLBACKS_REFUSED.labels(reason)

    def can_hear(self, app_id: int) -> bool:
        """Whether an app's callbacks can be told from anybody's."""
        return self._secrets.get(app_id) is not None

    async def receive(self, body: bytes) -> None:
        """Take in a callback; it is stored when this returns. Raises CallbackRefused or CallbackUnreadable."""
        now = self._clock.now()
        try:
            letter = read(body)
            app_id = self._check(letter, now=now)
        except (CallbackRefused, CallbackUnreadable) as error:
            self._tell(error)
            raise
        verdict = await self._committed(Arrival(letter, app_id, now))
        log.log(
            logging.WARNING if verdict == SUSPICIOUS else logging.INFO,
            "callback",
            task_id=letter.task_id,
            app_id=app_id,
            callback=letter.callback.event,
            verdict=verdict or "not kept",
        )

    async def list_callbacks(self, wanted: CallbackFilter, *, before: int | None, limit: int) -> Page[Stored]:
        """A page of what arrived, newest first."""
        async with self._database.read() as connection:
            return await store.list_callbacks(connection, wanted, before=before, limit=limit)

    # -- who signed it

    def _check(self, letter: Letter, *, now: datetime) -> int:
        """The app it comes from. Raises CallbackRefused."""
        if letter.app_id is None or letter.app_id not in self._secrets:
            raise CallbackRefused("app_unknown", f"no app {letter.app_id} is configured")
        secret = self._secrets[letter.app_id]
        if secret is None:
            raise CallbackRefused("no_callback_secret", "no callback secret is configured for this app")
        if not letter.is_signed_by(secret):
            raise CallbackRefused("signature_wrong", "the signature does not fit timestamp, nonce and callback secret")
        if not letter.timestamp or not re.fullmatch(r"[1-9][0-9]{0,10}", letter.timestamp):
            raise CallbackRefused("timestamp_malformed", "the timestamp is no Unix time in seconds")
        if abs(now.timestamp() - int(letter.timestamp)) > FRESH.total_seconds():
            raise CallbackRefused("stale", "the timestamp lies more than 10 minutes from now")
        return letter.app_id

    def _tell(self, error: CallbackRefused | CallbackUnreadable) -> None:
        reason = error.reason if isinstance(error, CallbackRefused) else error.code
        if not self.refused[reason]:
            log.warning("callback refused", reason=reason, detail=error.detail, further="counted in /v1/stats")
        self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        self.refused[reason] += 1
        metrics.CALLBACKS_REFUSED.labels(reason).inc()

    # -- keeping it

    async def _take_in(self, connection: Connection, batch: list[Arrival]) -> list[str | None]:
        """Keep them and apply what they tell; the verdict on each."""
        now = self._clock.now()
        ids = sorted({one.letter.task_id for one in batch if one.letter.task_id})
        tasks = await task_store.find_tasks(connection, ids, lock=True) if ids else {}
        # Only under a lock: a copy may be coming in at another process, which waits for it and then sees ours.
        await store.hold(connection, [one.letter.signed for one in batch if one.letter.task_id not in tasks])
        judged = await self._judge(connection, batch)
        buried = await store.buried(connection, [id_ for id_ in ids if id_ not in tasks], now=now)
        if self._discover:
            tasks |= await self._adopt(connection, batch, judged, {*tasks, *buried}, now=now)
        heard: dict[str, list[Heard]] = {}
        receipts = []
        for one, verdict in zip(batch, judged, strict=True):
            task = tasks.get(one.letter.task_id or "")
            known = task is not None and task.app_id == one.app_id
            if task is not None and known and verdict in (ACCEPTED, SUSPICIOUS):
                callback = one.letter.callback if verdict == ACCEPTED else None
                heard.setdefault(task.task_id, []).append(Heard(callback, one.at))
            if verdict is not None:
                keep_body = verdict == ACCEPTED and one.letter.task_id not in buried
                receipts.append(_receipt(one, verdict, known=known, keep_body=keep_body))
        async with one_trip(connection):
            await store.add(connection, receipts)
            await self._hearing.hear(connection, tasks, heard, now=now)
        after_commit(connection, partial(_count, batch, judged))
        return judged

    async def _judge(self, connection: Connection, batch: list[Arrival]) -> list[str | None]:
        """A verdict on each; None for one of a signature that came too often to keep any more of it."""
        seen = await store.seen(connection, sorted({one.letter.signed for one in batch}))
        verdicts: list[str | None] = []
        for one in batch:
            said, times = seen.get(one.letter.signed, (one.letter.said, 0))
            seen[one.letter.signed] = (said, times + 1)
            verdict = ACCEPTED if times == 0 else REPEAT if said == one.letter.said else SUSPICIOUS
            if times >= KEPT_OF_ONE_SIGNATURE:
                self._refuse("signature_used_up")
            verdicts.append(verdict if times < KEPT_OF_ONE_SIGNATURE else None)
        return verdicts

    async def _adopt(
        self,
        connection: Connection,
        batch: list[Arrival],
        judged: list[str | None],
        not_these: set[str],
        *,
        now: datetime,
    ) -> dict[str, Task]:
        """Register tasks that nobody registered, since a callback shows that they exist."""
        unknown = {
            task_id: Task(
                task_id=task_id,
                app_id=one.app_id,
                registered_at=now,
                updated_at=now,
                registered_via="callback",
                polling=Polling(next_poll_at=now),
            )
            for one, verdict in zip(batch, judged, strict=True)
            if verdict == ACCEPTED and (task_id := one.letter.task_id or "") not in not_these
            if _TASK_ID.fullmatch(task_id)
        }
        return await self._registration.create(connection, unknown, Urgency.HURRIED, source="callback", now=now)


_callbacks = cache(metrics.CALLBACKS.labels)  # looking for them takes longer than counting


def _count(batch: list[Arrival], judged: list[str | None]) -> None:
    for one, verdict in zip(batch, judged, strict=True):
        if verdict is not None:
            _callbacks(one.letter.callback.event, verdict).inc()


def _receipt(one: Arrival, verdict: str, *, known: bool, keep_body: bool) -> Receipt:
    letter = one.letter
    return Receipt(
        received_at=one.at,
        app_id=one.app_id,
        task_id=letter.task_id,
        event_type=letter.callback.event_type,
        sequence=letter.sequence,
        verdict=verdict,
        forget_at=None if known else one.at + REMEMBER,
        signed=letter.signed,
        said=letter.said,
        body=letter.text if keep_body else None,
    )
