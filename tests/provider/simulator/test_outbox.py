import json
from typing import Any

import pytest

from app.provider.simulator import Callback, Simulator, callback_signature
from tests.provider.simulator.caller import APP, NOW, OTHER_APP, OTHER_SECRET, SECRET, Caller, Clock

CALLBACK_SECRET = "callback-secret"


@pytest.fixture
def simulator(clock: Clock) -> Simulator:
    apps = {APP: SECRET, OTHER_APP: OTHER_SECRET}
    return Simulator(apps, callback_secrets={APP: CALLBACK_SECRET}, time=clock, monotonic=clock)


def told(found: list[Callback]) -> list[tuple[str, int]]:
    return [(callback.task_id, callback.event_type) for callback in found]


def test_callbacks_come_due_with_time_in_order_and_once(simulator: Simulator, clock: Clock) -> None:
    late, early = simulator.start("abnormal", duration=20), simulator.start(duration=10, upload=15)
    assert simulator.due_callbacks() == []
    clock.now += 10
    assert told(simulator.due_callbacks()) == [(early, 7), (early, 5)]
    assert simulator.due_callbacks() == []
    clock.now += 90
    assert told(simulator.due_callbacks()) == [(late, 2), (late, 7), (early, 1), (late, 1)]
    assert simulator.due_callbacks(NOW + 1e6) == []


def test_an_app_without_a_callback_secret_sends_none(simulator: Simulator, clock: Clock) -> None:
    simulator.start(app_id=OTHER_APP)
    clock.now += 100
    assert simulator.due_callbacks() == []


def test_a_callback_secret_belongs_to_a_known_app() -> None:
    with pytest.raises(ValueError, match="callback_secrets"):
        Simulator({APP: SECRET}, callback_secrets={OTHER_APP: "s"})


def test_a_recording_started_in_the_past_tells_only_what_is_still_to_come(simulator: Simulator, clock: Clock) -> None:
    simulator.start(began_at=NOW - 1000)
    ended = simulator.start("paused", began_at=NOW - 65)
    clock.now += 100
    (callback,) = simulator.due_callbacks()
    assert told([callback]) == [(ended, 1)]
    assert callback.sequence == 4


def test_a_body_is_signed_when_it_is_made_and_its_nonce_is_its_own(simulator: Simulator, clock: Clock) -> None:
    simulator.start()
    (callback, _, _) = simulator.due_callbacks(NOW + 100)
    bodies: list[Any] = [json.loads(simulator.callback_body(callback, NOW + later)) for later in (100, 100, 160)]
    assert [body["timestamp"] for body in bodies] == ["1767323145", "1767323145", "1767323205"]
    assert len({body["nonce"] for body in bodies}) == 3
    for body in bodies:
        assert body["nonce"].isdecimal()
        assert body["signature"] == callback_signature(CALLBACK_SECRET, body["timestamp"], body["nonce"])
        assert (body["app_id"], body["task_id"], body["room_id"]) == (APP, callback.task_id, "room_1")


def test_callbacks_do_not_change_what_happens_to_calls(clock: Clock) -> None:
    def codes(secrets: dict[int, str]) -> list[int]:
        simulator = Simulator({APP: SECRET}, callback_secrets=secrets, time=Clock(), monotonic=Clock(), limit=100)
        caller = Caller(simulator, Clock())
        task_id = simulator.start()
        simulator.faults = simulator.faults.merged({"system_error": 0.5, "callback_lost": 0.5})
        for callback in simulator.due_callbacks(NOW + 100):
            simulator.outbox.fate(simulator.faults)
            simulator.callback_body(callback)
        return [caller.describe(task_id)["Code"] for _ in range(20)]

    assert codes({APP: CALLBACK_SECRET}) == codes({})


def test_any_callback_can_be_made_due_at_once(simulator: Simulator, clock: Clock) -> None:
    simulator.call_back("A" * 16, 102, {"stream_id": "s"}, room_id="r", sequence=7)
    (callback,) = simulator.due_callbacks()
    assert callback == Callback(APP, "A" * 16, "r", NOW, 102, 7, {"stream_id": "s"})


@pytest.mark.parametrize("app_id", [OTHER_APP, 4])
def test_a_callback_of_an_app_without_a_secret_is_refused(simulator: Simulator, app_id: int) -> None:
    with pytest.raises(ValueError, match="app_id"):
        simulator.call_back("A" * 16, 5, app_id=app_id)


def test_thousands_of_recordings_tell_everything_once(simulator: Simulator, clock: Clock) -> None:
    tasks = [simulator.start(duration=100 + number / 10, upload=50) for number in range(5000)]
    found: list[Callback] = []
    for _ in range(700):
        clock.now += 1
        found += simulator.due_callbacks()
    assert [callback.moment for callback in found] == sorted(callback.moment for callback in found)
    assert sorted(told(found)) == sorted((task_id, event) for task_id in tasks for event in (7, 5, 1))
