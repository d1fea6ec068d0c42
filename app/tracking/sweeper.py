"""Sweeps the provider's list of running tasks, so that an end whose callback was lost is noticed within seconds.

The list only hurries polls and, if wished, registers tasks that nobody registered. A service that follows nothing and
is to discover nothing does not sweep; one whose list is refused or garbled says so and lives without it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from app.clock import Clock
from app.core.recording import QUERY_WINDOW, LastError, Polling, Task
from app.core.schedule import Urgency
from app.core.sweeping import MARGIN, Known, Listed, Span, compare, slices
from app.errors import AnswerUnknown, ProviderError
from app.provider.client import PAGE_SIZE, Call
from app.provider.task_list import ListPage
from app.store import callbacks as callback_store
from app.store import polls
from app.store import sweeps as store
from app.store.engine import Database
from app.tracking.budget import Budget
from app.tracking.registration import Registration

log = structlog.get_logger(__name__)

AT_ONCE = 4
"""Pages asked for at a time."""

LEASE = timedelta(minutes=2)
"""How long a sweep stays with its process after the last page it asked for."""

LOOK = 5.0
"""Seconds between two looks at whether a sweep is due, unless it is due sooner, and has anything to sweep."""

PAGES_IN_A_ROW = 4
"""Pages of a span that are read one after the other; a span with more is cut."""

MOST_PAGES = 2000
"""Pages of a span that cannot be cut; a list that never ends must not hold up the sweep for ever."""

MOST_LISTED = 100_000
"""Tasks of one sweep; an app has 1,000 at a time at most, so a list that goes on makes things up."""

IDS_AT_ONCE = 500

_TASK_ID = re.compile(r"[A-Za-z0-9_-]{16}")


class Sweeper:
    """The sweeps of all apps. ``stop()`` ends the one under way between two pages."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        budgets: Sequence[Budget],
        registration: Registration,
        *,
        every: timedelta,
        discover: bool,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._apps = [_AppSweeper(database, clock, budget, registration, every, discover, alive) for budget in budgets]

    async def open(self) -> None:
        """Create the rows that are missing."""
        for app in self._apps:
            await app.open()

    async def run_once(self) -> int:
        """Sweep the apps whose sweep is due; the number of tasks listed."""
        return sum(await asyncio.gather(*(app.run_once() for app in self._apps)))

    def stop(self) -> None:
        for app in self._apps:
            app.stopped.set()


@dataclass(slots=True)
class _Sweep:
    """A sweep under way: the spans still to read, and what was read."""

    running: bool
    left: list[Span]
    listed: dict[str, Listed] = field(default_factory=dict)
    calls: int = 0


class _NotNow(Exception):
    """The service is stopping, or only probes are sent."""


