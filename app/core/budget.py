"""How the call budget of one app and action follows what the calls come to. Pure; times are seconds on its clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

COOL_DOWN = 1.005
"""Seconds from an answer to the next use of its permit. The limit counts calls in any second; 5 ms are for rounding."""

CALL = 8.0
"""Seconds a call may take in all, from before its permit was claimed to the last byte of its answer."""

LEASE = 10.0
"""Seconds a permit stays with its holder; longer than the longest call plus a second."""

DOUBT = 300.0
"""Seconds after which a call that was never answered is believed not to arrive any more."""

HEAD_START = 0.1
"""Seconds for which a permit that came free waits for the process that used it last, before any other may take it.

That process knows to the millisecond when it comes free; without it all would wake up to quarrel about each permit.
"""

PAUSE_AFTER = 5
"""This many calls in a row without a good answer pause the app."""

PROBE_EVERY = 1.0
REFUSED_PROBE_EVERY = 60.0
"""Seconds between probes of an app that is paused for being unavailable, and for being refused."""

HALVE_EVERY = 2.0
REGAIN_EVERY = 10.0
"""Throttled: at most one halving in 2 s; one permit back for every 10 s without a refusal."""


class Result(Enum):
    """What a call came to, as far as the app is concerned."""

    GOOD = "answered"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """What an app's calls have come to lately; one row for all processes."""

    cut_to: int | None = None
    """Permits left after the last throttling; None: never throttled."""
    cut_at: float = 0.0
    refused_at: float = 0.0
    misses: int = 0
    """Calls in a row without a good answer."""
    paused: str | None = None
    """Why no call is made but probes: `unavailable`, or the code of a refusal that no retry mends."""
    probe_at: float = 0.0
    """When the next probe may be sent."""
    switched_off: bool = False
    cap: int | None = None
    """What operators set: no call at all, not even probes; permits in use at most."""

    def allowed(self, limit: int, *, now: float) -> int:
        """How many of ``limit`` permits may be in use now."""
        limit = limit if self.cap is None else min(limit, self.cap)
        if self.cut_to is None:
            return limit
        since = now - self.refused_at
        if since < 0:  # the clock stepped back, or the machine was started anew
            return limit
        return min(limit, self.cut_to + int(since / REGAIN_EVERY))

    def probe_interval(self) -> float:
        return PROBE_EVERY if self.paused in (None, UNAVAILABLE) else REFUSED_PROBE_EVERY


UNAVAILABLE = "unavailable"


def after(state: AppState, result: Result, *, reason: str, limit: int, now: float) -> AppState:
    """The state after a call; ``reason`` is the error's code."""
    if result is Result.GOOD:
        return replace(state, misses=0, paused=None)
    if result is Result.THROTTLED:
        return _throttled(replace(state, misses=0, paused=None), limit=limit, now=now)
    if result is Result.REFUSED:
        return replace(state, misses=0, paused=reason, probe_at=now + REFUSED_PROBE_EVERY)
    misses = state.misses + 1
    if misses < PAUSE_AFTER or state.paused:
        return replace(state, misses=misses)
    return replace(state, misses=misses, paused=UNAVAILABLE, probe_at=now + PROBE_EVERY)


def _throttled(state: AppState, *, limit: int, now: float) -> AppState:
    if state.cut_to is not None and 0 <= now - state.cut_at < HALVE_EVERY:
        return replace(state, refused_at=now)
    return replace(state, cut_to=max(1, state.allowed(limit, now=now) // 2), cut_at=now, refused_at=now)
