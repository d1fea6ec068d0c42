"""Turns at the provider: a permit, the wait for one, and the one-second rule on this process's own clock."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from app.clock import Clock
from app.core.budget import COOL_DOWN, DOUBT
from app.provider.client import Call
from app.store import budget as store


@dataclass(frozen=True, slots=True)
class Turn:
    """A permit in our hands: make the call within its time, then settle it."""

    permit: store.Permit
    place: int
    call: Call


@dataclass(frozen=True, slots=True)
class Wait:
    """No permit before ``until`` (monotonic time); if ``probe``, only the answer to a probe can free one sooner.

    ``paused``: only probes are sent until one is answered, or operators switched the calls off.
    """

    until: float
    probe: bool = False
    paused: bool = False


class OwnClockRule:
    """The one-second rule once more, for this process alone, on its own monotonic clock: ``share`` places for calls."""

    def __init__(self, share: int) -> None:
        self._free_at = [0.0] * share
        self._given_up_at: dict[int, float] = {}

    def wait(self, now: float) -> Wait | None:
        """None if a place is free."""
        if min(self._free_at) <= now:
            return None
        known = [at for place, at in enumerate(self._free_at) if place not in self._given_up_at]
        return Wait(min([*known, now + COOL_DOWN]), probe=not known)

    def take(self) -> int:
        place = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        self._given_up_at.pop(place, None)
        self._free_at[place] = math.inf
        return place

    def release(self, place: int, free_at: float) -> None:
        self._free_at[place] = free_at

    def give_up(self, place: int, now: float) -> None:
        self._given_up_at[place] = now
        self._free_at[place] = now + DOUBT

    def believe(self, call: Call) -> None:
        """A call was answered: what was given up before it was sent has arrived by now."""
        for place, given_up_at in list(self._given_up_at.items()):
            if call.sent_at is not None and call.answered_at is not None and given_up_at < call.sent_at:
                del self._given_up_at[place]
                self._free_at[place] = call.answered_at + COOL_DOWN


async def sleep(clock: Clock, seconds: float, unless: asyncio.Event) -> None:
    """Sleep for so many seconds, or until the event happens."""
    if seconds <= 0:
        return
    ends = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(unless.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