class _AppSweeper:
    """The sweeps of one app."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        budget: Budget,
        registration: Registration,
        every: timedelta,
        discover: bool,
        alive: Callable[[], None],
    ) -> None:
        self._database, self._clock, self._budget, self._registration = database, clock, budget, registration
        self._every, self._discover, self._alive = every, discover, alive
        self._app_id = budget.app_id
        self._starts: list[datetime] = []
        self._look_at = 0.0
        self.stopped = asyncio.Event()

    async def open(self) -> None:
        async with self._database.write() as connection:
            await store.ensure(connection, self._app_id, now=self._clock.now())

    async def run_once(self) -> int:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        if monotonic < self._look_at:
            return 0
        async with self._database.read() as connection:
            found = await store.find(connection, self._app_id)
            if found is None or found.next_at > now:
                wait = (found.next_at - now).total_seconds() if found else 0.0
                self._look_at = monotonic + min(wait, LOOK)
                return 0
            if not self._discover and not await store.any_running(connection, self._app_id):
                self._look_at = monotonic + min(self._every.total_seconds(), LOOK)
                return 0
        async with self._database.write(durable=False) as connection:
            if not await store.take(connection, self._app_id, now=now, until=now + LEASE):
                return 0
        try:
            return await self._sweep(now, found.completed_at)
        except _NotNow:
            await self._put_off(now)
        except ProviderError as error:
            await self._fail(error, known=found.error)
        except BaseException:
            await self._put_off(now + self._every)
            raise
        return 0

    async def _put_off(self, at: datetime) -> None:
        async with self._database.write(durable=False) as connection:
            await store.put_off(connection, self._app_id, at)

    async def _fail(self, error: ProviderError, *, known: Mapping[str, object] | None) -> None:
        now = self._clock.now()
        if known is None or known.get("code") != error.code:
            log.warning("sweep failed; ends are noticed by polls and callbacks", app_id=self._app_id, error=str(error))
        last = LastError(code=error.code, message=error.message, request_id=error.request_id, at=now)
        async with self._database.write(durable=False) as connection:
            await store.fail(connection, self._app_id, last, next_at=now + self._every)

    async def _sweep(self, now: datetime, last: datetime | None) -> int:
        window = Span(now - QUERY_WINDOW + MARGIN, now)
        async with self._database.read() as connection:
            known = await store.running(connection, self._app_id)
        seen = await self._read(_Sweep(running=True, left=slices(self._starts, window=window)))
        self._starts = [one.began_at for one in seen.listed.values() if one.began_at]
        calls = seen.calls
        if self._discover:
            # What began before the last sweep stood in its list of running tasks; the others may have ended since.
            since = max(window.start, last - MARGIN) if last else window.start
            ended = await self._read(_Sweep(running=False, left=[Span(since, now)]))
            await self._adopt([one for id_, one in ended.listed.items() if id_ not in known])
            calls += ended.calls
        await self._apply(known, seen.listed, began_at=now, calls=calls)
        return len(seen.listed)

    # -- reading the list

    async def _read(self, sweep: _Sweep) -> _Sweep:
        """Read all spans, a few pages at a time. Raises the first ProviderError."""
        ends = await asyncio.gather(*(self._reader(sweep) for _ in range(AT_ONCE)), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end
        return sweep

    async def _reader(self, sweep: _Sweep) -> None:
        try:
            while sweep.left:
                await self._read_span(sweep, sweep.left.pop())
        except BaseException:
            sweep.left.clear()  # it cannot become whole any more; calls under way are not cut off
            raise

    async def _read_span(self, sweep: _Sweep, span: Span) -> None:
        """Take in the tasks of a span; one of many pages is cut in two: tasks that end meanwhile shift the pages."""
        page, number = await self._ask(sweep, span, 1), 1
        if page.total and not page.tasks:
            raise AnswerUnknown("garbled", f"a list of {page.total} tasks shows none")
        if page.total is not None and page.total > PAGES_IN_A_ROW * PAGE_SIZE and (halves := span.halves()):
            sweep.left.extend(halves)
            return
        read: dict[str, Listed] = {}
        while page.tasks:
            read |= {one.task_id: one for one in page.tasks}
            if len(page.tasks) < PAGE_SIZE or len(read) == page.total or number == MOST_PAGES:
                break
            number += 1
            page = await self._ask(sweep, span, number)
        sweep.listed |= read
        if len(sweep.listed) > MOST_LISTED:
            raise AnswerUnknown("list_too_long", f"a list of more than {MOST_LISTED} tasks")

    async def _ask(self, sweep: _Sweep, span: Span, page: int) -> ListPage:
        turn = await self._budget.turn(self.stopped)
        if turn is None:
            raise _NotNow
        self._alive()
        sweep.calls += 1
        error: ProviderError | None = None
        try:
            return await self._list(span, turn.call, running=sweep.running, page=page)
        except ProviderError as trouble:
            error = trouble
            raise
        finally:
            self._budget.settle_own(turn, error)
            async with self._database.write(durable=False) as connection:
                await self._budget.settle(connection, turn, error)
                await store.put_off(connection, self._app_id, self._clock.now() + LEASE)

    async def _list(self, span: Span, call: Call, *, running: bool, page: int) -> ListPage:
        return await self._budget.provider.list_tasks(span, call, running=running, page=page)

    # -- what it means

    async def _apply(
        self, known: Mapping[str, Known], listed: Mapping[str, Listed], *, began_at: datetime, calls: int
    ) -> None:
        found = compare(known, listed)
        now = self._clock.now()
        due = [polls.Hurry(task_id, self._app_id, now, known[task_id].claim_no) for task_id in found.hurry]
        async with self._database.write(durable=False) as connection:
            await store.mark(connection, found.marks)
            await polls.hurry(connection, due, Urgency.HURRIED)
            await store.complete(
                connection,
                self._app_id,
                began_at=began_at,
                next_at=max(now, began_at + self._every),
                calls=calls,
                listed=len(listed),
            )
        if due:
            log.info("sweep hurries polls", app_id=self._app_id, tasks=len(due), listed=len(listed))
        if self._discover:
            await self._adopt(found.unknown)

    async def _adopt(self, listed: Sequence[Listed]) -> None:
        """Register tasks that nobody registered; what is no TaskId is none."""
        listed = [one for one in listed if _TASK_ID.fullmatch(one.task_id)]
        for first in range(0, len(listed), IDS_AT_ONCE):
            some = {one.task_id: one for one in listed[first : first + IDS_AT_ONCE]}
            async with self._database.read() as connection:
                there = await store.registered(connection, sorted(some))
                there |= await callback_store.buried(connection, sorted(some), now=self._clock.now())
            unknown = {task_id: one for task_id, one in some.items() if task_id not in there}
            if unknown:
                await self._register(unknown)

    async def _register(self, listed: Mapping[str, Listed]) -> None:
        now = self._clock.now()
        tasks = {
            task_id: Task(
                task_id=task_id,
                app_id=self._app_id,
                registered_at=now,
                updated_at=now,
                registered_via="sweep",
                room_id=one.room_id,
                began_at=one.began_at,
                polling=Polling(next_poll_at=now),
            )
            for task_id, one in listed.items()
        }
        async with self._database.write() as connection:
            await self._registration.create(connection, tasks, Urgency.BATCH, source="sweep", now=now)
