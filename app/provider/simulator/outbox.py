"""The callbacks still to come, and the count of what became of the others. No I/O: a sender asks what is due."""

import random
from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from itertools import count, dropwhile

from app.provider.simulator.callbacks import Callback, callbacks
from app.provider.simulator.faults import Fate, Faults
from app.provider.simulator.recordings import Recording
from app.provider.simulator.traffic import CallbackCounts, Outcome

_NONCES = 10**9


class Outbox:
    """The callbacks of the apps that have a callback secret. Times are Unix seconds."""

    def __init__(self, secrets: Mapping[int, str], seed: int) -> None:
        self._secrets = dict(secrets)
        # Dice of its own, so that what happens to calls does not depend on the callbacks between them.
        self._dice = random.Random(seed)
        # A recording is in the heap once, by its next callback; the others are made when they are needed.
        self._next: list[tuple[float, int, Callback, Iterator[Callback]]] = []
        self._numbers = count()
        self.reset()

    def has_secret(self, app_id: int) -> bool:
        """Tell whether this app's callbacks are sent at all."""
        return app_id in self._secrets

    def follow(self, recording: Recording, now: float) -> None:
        """Take in what a recording has still to say after `now`."""
        if self.has_secret(recording.app_id):
            self._queue(dropwhile(lambda callback: callback.moment <= now, callbacks(recording)))

    def add(self, callback: Callback) -> None:
        """Take in one more callback, of an app that has a secret."""
        self._queue(iter((callback,)))

    def due(self, now: float) -> list[Callback]:
        """Return the callbacks due by `now`, by moment; each is returned once."""
        found = []
        while self._next and self._next[0][0] <= now:
            _, _, callback, later = heappop(self._next)
            found.append(callback)
            self._queue(later)
        return found

    def body(self, callback: Callback, now: float) -> bytes:
        """Return what is sent at `now`, with a new nonce."""
        nonce = str(self._dice.randrange(_NONCES))
        return callback.body(self._secrets[callback.app_id], nonce, str(int(now)))

    def fate(self, faults: Faults) -> Fate:
        """Roll for what becomes of a callback, and count it if it is lost or repeated."""
        fate = faults.fate(self._dice)
        if fate.copies != 1:
            self.note("repeated" if fate.copies else "lost")
        return fate

    def note(self, outcome: Outcome) -> None:
        """Count one of these."""
        self.counts[outcome] += 1

    def reset(self) -> None:
        """Start counting anew; what is still to come stays."""
        self.counts: CallbackCounts = {"sent": 0, "lost": 0, "repeated": 0, "answered": 0, "given_up": 0}

    def _queue(self, coming: Iterator[Callback]) -> None:
        callback = next(coming, None)
        if callback is not None:
            heappush(self._next, (callback.moment, next(self._numbers), callback, coming))
