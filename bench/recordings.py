"""The recordings of the benchmark's world: when each begins, how long it takes, and which callbacks about it get lost.

They start as a Poisson process, and the world is as old as the longest recording: at time 0 it is in its steady state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from statistics import NormalDist, fmean

import numpy as np

MEDIAN, SIGMA, LONGEST = 2700.0, 0.8, 86400.0
"""Lengths of recordings: lognormal, cut at a day."""

UPLOAD = 60.0
"""Mean seconds of an upload; exponential."""

CALLBACK = 1.0
"""Seconds from what happened to the callback that tells of it."""

REGISTERED = 1.0
"""Seconds from a recording's start to its registration."""


@dataclass(frozen=True)
class Recording:
    """One recording; times are seconds on the benchmark's clock. ``uploads``: how long each file's upload takes."""

    began_at: float
    duration: float
    uploads: tuple[float, ...]
    chances: tuple[float, float]
    """Its luck with the callback of its end and with that of its files, in [0, 1)."""

    @cached_property
    def ended_at(self) -> float:
        return self.began_at + self.duration

    @cached_property
    def settled_at(self) -> float:
        """When its last file is where it stays."""
        return self.ended_at + max(self.uploads)

    def callbacks(self, loss: float) -> tuple[float | None, float | None]:
        """When the callbacks of its end and of its files arrive; None: lost, which happens with that probability."""
        told = (self.ended_at + CALLBACK, self.settled_at + CALLBACK)
        at_end, at_files = (None if chance < loss else at for chance, at in zip(self.chances, told, strict=True))
        return at_end, at_files


@dataclass(slots=True)
class Found:
    """When each recording's end and its last file's end became visible (infinite: not at all), for how many calls."""

    ended: list[float]
    settled: list[float]
    calls: int = 0

    @classmethod
    def nothing(cls, recordings: int) -> Found:
        return cls([math.inf] * recordings, [math.inf] * recordings)


def draw(live: int, until: float, *, most_files: int, seed: int) -> list[Recording]:
    """All recordings that are live at time 0 or start before ``until``, in the order in which they start.

    On average ``live`` of them record or upload at a time. Each makes 1 to ``most_files`` files.
    """
    dice = np.random.default_rng(seed)
    oldest = -(LONGEST + 3600.0)
    count = int(dice.poisson(live / mean_life(most_files) * (until - oldest)))
    began = np.sort(dice.uniform(oldest, until, count)).tolist()
    durations = np.minimum(dice.lognormal(math.log(MEDIAN), SIGMA, count), LONGEST).tolist()
    files = dice.integers(1, most_files, count, endpoint=True).tolist()
    uploads = dice.exponential(UPLOAD, (count, most_files)).tolist()
    chances = dice.random((count, 2)).tolist()
    every = (
        Recording(began[i], durations[i], tuple(uploads[i][: files[i]]), (chances[i][0], chances[i][1]))
        for i in range(count)
    )
    return [recording for recording in every if recording.settled_at > 0]


def mean_life(most_files: int = 1) -> float:
    """Mean seconds from a recording's start to its last file's end."""
    normal, cut = NormalDist(), math.log(LONGEST / MEDIAN) / SIGMA
    duration = MEDIAN * math.exp(SIGMA**2 / 2) * normal.cdf(cut - SIGMA) + LONGEST * normal.cdf(-cut)
    # The longest of k exponentials takes 1 + 1/2 + ... + 1/k times as long as one.
    slowest = [sum(Fraction(1, k) for k in range(1, files + 1)) for files in range(1, most_files + 1)]
    return duration + UPLOAD * fmean(slowest)


def ended_by(age: Sequence[float] | np.ndarray) -> np.ndarray:
    """The share of recordings that are over at these ages, were none cut."""
    normal = NormalDist(math.log(MEDIAN), SIGMA)
    return np.array([normal.cdf(math.log(seconds)) if seconds > 0 else 0.0 for seconds in age])
