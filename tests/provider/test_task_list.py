"""The provider's task list, in all the ways in which its documentation can be read (docs/provider.md 3)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.sweeping import Listed
from app.errors import AnswerUnknown, ProviderError, ProviderThrottled, TaskRefused
from app.provider.fields import clean
from app.provider.task_list import ListPage, read_list
from app.provider.wire import read_envelope

SAMPLE = (
    '{"Code":0,"Message":"succeed","RequestId":"x","Data":{"PageOffset":1,"PageSize":50,"TotalCount":1,"TaskidList":'
    '[{"RecordBeginTimestamp":1628565227899,"TaskId":"YRHu6-E4IyvEAAAD","RoomId":"1000","Status":2}]}}'
)
"""The documented sample."""

ITEM = {"TaskId": "YRHu6-E4IyvEAAAD", "RoomId": "1000", "Status": 2, "RecordBeginTimestamp": 1628565227899}
LISTED = Listed("YRHu6-E4IyvEAAAD", 2, datetime(2021, 8, 10, 3, 13, 47, 899_000, tzinfo=UTC), "1000")
EMPTY = ListPage((), None)


def read(data: Any) -> ListPage:
    """The page that an answer with this Data holds."""
    return read_list(read_envelope(json.dumps({"Code": 0, "RequestId": "r1", "Data": data}).encode(), 200))


def one(**members: Any) -> Listed:
    """The one task of a page, with these members besides its id."""
    (task,) = read({"TaskidList": [{"TaskId": "t"} | members]}).tasks
    return task


def test_the_documented_sample_says_exactly_what_it_says() -> None:
    assert read_list(read_envelope(SAMPLE.encode(), 200)) == ListPage((LISTED,), 1)


@pytest.mark.parametrize("name", ["TaskidList", "TaskList", "TaskIdList", "taskidlist", "TASKLIST", "taskList"])
@pytest.mark.parametrize("total", ["TotalCount", "totalCount", "Totalcount"])
def test_the_list_has_several_names_in_any_case_of_letters(name: str, total: str) -> None:
    assert read({name: [ITEM], total: 7}) == ListPage((LISTED,), 7)


@pytest.mark.parametrize("other", [None, []])
def test_of_two_lists_one_that_is_null_is_none(other: Any) -> None:
    assert read({"TaskidList": [ITEM], "TaskList": other}) == ListPage((LISTED,), None)
    assert read({"TaskidList": None, "TaskList": [ITEM]}) == ListPage((LISTED,), None)


@pytest.mark.parametrize("data", [None, {}, {"TaskidList": None}, {"TaskList": []}, {"TaskidList": [], "News": 1}])
def test_a_missing_a_null_and_an_empty_list_are_alike(data: Any) -> None:
    assert read(data) == EMPTY


def test_an_answer_without_data_lists_nothing() -> None:
    assert read_list(read_envelope(b'{"Code": 0}', 200)) == EMPTY


@pytest.mark.parametrize(
    "data",
    [
        *("text", 5, True, ["x"], [ITEM]),
        *({"TaskidList": value} for value in ("text", 5, 0, True, False, 2.5, {"TaskId": "t"}, ITEM)),
        *({"TaskList": [value]} for value in ("x", 5, None, True, [], [ITEM])),
        {"TaskidList": [ITEM, "x"]},
    ],
    ids=lambda data: repr(data)[:40],
)
def test_what_is_no_list_of_tasks_is_garbled(data: Any) -> None:
    with pytest.raises(AnswerUnknown) as caught:
        read(data)
    assert (caught.value.code, caught.value.request_id) == ("garbled", "r1")


@pytest.mark.parametrize("task_id", [None, "", [], {}, True])
def test_a_task_without_an_id_makes_the_whole_list_garbled(task_id: Any) -> None:
    """A list that may leave out what it should show must not make others seem to have left it."""
    for item in ({"TaskId": task_id, "Status": 2}, {"Status": 2}, {}):
        with pytest.raises(AnswerUnknown, match="garbled"):
            read({"TaskidList": [ITEM, item]})


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4, 5, 6, 99, -1, 2**31])
def test_every_status_is_carried(status: int) -> None:
    assert one(Status=status) == Listed("t", status)


@pytest.mark.parametrize("status", ["2", " 2 ", 2.0])
def test_a_status_may_come_as_text(status: Any) -> None:
    assert one(Status=status).status_code == 2


@pytest.mark.parametrize("status", [None, "", "two", [], {}, True, 2.5, 10**30])
def test_a_status_of_a_wrong_type_is_none(status: Any) -> None:
    assert one(Status=status) == one() == Listed("t", None)


@pytest.mark.parametrize("value", [None, "", [], {}, True])
def test_other_members_of_a_wrong_type_are_absent(value: Any) -> None:
    assert one(RoomId=value, RecordBeginTimestamp=value) == Listed("t", None)


def test_unknown_members_do_no_harm() -> None:
    assert one(News=[], ClientTaskId="c", taskid="other") == Listed("t", None)


@pytest.mark.parametrize("total", [None, "", "many", [], {}, True, 2.5, 2**63])
def test_a_total_of_a_wrong_type_is_not_told(total: Any) -> None:
    assert read({"TaskidList": [ITEM], "TotalCount": total}).total is None


@pytest.mark.parametrize("total", [0, 1, "1", 10**6])
def test_a_total_is_told_whatever_the_page_shows(total: Any) -> None:
    assert read({"TaskidList": [], "TotalCount": total}) == ListPage((), int(total))


def test_every_task_of_a_page_is_read_in_its_order() -> None:
    items = [{"TaskId": f"t{number}", "Status": 2} for number in range(500)]
    assert [task.task_id for task in read({"TaskidList": items}).tasks] == [f"t{number}" for number in range(500)]


def test_text_is_kept_in_a_form_that_every_database_stores() -> None:
    assert one(TaskId="a\x00b", RoomId="a\ud800b") == Listed("a\ufffdb", None, None, "a?b")


@pytest.mark.parametrize(("code", "error"), [(300000003, ProviderThrottled), (300000004, TaskRefused)])
def test_a_refusal_is_raised_as_for_any_call(code: int, error: type[ProviderError]) -> None:
    with pytest.raises(error):
        read_list(read_envelope(json.dumps({"Code": code, "Data": {"TaskidList": [ITEM]}}).encode(), 200))


KEYS = st.sampled_from(["TaskidList", "TaskList", "TotalCount", "TaskId", "Status", "RoomId", "RecordBeginTimestamp"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 2, 2**63, 10**30])
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(["\ud800", "\x00"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5))
PAGES = st.dictionaries(KEYS, st.lists(st.dictionaries(KEYS, SCALARS), max_size=3) | JSON) | JSON


@settings(max_examples=200, deadline=None)
@given(data=PAGES)
def test_no_json_raises_anything_but_an_unknown_answer(data: Any) -> None:
    try:
        page = read(data)
    except AnswerUnknown:
        return
    for task in page.tasks:
        assert task.task_id
        assert all(clean(text) == text for text in (task.task_id, task.room_id or ""))
