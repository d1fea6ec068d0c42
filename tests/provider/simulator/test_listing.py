from typing import Any

import pytest

from app.provider.simulator import LIST, LIVES, ListReading, Simulator
from tests.provider.simulator.caller import APP, NOW, SECRET, Caller, Clock

DAY = 86400


def listing(**changed: object) -> dict[str, object]:
    """Return the body of a DescribeTasks call for the last day's running tasks."""
    return {"Status": 2, "StartTime": int((NOW - DAY) * 1000), "EndTime": int((NOW + DAY) * 1000), **changed}


def test_the_list_shows_running_or_ended_tasks_newest_first(caller: Caller, clock: Clock) -> None:
    lives = {name: caller.simulator.start(name, began_at=NOW - 71 - at) for at, name in enumerate(LIVES)}
    running = [caller.simulator.start(began_at=NOW - ago) for ago in (1, 20)]
    shown = {status: caller.ask(listing(Status=status), LIST)["Data"] for status in (2, 3)}
    assert [item["TaskId"] for item in shown[2]["TaskidList"]] == running
    assert [item["Status"] for item in shown[2]["TaskidList"]] == [1, 2]
    assert [item["TaskId"] for item in shown[3]["TaskidList"]] == list(lives.values())
    assert {item["Status"] for item in shown[3]["TaskidList"]} == {3, 4}
    assert shown[3]["TaskidList"][0] == {
        "RecordBeginTimestamp": 1767322974678,
        "TaskId": lives["normal"],
        "RoomId": "room_1",
        "Status": 3,
    }


def test_a_paused_task_is_listed_as_running(caller: Caller, clock: Clock) -> None:
    caller.simulator.start("paused", began_at=NOW - 31)
    assert [item["Status"] for item in caller.ask(listing(), LIST)["Data"]["TaskidList"]] == [5]


def test_the_list_is_paged_by_page_number(caller: Caller) -> None:
    tasks = [caller.simulator.start(began_at=NOW - number / 10) for number in range(7)]
    pages: list[Any] = [caller.ask(listing(PageSize=3, PageOffset=page), LIST)["Data"] for page in (0, 1, 2, 3, 4)]
    shown = [[item["TaskId"] for item in page["TaskidList"]] for page in pages]
    assert shown == [tasks[:3], tasks[:3], tasks[3:6], tasks[6:], []]
    assert [page["TotalCount"] for page in pages] == [7] * 5
    assert [page["PageOffset"] for page in pages] == [1, 1, 2, 3, 4]


def test_the_list_is_narrowed_by_room_and_by_time_of_start(caller: Caller) -> None:
    early, late = (caller.simulator.start(room_id="r", began_at=NOW - ago) for ago in (30, 10))
    caller.simulator.start(room_id="elsewhere")
    start, end = int((NOW - 30) * 1000), int((NOW - 10) * 1000)
    asked = [
        listing(RoomId="r"),
        listing(StartTime=start, EndTime=end - 1),
        listing(StartTime=start + 1, EndTime=end),
    ]
    shown = [[item["TaskId"] for item in caller.ask(one, LIST)["Data"]["TaskidList"]] for one in asked]
    assert shown == [[late, early], [early], [late]]


def read(clock: Clock, reading: ListReading, **changed: object) -> Any:
    """Return `Data` of a list in this reading, of one task in each state, the older ones further along."""
    caller = Caller(Simulator({APP: SECRET}, list_reading=reading, time=clock, monotonic=clock), clock)
    for life, ago in (("normal", 1), ("normal", 20), ("paused", 31), ("normal", 80), ("abnormal", 90)):
        caller.simulator.start(life, began_at=NOW - ago)
    return caller.ask(listing(**changed), LIST)["Data"]


@pytest.mark.parametrize(
    ("reading", "running", "over"),
    [
        (ListReading(), [1, 2, 5], [3, 4]),
        (ListReading(narrow=True), [2], [3]),
        (ListReading(oldest_first=True), [5, 2, 1], [4, 3]),
    ],
)
def test_the_filters_and_the_order_can_be_read_in_several_ways(
    clock: Clock, reading: ListReading, running: list[int], over: list[int]
) -> None:
    shown = [read(clock, reading, Status=status) for status in (2, 3)]
    assert [[item["Status"] for item in data["TaskidList"]] for data in shown] == [running, over]
    assert [data["TotalCount"] for data in shown] == [len(running), len(over)]


def test_pages_of_a_list_that_is_oldest_first_begin_with_the_oldest(clock: Clock) -> None:
    pages = [read(clock, ListReading(oldest_first=True), PageSize=2, PageOffset=page) for page in (1, 2)]
    assert [[item["Status"] for item in page["TaskidList"]] for page in pages] == [[5, 2], [1]]


def test_the_list_may_have_its_older_name(clock: Clock) -> None:
    data = read(clock, ListReading(key="TaskList"))
    assert (len(data["TaskList"]), "TaskidList" in data) == (3, False)


@pytest.mark.parametrize(
    ("reading", "shown"),
    [
        (ListReading(), {"TaskidList": []}),
        (ListReading(empty="null"), {"TaskidList": None}),
        (ListReading(key="TaskList", empty="null"), {"TaskList": None}),
        (ListReading(empty="absent"), {}),
    ],
)
def test_an_empty_list_can_be_shown_in_several_ways(
    clock: Clock, reading: ListReading, shown: dict[str, object]
) -> None:
    nothing = {"PageOffset": 1, "PageSize": 50, "TotalCount": 0}
    assert read(clock, reading, RoomId="elsewhere") == {**nothing, **shown}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"Status": 1}, "Status"),
        ({"Status": "2"}, "Status"),
        ({"Status": True}, "Status"),
        ({"StartTime": int((NOW - 3 * DAY) * 1000) - 1000}, "StartTime"),
        ({"StartTime": None}, "StartTime"),
        ({"EndTime": int((NOW - DAY) * 1000)}, "EndTime"),
        ({"EndTime": int((NOW + 3 * DAY) * 1000)}, "EndTime"),
        ({"PageSize": 51}, "PageSize"),
        ({"PageSize": 0}, "PageSize"),
        ({"PageOffset": -1}, "PageOffset"),
        ({"RoomId": 7}, "RoomId"),
        ({"TaskId": "A" * 16}, "TaskId"),
    ],
)
def test_a_wrong_list_call_is_refused_naming_the_parameter(
    caller: Caller, changed: dict[str, object], named: str
) -> None:
    answer = caller.ask(listing(**changed), LIST)
    assert answer["Code"] == 300000004
    assert named in answer["Message"]


def test_a_task_is_neither_described_nor_listed_until_it_becomes_visible(clock: Clock) -> None:
    caller = Caller(Simulator({APP: SECRET}, visible_after=5, time=clock, monotonic=clock), clock)
    task_id = caller.simulator.start()
    clock.now += 4.9
    assert caller.describe(task_id)["Code"] == 300001000
    assert caller.ask(listing(), LIST)["Data"]["TotalCount"] == 0
    clock.now += 0.2
    assert caller.describe(task_id)["Code"] == 0
