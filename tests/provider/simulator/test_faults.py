import dataclasses
import json
import random
from collections import Counter
from dataclasses import asdict

import pytest

from app.provider.simulator import DESCRIBE, LIST, Faults, Reply, Simulator
from app.provider.simulator.faults import Fate
from tests.provider.simulator.caller import APP, NOW, SECRET, Caller, Clock

LISTING = {"Status": 2, "StartTime": int((NOW - 60) * 1000), "EndTime": int(NOW * 1000)}


def struck(caller: Caller, faults: Faults) -> Reply:
    """Return the reply to a call that would be fine but for these faults."""
    task_id = caller.simulator.start()
    caller.simulator.faults = faults
    return caller.reply({"TaskId": task_id})


def test_a_failing_server_answers_500(caller: Caller) -> None:
    assert struck(caller, Faults(http_500=1)).status == 500


def test_a_page_for_people_comes_with_status_200(caller: Caller) -> None:
    reply = struck(caller, Faults(html=1))
    assert (reply.status, dict(reply.headers)["Content-Type"]) == (200, "text/html")


def test_reset_and_hang_are_left_to_the_server(caller: Caller) -> None:
    assert struck(caller, Faults(reset=1)).reset
    assert struck(caller, Faults(hang=1)).hang


@pytest.mark.parametrize(
    ("name", "code"), [("throttled", 300000003), ("system_error", 300010000), ("not_visible", 300001000)]
)
def test_refusals_come_with_their_code(caller: Caller, name: str, code: int) -> None:
    assert json.loads(struck(caller, Faults().merged({name: 1})).body)["Code"] == code


def test_a_list_never_says_that_a_task_does_not_exist(caller: Caller) -> None:
    caller.simulator.faults = Faults(not_visible=1)
    assert caller.ask(LISTING, LIST)["Code"] == 0


def test_garbage_is_cut_off_or_of_wrong_types_but_always_status_200(caller: Caller, clock: Clock) -> None:
    kinds = set()
    for _ in range(40):
        clock.now += 1
        reply = struck(caller, Faults(garbage=1))
        assert reply.status == 200
        kinds.add(kind_of_garbage(reply.body))
    assert kinds == {"cut off", "status", "files", "data"}


def kind_of_garbage(body: bytes) -> str:
    """Tell what is wrong with an answer."""
    try:
        data = json.loads(body)["Data"]
    except ValueError:
        return "cut off"
    if not isinstance(data, dict):
        return "data"
    return "status" if data["Status"] == "two" else "files" if data["RecordFiles"] == "none" else "nothing"


def test_a_fault_happens_as_often_as_its_probability_says_and_every_call_is_counted_once(
    caller: Caller, clock: Clock
) -> None:
    task_id = caller.simulator.start(duration=10_000)
    caller.simulator.faults = Faults(http_500=0.3, system_error=0.5)
    for _ in range(400):
        clock.now += 0.5
        caller.reply({"TaskId": task_id})
    counts = caller.simulator.stats()["apps"][str(APP)][DESCRIBE]
    assert counts["faults"]["http_500"] == pytest.approx(120, abs=30)
    assert counts["faults"]["system_error"] == pytest.approx(140, abs=30)
    assert counts["answered"] + sum(counts["faults"].values()) == counts["calls"] == 400


def test_the_same_seed_strikes_the_same_calls(clock: Clock) -> None:
    def run(seed: int) -> list[int]:
        caller = Caller(Simulator({APP: SECRET}, seed=seed, time=clock, monotonic=clock), clock)
        return [struck(caller, Faults(http_500=0.5)).status for _ in range(10)]

    assert run(1) == run(1) != run(2)


def test_faulty_calls_count_against_the_limit(caller: Caller) -> None:
    caller.simulator.faults = Faults(http_500=1)
    for _ in range(10):
        caller.reply({})
    caller.simulator.faults = Faults()
    assert caller.describe("A" * 16)["Code"] == 300000003


def test_half_a_round_trip_and_some_jitter_pass_each_way(caller: Caller) -> None:
    caller.simulator.faults = Faults(rtt=0.2, jitter=0.05)
    ways = [caller.simulator.delay_before_arrival() for _ in range(50)]
    ways += [caller.reply({}).delay for _ in range(50)]
    assert all(0.1 <= way <= 0.15 for way in ways)
    assert len(set(ways)) == 100


def test_without_faults_nothing_is_delayed(caller: Caller) -> None:
    assert (caller.simulator.delay_before_arrival(), caller.reply({}).delay) == (0, 0)


def test_merging_changes_only_what_is_named() -> None:
    assert Faults(rtt=0.2).merged({"hang": 1}) == Faults(rtt=0.2, hang=1.0)


def fates(faults: Faults) -> list[Fate]:
    dice = random.Random(0)
    return [faults.fate(dice) for _ in range(200)]


def test_a_callback_is_sent_once_and_at_once_by_default() -> None:
    assert set(fates(Faults())) == {Fate(copies=1, delay=0)}


def test_callbacks_are_lost_and_repeated_as_often_as_their_probabilities_say() -> None:
    counts = Counter(fate.copies for fate in fates(Faults(callback_lost=0.2, callback_repeated=0.5)))
    assert counts == {0: pytest.approx(40, abs=20), 1: pytest.approx(80, abs=30), 2: pytest.approx(80, abs=30)}


def test_a_reordered_callback_is_held_back_for_up_to_ten_seconds_more_than_others() -> None:
    delays = [fate.delay for fate in fates(Faults(callback_reordered=0.5, callback_delay=3))]
    assert delays.count(3) == pytest.approx(100, abs=30)
    assert 12 < max(delays) <= 13


@pytest.mark.parametrize(
    "changes",
    [
        {"http_500": 1.1},
        {"hang": -0.1},
        {"hang": True},
        {"reset": "often"},
        {"garbage": None},
        {"rtt": -1},
        {"rtt": float("nan")},
        {"jitter": float("inf")},
        {"visible_after": 10**400},
        {"callback_lost": 1.1},
        {"callback_delay": -1},
        {"gremlins": 1},
    ],
)
def test_unknown_faults_and_bad_values_are_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Faults().merged(changes)


def test_by_default_nothing_goes_wrong() -> None:
    assert set(asdict(Faults()).values()) == {0.0}
    assert Faults().strike([field.name for field in dataclasses.fields(Faults)], random.Random(0)) is None
