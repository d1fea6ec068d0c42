"""What arrived at the gateway: the limit in a sliding second, the busiest second, and all counts."""

from collections import Counter, deque
from typing import Literal, TypedDict

ARRIVALS_KEPT = 72_000  # an hour at 20 a second


class Counts(TypedDict):
    """Counts of calls: `errors` by return code, refusals over the limit among them; `faults` by name."""

    calls: int
    answered: int
    refused_throttled: int
    errors: dict[str, int]
    faults: dict[str, int]
    busiest_second: int


class CallbackCounts(TypedDict):
    """Counts of callbacks.

    `lost` ones were dropped before sending, `repeated` ones sent in two copies. Each copy ends as `answered`
    (by a 2xx) or `given_up`; `sent` counts all attempts at it.
    """

    sent: int
    lost: int
    repeated: int
    answered: int
    given_up: int


Outcome = Literal["sent", "lost", "repeated", "answered", "given_up"]


class Stats(TypedDict):
    """The counts by AppId (as text) and action, of the calls that belong to none, and of the callbacks."""

    apps: dict[str, dict[str, Counts]]
    unattributed: Counts
    callbacks: CallbackCounts


class SlidingSecond:
    """Counts the arrivals in (t - 1 s, t] for the arrival at t. Stamps are seconds and never decrease."""

    def __init__(self) -> None:
        self._stamps: deque[float] = deque()

    def arrive(self, stamp: float) -> int:
        """Take in an arrival and return how many there were in the second ending with it, itself included."""
        while self._stamps and self._stamps[0] <= stamp - 1.0:
            self._stamps.popleft()
        self._stamps.append(stamp)
        return len(self._stamps)


class Tally:
    """The calls of one app to one action. Each ends up in exactly one of `answered`, `errors` and `faults`.

    The busiest second is exact: a window with the most arrivals can be moved until it ends with one of them.
    """

    def __init__(self) -> None:
        self._limited = SlidingSecond()
        self.reset()

    def reset(self) -> None:
        """Start counting anew. The limit is unmoved: arrivals of the last second still count against it."""
        self._measured = SlidingSecond()
        self.busiest_second = 0
        self.calls = 0
        self.answered = 0
        self.errors: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.refused_throttled = 0
        self.arrivals: deque[float] = deque(maxlen=ARRIVALS_KEPT)

    def arrive(self, stamp: float) -> int:
        """Record an arrival; return how many calls the second ending with it has seen."""
        self.calls += 1
        self.arrivals.append(stamp)
        self.busiest_second = max(self.busiest_second, self._measured.arrive(stamp))
        return self._limited.arrive(stamp)

    def report(self) -> Counts:
        """Return the counts, fit for JSON."""
        return {
            "calls": self.calls,
            "answered": self.answered,
            "refused_throttled": self.refused_throttled,
            "errors": {str(code): count for code, count in sorted(self.errors.items())},
            "faults": dict(sorted(self.faults.items())),
            "busiest_second": self.busiest_second,
        }
