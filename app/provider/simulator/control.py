"""The control routes, for people and tests. They are no provider calls: never counted, limited or faulty."""

import json
from collections.abc import Callable
from dataclasses import asdict

from app.provider.simulator.answers import Reply, json_reply
from app.provider.simulator.gateway import Simulator
from app.provider.simulator.lives import LIVES

PREFIX = "/simulator"
MOST_AT_ONCE = 10_000

ROUTES = {
    "GET /simulator": "this list, and the lives a recording can lead",
    "GET /simulator/recordings": "the truth about every recording",
    "POST /simulator/recordings": "start recordings; all optional: life, count, app_id, room_id, task_id, "
    "began_at (Unix seconds), duration and upload (seconds)",
    "POST /simulator/callbacks": "send a callback at once: task_id and event_type; optional: detail, sequence, app_id, "
    "room_id",
    "GET /simulator/faults": "probabilities of faults; rtt, jitter, visible_after and callback_delay in seconds",
    "PATCH /simulator/faults": "change some of them",
    "GET /simulator/stats": "calls by AppId and action, the busiest second, and callbacks",
    "POST /simulator/stats/reset": "start counting anew",
}

# Each argument of a recording and of a callback, with the types JSON may give it.
_RECORDING: dict[str, tuple[type, ...]] = {
    "life": (str,),
    "count": (int,),
    "app_id": (int,),
    "room_id": (str,),
    "task_id": (str,),
    "began_at": (int, float),
    "duration": (int, float),
    "upload": (int, float),
}
_CALLBACK: dict[str, tuple[type, ...]] = {
    "task_id": (str,),
    "event_type": (int,),
    "detail": (dict,),
    "sequence": (int,),
    "app_id": (int,),
    "room_id": (str,),
}
_CALLED: dict[type, str] = {str: "string", dict: "object"}


def answer(simulator: Simulator, method: str, path: str, body: bytes) -> Reply:
    """Answer a control route. 400 for bad input, 404 for no such path, 405 for the wrong method."""
    act = _ACTS.get((method, path))
    if act is None:
        known = any(path == at for _, at in _ACTS)
        return error(405, f"{method} is not allowed here") if known else error(404, f"there is no {path}")
    try:
        return act(simulator, body)
    except ValueError as wrong:
        return error(400, str(wrong))


def error(status: int, message: str) -> Reply:
    """Return an error in the control routes' form."""
    return json_reply({"error": message}, status)


def _index(simulator: Simulator, body: bytes) -> Reply:
    about = {name: life.about for name, life in LIVES.items()}
    return json_reply({"routes": ROUTES, "lives": about, "apps": simulator.apps})


def _recordings(simulator: Simulator, body: bytes) -> Reply:
    return json_reply({"recordings": simulator.recordings()})


def _start(simulator: Simulator, body: bytes) -> Reply:
    arguments = _arguments(body, _RECORDING)
    count = arguments.pop("count", 1)
    if not isinstance(count, int) or not 1 <= count <= MOST_AT_ONCE:
        raise ValueError(f"count must be 1 to {MOST_AT_ONCE}")
    if count > 1 and "task_id" in arguments:
        raise ValueError("a task_id can be given to one recording only")
    start: Callable[..., str] = simulator.start
    return json_reply({"task_ids": [start(**arguments) for _ in range(count)]}, 201)


def _call_back(simulator: Simulator, body: bytes) -> Reply:
    arguments = _arguments(body, _CALLBACK)
    missing = [name for name in ("task_id", "event_type") if name not in arguments]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    call_back: Callable[..., None] = simulator.call_back
    call_back(**arguments)
    return json_reply({}, 202)


def _faults(simulator: Simulator, body: bytes) -> Reply:
    return json_reply(asdict(simulator.faults))


def _change_faults(simulator: Simulator, body: bytes) -> Reply:
    simulator.faults = simulator.faults.merged(_object(body))
    return _faults(simulator, body)


def _stats(simulator: Simulator, body: bytes) -> Reply:
    return json_reply(simulator.stats())


def _reset_stats(simulator: Simulator, body: bytes) -> Reply:
    simulator.reset_stats()
    return _stats(simulator, body)


_ACTS: dict[tuple[str, str], Callable[[Simulator, bytes], Reply]] = {
    ("GET", PREFIX): _index,
    ("GET", f"{PREFIX}/recordings"): _recordings,
    ("POST", f"{PREFIX}/recordings"): _start,
    ("POST", f"{PREFIX}/callbacks"): _call_back,
    ("GET", f"{PREFIX}/faults"): _faults,
    ("PATCH", f"{PREFIX}/faults"): _change_faults,
    ("GET", f"{PREFIX}/stats"): _stats,
    ("POST", f"{PREFIX}/stats/reset"): _reset_stats,
}


def _arguments(body: bytes, known: dict[str, tuple[type, ...]]) -> dict[str, object]:
    arguments = _object(body)
    for name, value in arguments.items():
        if name not in known:
            raise ValueError(f"unknown member {name!r}; known are {', '.join(known)}")
        if not isinstance(value, known[name]) or isinstance(value, bool):
            raise ValueError(f"{name} must be a JSON {_CALLED.get(known[name][0], 'number')}")
    return arguments


def _object(body: bytes) -> dict[str, object]:
    try:
        members = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise ValueError("the body must be a JSON object")
    return members
