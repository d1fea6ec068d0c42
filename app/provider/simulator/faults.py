"""What can go wrong at the simulated provider, and how likely it is to."""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace

from app.provider.simulator.answers import (
    NO_SUCH_TASK,
    SYSTEM_ERROR,
    THROTTLED,
    Reply,
    json_reply,
)

_PAGE = b"<!doctype html><title>Service unavailable</title><h1>The service is being maintained</h1>\n"
_HTML = (("Content-Type", "text/html"),)


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities from 0 to 1 of each fault, and four times in seconds.

    Round trips last `rtt`, half of it before the call arrives and half after, and up to `jitter` more each
    way. A task is unknown until `visible_after` its start. A callback is sent `callback_delay` late, and one
    that is reordered up to 10 s later still. These times do not shrink with the simulator's speed.
    """

    http_500: float = 0.0
    html: float = 0.0
    reset: float = 0.0
    hang: float = 0.0
    garbage: float = 0.0
    throttled: float = 0.0
    system_error: float = 0.0
    not_visible: float = 0.0
    rtt: float = 0.0
    jitter: float = 0.0
    visible_after: float = 0.0
    callback_lost: float = 0.0
    callback_repeated: float = 0.0
    callback_reordered: float = 0.0
    callback_delay: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _checked(name, value)

    def merged(self, changes: Mapping[str, object]) -> "Faults":
        """Return these with some changed; ValueError names the first unknown name or bad value."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise ValueError(f"unknown fault {name!r}; known are {', '.join(known)}")
        return replace(self, **{name: _checked(name, value) for name, value in changes.items()})

    def one_way(self, dice: random.Random) -> float:
        """Return the seconds that a message takes in one direction."""
        return self.rtt / 2 + (dice.uniform(0.0, self.jitter) if self.jitter else 0.0)

    def strike(self, names: Iterable[str], dice: random.Random) -> str | None:
        """Roll for each of these faults in turn and return the first that happens."""
        return next((name for name in names if dice.random() < getattr(self, name)), None)

    def fate(self, dice: random.Random) -> "Fate":
        """Roll for what becomes of one callback."""
        copies = 0 if dice.random() < self.callback_lost else 2 if dice.random() < self.callback_repeated else 1
        held_back = dice.uniform(0.0, LONGEST_HOLD) if dice.random() < self.callback_reordered else 0.0
        return Fate(copies, self.callback_delay + held_back)


@dataclass(frozen=True, slots=True)
class Fate:
    """How often a callback is sent (not at all, once or twice), and how many seconds late."""

    copies: int = 1
    delay: float = 0.0


LONGEST_HOLD = 10.0
_SECONDS = frozenset({"rtt", "jitter", "visible_after", "callback_delay"})
_MOST_SECONDS = 86400.0

# The call arrives, but what comes back (if anything) is not the gateway's.
REPLIES: dict[str, Reply] = {
    "http_500": Reply(500, b"Internal Server Error\n", (("Content-Type", "text/plain"),)),
    "html": Reply(200, _PAGE, _HTML),
    "reset": Reply(reset=True),
    "hang": Reply(hang=True),
}

# The gateway answers, but refuses: code and message.
REFUSALS: dict[str, tuple[int, str]] = {
    "throttled": (THROTTLED, "request rate over limit (simulated)"),
    "system_error": (SYSTEM_ERROR, "system error (simulated)"),
    "not_visible": (NO_SUCH_TASK, "recording task does not exist (simulated)"),
}


def garbled(envelope: Mapping[str, object], dice: random.Random) -> Reply:
    """Return an answer with HTTP 200 that no client can take at its word: cut off, or of the wrong types."""
    return dice.choice(_GARBLINGS)(envelope)


def _cut_off(envelope: Mapping[str, object]) -> Reply:
    whole = json_reply(envelope)
    return replace(whole, body=whole.body[: len(whole.body) // 2])


def _with_data(data: Callable[[dict[str, object]], object]) -> Callable[[Mapping[str, object]], Reply]:
    def garble(envelope: Mapping[str, object]) -> Reply:
        true = envelope.get("Data")
        return json_reply({**envelope, "Data": data(true if isinstance(true, dict) else {})})

    return garble


_GARBLINGS: tuple[Callable[[Mapping[str, object]], Reply], ...] = (
    _cut_off,
    _with_data(lambda data: {**data, "Status": "two"}),
    _with_data(lambda data: {**data, "RecordFiles": "none", "TaskidList": "none", "TaskList": "none"}),
    _with_data(lambda data: json.dumps(data)),
)


def _checked(name: str, value: object) -> float:
    most = _MOST_SECONDS if name in _SECONDS else 1.0
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        unit = "seconds" if name in _SECONDS else "a probability"
        raise ValueError(f"{name} must be {unit} from 0 to {most:g}")
    return float(value)
