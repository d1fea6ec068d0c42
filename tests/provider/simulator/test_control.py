import json
from dataclasses import asdict
from typing import Any

import pytest

from app.provider.simulator import DESCRIBE, LIVES, Faults, Simulator
from app.provider.simulator.control import ROUTES, answer
from tests.provider.simulator.caller import APP, NOW, OTHER_APP, Caller


def control(simulator: Simulator, route: str, body: object = None) -> tuple[int, Any]:
    """Call a control route, given as `METHOD /path`, and return the status and the decoded answer."""
    method, path = route.split()
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    reply = answer(simulator, method, path, sent)
    return reply.status, json.loads(reply.body)


def test_the_index_lists_the_routes_and_the_lives(simulator: Simulator) -> None:
    status, index = control(simulator, "GET /simulator")
    assert (status, index["lives"].keys(), index["routes"]) == (200, LIVES.keys(), ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_every_listed_route_exists(simulator: Simulator, route: str) -> None:
    assert control(simulator, route)[0] not in (404, 405)


def test_recordings_are_started_with_what_was_asked_for(simulator: Simulator) -> None:
    asked = {
        "life": "backup",
        "app_id": OTHER_APP,
        "room_id": "r",
        "task_id": "aaBBccDDeeFF_-01",
        "began_at": NOW - 65,
    }
    lengths = {"duration": 60, "upload": 10.5}
    assert control(simulator, "POST /simulator/recordings", asked | lengths) == (
        201,
        {"task_ids": ["aaBBccDDeeFF_-01"]},
    )
    status, listed = control(simulator, "GET /simulator/recordings")
    assert (status, listed["recordings"]) == (200, simulator.recordings())
    (truth,) = listed["recordings"]
    assert asked.items() <= truth.items()
    assert (truth["status"], truth["files"][0]["status"], truth["final_at"]) == (3, 2, NOW + 5.5)


def test_several_recordings_are_started_at_once(simulator: Simulator) -> None:
    _, started = control(simulator, "POST /simulator/recordings", {"life": "growing", "count": 3})
    assert [truth["task_id"] for truth in simulator.recordings()] == started["task_ids"]
    assert len(set(started["task_ids"])) == 3


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "JSON object"),
        ([], "JSON object"),
        ({"live": "normal"}, "live"),
        ({"life": "eternal"}, "eternal"),
        ({"life": 1}, "life"),
        ({"life": []}, "life"),
        ({"count": 0}, "count"),
        ({"count": 10_001}, "count"),
        ({"count": True}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": 2, "task_id": "A" * 16}, "task_id"),
        ({"task_id": "A"}, "task_id"),
        ({"app_id": "12345"}, "app_id"),
        ({"app_id": 4}, "app_id"),
        ({"room_id": None}, "room_id"),
        ({"began_at": "now"}, "began_at"),
        ({"duration": -1}, "duration"),
        ({"duration": 10**400}, "duration"),
        (b'{"upload": NaN}', "upload"),
    ],
)
def test_a_recording_that_cannot_be_started_gets_400_and_the_reason(
    simulator: Simulator, body: object, named: str
) -> None:
    status, wrong = control(simulator, "POST /simulator/recordings", body)
    assert (status, simulator.recordings()) == (400, [])
    assert named in wrong["error"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"event_type": 5}, "task_id"),
        ({"task_id": "A"}, "event_type"),
        ({"task_id": "A", "event_type": "5"}, "event_type"),
        ({"task_id": "A", "event_type": 5, "detail": []}, "detail"),
        ({"task_id": "A", "event_type": 5, "nonce": "1"}, "nonce"),
        ({"task_id": "A", "event_type": 5, "app_id": 4}, "app_id"),
        ({"task_id": "A", "event_type": 5}, "secret"),
    ],
)
def test_a_callback_that_cannot_be_sent_gets_400_and_the_reason(simulator: Simulator, body: object, named: str) -> None:
    status, wrong = control(simulator, "POST /simulator/callbacks", body)
    assert status == 400
    assert named in wrong["error"]


def test_faults_are_shown_and_merged(simulator: Simulator) -> None:
    control(simulator, "PATCH /simulator/faults", {"rtt": 0.2})
    merged = Faults(rtt=0.2, hang=0.5)
    assert control(simulator, "PATCH /simulator/faults", {"hang": 0.5}) == (200, asdict(merged))
    assert control(simulator, "GET /simulator/faults") == (200, asdict(merged))
    assert simulator.faults == merged


@pytest.mark.parametrize("body", [{"gremlins": 1}, {"hang": 2}, {"rtt": "slow"}, b"hang", {"rtt": 0.1, "hang": 7}])
def test_bad_faults_get_400_and_change_nothing(simulator: Simulator, body: object) -> None:
    status, wrong = control(simulator, "PATCH /simulator/faults", body)
    assert (status, simulator.faults) == (400, Faults())
    assert wrong["error"]


def test_stats_count_provider_calls_only_and_can_be_reset(caller: Caller) -> None:
    caller.describe("A" * 16)
    _, stats = control(caller.simulator, "GET /simulator/stats")
    assert stats["apps"][str(APP)][DESCRIBE] == {
        "calls": 1,
        "answered": 0,
        "refused_throttled": 0,
        "errors": {"300001000": 1},
        "faults": {},
        "busiest_second": 1,
    }
    _, stats = control(caller.simulator, "POST /simulator/stats/reset")
    assert stats["apps"][str(APP)][DESCRIBE]["busiest_second"] == 0


def test_control_routes_work_while_everything_else_fails(simulator: Simulator) -> None:
    simulator.faults = Faults(http_500=1, hang=1, reset=1)
    assert control(simulator, "GET /simulator")[0] == 200


@pytest.mark.parametrize(("route", "status"), [("GET /elsewhere", 404), ("DELETE /simulator/faults", 405)])
def test_other_paths_and_methods_get_an_error(simulator: Simulator, route: str, status: int) -> None:
    assert control(simulator, route)[0] == status
