"""How much one caller may ask of what all share: requests a second, and places to wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """Each caller may ask ``rate`` times at once, and ``rate`` times a second from then on: a token bucket each.

    A bucket is kept for every caller that ever came: give it names of known ones, not what strangers make up.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._buckets: dict[str | None, _Bucket] = {}

    def take(self, caller: str | None, *, now: float) -> int | None:
        """How many more requests could follow this one at once; None: this one comes too soon, and costs nothing.

        ``now``: seconds that never go back.
        """
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(self.rate, now)
        tokens = min(self.rate, bucket.tokens + (now - bucket.at) * self.rate)
        passes = tokens >= 1
        bucket.tokens, bucket.at = tokens - passes, now
        return int(bucket.tokens) if passes else None


def may_wait(held: Mapping[str | None, int], caller: str | None, *, callers: int, most: int) -> bool:
    """Whether a caller gets one more of the ``most`` places to wait, of which ``held`` are taken by each.

    Half of them is divided among the ``callers`` there may be, so each has its share whatever the others do; the rest
    is for whoever comes first.
    """
    share = most // (2 * callers)
    if held[caller] < share:
        return True
    beyond = sum(max(0, number - share) for number in held.values())
    return beyond < most - share * callers
