"""The least mean delay any polling could reach in this world, with one file each.

Calls are bought instead of rationed: at a price per call, each task can be looked at alone and its cheapest schedule of
polls found by dynamic programming over its age. What that costs, less the price of all calls there are, is a lower
bound for every policy that makes no more of them on average, whatever the price; the highest is the best bound.
A callback counts as proof and takes no time, nor does a call. Polls lie on a grid of ages, which costs about 1 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.recordings import LONGEST, UPLOAD, ended_by, mean_life

Floats = NDArray[np.float64]
Goal = Literal["ended", "settled"]

OLDEST = LONGEST / 2
"""Seconds of age up to which a recording is looked at; 0.3 % get older and are let off, which keeps the bound low."""

FARTHEST = 1500
"""Steps of the grid to the farthest next poll that is tried."""


def lower_bound(live: int, loss: float, rate: float, goal: Goal = "settled") -> float:
    """Mean seconds by which the goal is known late at best, with ``rate`` calls a second for ``live`` tasks.

    Infinite if the tasks whose callbacks are lost are more than the calls.
    """
    if loss == 0:
        return 0.0
    if loss * live / mean_life() > rate:
        return math.inf
    ages = Ages(step=int(min(max(live / rate / 10, 2), 20)))
    calls = rate * mean_life() / live  # for each task
    prices = np.geomspace(1e-4, 1e4, 25)
    for _ in range(2):
        bounds = cheapest(prices, loss, goal, ages) - prices * calls
        best = int(np.argmax(bounds))
        prices = np.geomspace(prices[max(best - 1, 0)], prices[min(best + 1, len(prices) - 1)], 25)
    return max(0.0, float(bounds.max()))


@dataclass(frozen=True)
class Ages:
    """A grid of ages, and how far along recordings of each age are."""

    step: int

    @cached_property
    def ended(self) -> Floats:
        """The share that is over."""
        return self._by_second[0][:: self.step]

    @cached_property
    def uploading(self) -> Floats:
        """The share that is over and whose file is still under way."""
        return self._by_second[1][:: self.step]

    @cached_property
    def _by_second(self) -> tuple[Floats, Floats]:
        ended = ended_by(np.arange(OLDEST + 1))
        uploading, stays = np.zeros_like(ended), math.exp(-1 / UPLOAD)
        for second in range(1, len(ended)):
            joining = (ended[second] - ended[second - 1]) * (1 + stays) / 2
            uploading[second] = uploading[second - 1] * stays + joining
        return ended, uploading


def cheapest(prices: Floats, loss: float, goal: Goal, ages: Ages) -> Floats:
    """What a task costs at each price, in seconds of delay: the delay itself and its calls, at the best times."""
    uploading = cheapest_upload(prices, loss) if goal == "settled" else np.zeros_like(prices)
    count = len(ages.ended)
    costs = np.zeros((len(prices), count))  # of a task seen to record at that age
    for now in range(count - 2, -1, -1):
        later = slice(now + 1, min(now + 1 + FARTHEST, count))
        records, uploads, done = whereabouts(ages, now, later)
        # A callback that arrives makes the poll that was planned unnecessary.
        asked = records + loss * uploads + loss**2 * done
        unnoticed = loss**2 * done + (loss * uploads if goal == "ended" else 0.0)
        delay = (np.cumsum(unnoticed) - unnoticed / 2) * ages.step
        found_uploading = loss * uploads + (1 - loss) * (1 - records)
        totals = prices[:, None] * asked + delay + records * costs[:, later] + uploading[:, None] * found_uploading
        costs[:, now] = totals.min(axis=1)
    first: Floats = costs[:, 0]
    return first


def whereabouts(ages: Ages, now: int, later: slice) -> tuple[Floats, Floats, Floats]:
    """Of the recordings not over now, the shares that record, upload and are done at each later age."""
    over, left = ages.ended[later] - ages.ended[now], 1 - ages.ended[now]
    passed = np.arange(1, len(over) + 1) * ages.step
    # Whoever uploads already is none of them.
    uploads = np.clip(ages.uploading[later] - ages.uploading[now] * np.exp(-passed / UPLOAD), 0, over)
    return 1 - over / left, uploads / left, (over - uploads) / left


def cheapest_upload(prices: Floats, loss: float) -> Floats:
    """What a task costs from when it is known to upload, at each price; an upload has no memory, so every poll
    finds the same question again."""
    waits = np.geomspace(0.05, 40_000, 2000)
    remains = np.exp(-waits / UPLOAD)
    delay = loss * (waits - UPLOAD * (1 - remains))
    asked = remains + loss * (1 - remains)
    costs: Floats = ((prices[:, None] * asked + delay) / (1 - remains)).min(axis=1)
    return costs
