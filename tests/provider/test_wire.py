import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.recording import FileStatus, Observation, SeenFile, Status
from app.errors import (
    AnswerUnknown,
    AppRefused,
    ProviderError,
    ProviderThrottled,
    ProviderUnavailable,
    TaskRefused,
    TaskUnknown,
)
from app.provider.fields import ADDRESS_LIMIT, TEXT_LIMIT, clean
from app.provider.wire import CODES, as_json, ignored, read_envelope, read_task

SAMPLES = Path(__file__).parent / "samples"
TASK_ID = "X3CgNeE4I1qAAABN"
ASKED_AT = datetime(2020, 9, 28, tzinfo=UTC)
DEEP = "[" * 100_000


def read(body: bytes | str, http_status: int = 200) -> Observation:
    """What an answer says of its task."""
    data = body if isinstance(body, bytes) else body.encode()
    return read_task(read_envelope(data, http_status), TASK_ID, claim_no=7, asked_at=ASKED_AT)


def answer(**data: Any) -> str:
    """A good answer with these members of Data, of a running task unless told otherwise."""
    return json.dumps({"Code": 0, "Message": "succeed", "RequestId": "r1", "Data": {"Status": 2} | data})


def refusal(code: Any, message: str = "told so", **envelope: Any) -> str:
    return json.dumps({"Code": code, "Message": message, "RequestId": "r1"} | envelope)


def one_file(**members: Any) -> SeenFile:
    """The one file of an answer, with these members besides its id."""
    (file,) = read(answer(RecordFiles=[{"FileId": "f"} | members])).files
    return file


def moment(milliseconds: int) -> datetime:
    whole = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return whole.replace(microsecond=milliseconds % 1000 * 1000)


# -- the documented sample


def test_the_documented_sample_says_exactly_what_it_says() -> None:
    name = "X3CgNeE4I1qAAABN_xxxx_my_out_VA_20200927154419775.mp4"
    assert read((SAMPLES / "describe_record_status.json").read_bytes()) == Observation(
        claim_no=7,
        asked_at=ASKED_AT,
        status=Status.COMPLETED,
        status_code=3,
        room_id="xxxx",
        record_mode_code=2,
        stream_type_code=3,
        began_at=datetime(2020, 9, 27, 15, 44, 12, 99_000, tzinfo=UTC),
        ended_at=datetime(2020, 9, 27, 15, 45, 8, 795_000, tzinfo=UTC),
        files=(
            SeenFile(
                file_id=name,
                status=FileStatus.UPLOADED,
                status_code=3,
                user_id="my_out",
                user_name="my_out",
                stream_id="my_out",
                video_id="820e50e52e0a490caf44eec8aec527a7",
                file_url=f"https://xxxx.oss-cn-shanghai.aliyuncs.com/record/{name}",
                output_file_format="mp4",
                file_size=432643544,
                duration_ms=33874,
                resolution_width=1920,
                resolution_height=1080,
                media_track_type_code=3,
                began_at=datetime(2020, 9, 27, 15, 44, 19, 830_000, tzinfo=UTC),
                custom_begin_timestamp=None,
            ),
        ),
    )


def test_the_envelope_carries_the_request_id() -> None:
    assert read_envelope((SAMPLES / "describe_record_status.json").read_bytes(), 200).request_id == "abcd123"


# -- return codes

RECORDING_CODES: dict[int, type[ProviderError]] = {
    100000004: AppRefused,
    100000005: AppRefused,
    300000002: AppRefused,
    300000003: ProviderThrottled,
    300000004: TaskRefused,
    300000005: ProviderUnavailable,
    300000006: TaskRefused,
    300001000: TaskUnknown,
    300001001: TaskRefused,
    300001004: TaskRefused,
    300010000: ProviderUnavailable,
}
GATEWAY_CODES: dict[int, type[ProviderError]] = dict.fromkeys(range(100000000, 100000018), AppRefused) | {
    100000012: ProviderUnavailable,
    100000015: ProviderUnavailable,
}


def test_exactly_the_documented_codes_are_known() -> None:
    assert CODES.keys() == RECORDING_CODES.keys() | GATEWAY_CODES.keys()


@pytest.mark.parametrize(("code", "error"), sorted((RECORDING_CODES | GATEWAY_CODES).items()))
@pytest.mark.parametrize("data", [{}, {"Data": None}, {"Data": {}}, {"Data": {"Status": 3}}])
def test_every_documented_code_raises_its_error(code: int, error: type[ProviderError], data: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        read(refusal(code, "the vendor's words", **data))
    assert type(caught.value) is error
    assert (caught.value.code, caught.value.request_id) == (CODES[code].code, "r1")
    assert caught.value.reached == "yes"
    assert f"the vendor's words (code {code}; " in caught.value.message


@pytest.mark.parametrize("code", [-1, 1, 7, 300000001, 300001002, 300001003, 999999999999999999999])
def test_a_code_nobody_documented_is_shown_and_blames_nobody(code: int) -> None:
    with pytest.raises(AnswerUnknown, match=f"undocumented code {code}: told so") as caught:
        read(refusal(code))
    assert (caught.value.code, caught.value.request_id) == ("unknown_code", "r1")


def test_our_code_of_a_refusal_belongs_to_one_provider_code_alone() -> None:
    words = [meaning.code for meaning in CODES.values()]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("message", ["succeed", "success", "", None, 5, ["x"]])
def test_the_message_says_nothing_about_success(message: Any) -> None:
    assert read(json.dumps({"Code": 0, "Message": message, "Data": {"Status": 1}})).status is Status.INITIALIZED


def test_a_message_without_end_is_cut() -> None:
    with pytest.raises(TaskRefused) as caught:
        read(refusal(300000004, "x" * 100_000))
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    ("given", "request_id"), [("1234567890123456789", "1234567890123456789"), (1234567890123456789,) * 2, (None, None)]
)
def test_a_request_id_is_kept_as_text(given: Any, request_id: Any) -> None:
    with pytest.raises(TaskUnknown) as caught:
        read(refusal(300001000, RequestId=given))
    assert caught.value.request_id == (request_id and str(request_id))


# -- what is no answer


@pytest.mark.parametrize(
    "body",
    [
        *("", " ", "null", "true", "5", '"text"', "[]", "{}", "[{}]", "{", "NaN", "Infinity"),
        *('{"Code": null}', '{"Code": "zero"}', '{"Code": 0.5}', '{"Code": NaN}', '{"Code": [0]}', '{"code": 0}'),
        *("<html>busy</html>", "\ufeff<html>", "OK", '{"Code": 0} trailing', DEEP, '{"Data":' + DEEP),
        *('{"Code": ' + "9" * 5000 + "}", "\x00", '{"Code": 0, "Data": '),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_envelope_is_the_apps_trouble(body: str) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        read(body)
    assert (caught.value.code, caught.value.reached) == ("not_json", "yes")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\x80", b'{"Code": 0, "Message": "\xff"}', b"\x00\x00\xfe\xff"])
def test_bytes_that_are_no_text_are_the_apps_trouble(body: bytes) -> None:
    with pytest.raises(ProviderUnavailable, match="not_json"):
        read(body)


@pytest.mark.parametrize(
    ("http_status", "error", "code"),
    [
        (302, ProviderUnavailable, "http_error"),
        (400, ProviderUnavailable, "http_error"),
        (403, ProviderUnavailable, "http_error"),
        (404, ProviderUnavailable, "http_error"),
        (429, ProviderThrottled, "throttled"),
        (500, ProviderUnavailable, "http_error"),
        (503, ProviderUnavailable, "http_error"),
    ],
)
@pytest.mark.parametrize("body", ["", "<html>busy</html>", "{}", '{"error": "busy"}'])
def test_an_http_error_without_an_envelope_is_the_apps_trouble(
    http_status: int, error: type[ProviderError], code: str, body: str
) -> None:
    with pytest.raises(ProviderError, match=f"HTTP {http_status}") as caught:
        read(body, http_status)
    assert (type(caught.value), caught.value.code) == (error, code)


@pytest.mark.parametrize("http_status", [302, 400, 500])
def test_an_http_error_never_passes_for_a_good_answer(http_status: int) -> None:
    with pytest.raises(ProviderUnavailable, match=f"HTTP {http_status}"):
        read(answer(), http_status)


@pytest.mark.parametrize("http_status", [400, 403, 429, 500])
def test_a_return_code_says_more_than_the_http_status_it_came_with(http_status: int) -> None:
    with pytest.raises(TaskUnknown):
        read(refusal(300001000), http_status)


# -- answers about a task that cannot be read


NO_STATUS: list[Any] = [None, "two", "", [], {}, 2.5, [2]]
NO_LIST: list[Any] = ["x", "", 5, 0, True, False, {}, {"FileId": "f"}]
NO_FILE: list[Any] = ["x", None, 5, [], True]


@pytest.mark.parametrize(
    "data",
    [
        *(None, [], "text", 5, True, [{"Status": 2}], {}, {"status": 2}, {"RoomId": "r"}),
        *({"Status": value} for value in NO_STATUS),
        *({"Status": 2, "RecordFiles": value} for value in NO_LIST),
        *({"Status": 2, "RecordFiles": [value]} for value in NO_FILE),
        {"Status": 2, "RecordFiles": [{"FileId": "f", "Status": 1}, "x"]},
        {"Status": 2, "RecordFiles": [{"FileId": "f" * (TEXT_LIMIT + 1)}]},
    ],
    ids=lambda data: repr(data)[:40],
)
def test_an_answer_that_tells_nothing_readable_is_garbled(data: Any) -> None:
    with pytest.raises(AnswerUnknown) as caught:
        read(json.dumps({"Code": 0, "RequestId": "r1", "Data": data}))
    assert (caught.value.code, caught.value.request_id) == ("garbled", "r1")
    assert len(caught.value.message) <= 500


def test_an_answer_without_data_is_garbled() -> None:
    with pytest.raises(AnswerUnknown, match="garbled"):
        read('{"Code": 0}')


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_status_that_is_no_number_is_garbled(number: str) -> None:
    with pytest.raises(AnswerUnknown, match="garbled"):
        read(f'{{"Code": 0, "Data": {{"Status": {number}}}}}')


def test_what_cannot_be_read_is_not_repeated_in_the_error() -> None:
    with pytest.raises(AnswerUnknown) as caught:
        read(answer(Status="Mrs. Somebody", RecordFiles="Mr. Somebody"))
    assert "Somebody" not in str(caught.value)


# -- lenient reading


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (1, Status.INITIALIZED),
        (2, Status.ONGOING),
        (3, Status.COMPLETED),
        (4, Status.ENDED_ABNORMALLY),
        (5, Status.PAUSED),
        (0, Status.UNKNOWN),
        (6, Status.UNKNOWN),
        (-1, Status.UNKNOWN),
        (2**31, Status.UNKNOWN),
    ],
)
def test_a_status_is_translated_and_a_new_one_carried(code: int, status: Status) -> None:
    told = read(answer(Status=code))
    assert (told.status, told.status_code) == (status, code)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (1, FileStatus.RECORDING),
        (2, FileStatus.UPLOADING),
        (3, FileStatus.UPLOADED),
        (4, FileStatus.UPLOADED_TO_BACKUP),
        (5, FileStatus.LOST),
        (0, FileStatus.UNKNOWN),
        (6, FileStatus.UNKNOWN),
        (None, FileStatus.UNKNOWN),
    ],
)
def test_a_files_status_is_translated_and_a_new_one_carried(code: int | None, status: FileStatus) -> None:
    file = one_file(Status=code)
    assert (file.status, file.status_code) == (status, code)


@pytest.mark.parametrize("status", ["three", [], {}, True, 2.5, 10**30])
def test_a_files_status_of_a_wrong_type_is_unknown(status: Any) -> None:
    assert one_file(Status=status) == SeenFile(file_id="f", status=FileStatus.UNKNOWN)


@pytest.mark.parametrize("code", [2, "2", " 2 ", 2.0])
def test_numbers_may_come_as_text(code: Any) -> None:
    told = read(answer(Status=code, RecordMode=code, RecordFiles=[{"FileId": "f", "Status": code}]))
    assert (told.status_code, told.record_mode_code, told.files[0].status_code) == (2, 2, 2)


@pytest.mark.parametrize("listed", [{}, {"RecordFiles": None}, {"RecordFiles": []}])
def test_a_missing_a_null_and_an_empty_list_of_files_are_alike(listed: dict[str, Any]) -> None:
    assert read(answer(**listed)) == read(answer())
    assert read(answer()).files == ()


@pytest.mark.parametrize("value", [None, "", 0, "0", -5, "x", [], {}, True, 1.5, 10**30])
@pytest.mark.parametrize(
    ("member", "field"),
    [
        ("RecordMode", "record_mode_code"),
        ("StreamType", "stream_type_code"),
        ("RecordBeginTimestamp", "began_at"),
        ("RecordEndTimestamp", "ended_at"),
    ],
)
def test_a_number_that_means_none_or_is_none_is_absent(member: str, field: str, value: Any) -> None:
    assert getattr(read(answer(**{"Status": 3, member: value})), field) is None


@pytest.mark.parametrize("value", [None, "", 0, "0", -5, "x", [], {}, True, 1.5, 2**63])
@pytest.mark.parametrize(
    ("member", "field"),
    [
        ("FileSize", "file_size"),
        ("Duration", "duration_ms"),
        ("ResolutionWidth", "resolution_width"),
        ("ResolutionHeight", "resolution_height"),
        ("MediaTrackType", "media_track_type_code"),
        ("BeginTimestamp", "began_at"),
        ("CustomBeginTimestamp", "custom_begin_timestamp"),
    ],
)
def test_a_files_number_that_means_none_or_is_none_is_absent(member: str, field: str, value: Any) -> None:
    assert getattr(one_file(**{member: value}), field) is None


@pytest.mark.parametrize("number", [1, 2**31, 2**53 + 1, 2**63 - 1])
def test_numbers_up_to_64_bits_are_kept_exactly(number: int) -> None:
    assert one_file(FileSize=number).file_size == number
    assert one_file(FileSize=str(number)).file_size == number


@pytest.mark.parametrize("value", [None, "", [], {}, True])
@pytest.mark.parametrize(
    ("member", "field"),
    [
        ("UserId", "user_id"),
        ("UserName", "user_name"),
        ("StreamId", "stream_id"),
        ("VideoId", "video_id"),
        ("FileUrl", "file_url"),
        ("OutputFileFormat", "output_file_format"),
    ],
)
def test_text_that_is_empty_or_no_text_is_absent(member: str, field: str, value: Any) -> None:
    assert getattr(one_file(**{member: value}), field) is None
    assert getattr(one_file(**{member: "told"}), field) == "told"


@pytest.mark.parametrize(
    ("milliseconds", "known"),
    [
        (1601221452099, moment(1601221452099)),
        (1, moment(1)),
        (1601221452999, moment(1601221452999)),
        (32503679999999, moment(32503679999999)),
        (32503680000000, None),
        (-1, None),
    ],
)
def test_times_are_unix_milliseconds_of_a_possible_year(milliseconds: int, known: datetime | None) -> None:
    assert read(answer(RecordBeginTimestamp=milliseconds)).began_at == known


@pytest.mark.parametrize("status", [1, 2, 5, 6])
def test_an_end_is_believed_only_of_a_task_that_has_ended(status: int) -> None:
    assert read(answer(Status=status, RecordEndTimestamp=1601221508795)).ended_at is None
    assert read(answer(Status=4, RecordEndTimestamp=1601221508795)).ended_at == moment(1601221508795)


def test_unknown_members_and_formats_do_no_harm() -> None:
    told = read(answer(News=1, RecordFiles=[{"FileId": "f", "Status": 3, "News": [], "OutputFileFormat": "ogg"}]))
    assert told.files == (SeenFile(file_id="f", status=FileStatus.UPLOADED, status_code=3, output_file_format="ogg"),)


@pytest.mark.parametrize("file_id", [None, "", [], True])
def test_a_file_without_an_id_still_counts(file_id: Any) -> None:
    files = [{"FileId": file_id, "StreamId": s, "BeginTimestamp": 5, "Status": 1} for s in ("a", "b")]
    told = read(answer(RecordFiles=files)).files
    assert [file.file_id for file in told] == [f"{TASK_ID}:a:5", f"{TASK_ID}:b:5"]


def test_the_longest_file_id_is_kept_whole() -> None:
    for letter in ("f", "\u00fc", "\U0001f600"):
        longest = letter * (TEXT_LIMIT // len(letter.encode()))
        assert one_file(FileId=longest).file_id == longest
        with pytest.raises(AnswerUnknown, match="garbled"):
            one_file(FileId=longest + "f")


@pytest.mark.parametrize(
    ("member", "limit"), [("UserName", TEXT_LIMIT), ("StreamId", TEXT_LIMIT), ("FileUrl", ADDRESS_LIMIT)]
)
def test_text_up_to_its_limit_is_kept_whole_and_longer_text_is_absent(member: str, limit: int) -> None:
    field = re.sub("(?<=[a-z])(?=[A-Z])", "_", member).lower()
    assert getattr(one_file(**{member: "x" * limit}), field) == "x" * limit
    assert getattr(one_file(**{member: "x" * (limit + 1)}), field) is None


def test_what_is_ignored_is_counted_by_kind() -> None:
    long, longer = "x" * (TEXT_LIMIT + 1), "x" * (ADDRESS_LIMIT + 1)
    files = [
        {"FileUrl": long, "UserId": long},
        {"FileUrl": longer, "BeginTimestamp": -1},
        {"BeginTimestamp": 0, "Status": 3},
        None,
        "x",
    ]
    data = {"RoomId": long, "RecordBeginTimestamp": 10**17, "RecordEndTimestamp": "1", "News": 5, "RecordFiles": files}
    assert ignored(data) == {"text": 3, "time": 2}
    nothing: list[Any] = [None, [], "x", 5, {}, {"RecordFiles": 5}]
    assert [ignored(data) for data in nothing] == [{}] * len(nothing)


def test_every_file_of_a_long_list_is_read() -> None:
    files = [{"FileId": f"f{number}", "Status": 3} for number in range(2000)]
    assert [file.file_id for file in read(answer(RecordFiles=files)).files] == [f"f{n}" for n in range(2000)]


@pytest.mark.parametrize(
    ("escaped", "kept"), [(r"a\u0000b", "a\ufffdb"), (r"a\ud800b", "a?b"), (r"\ud83d\ude00", "\U0001f600")]
)
def test_text_is_kept_in_a_form_that_every_database_stores(escaped: str, kept: str) -> None:
    body = answer(RoomId="@", RecordFiles=[{"FileId": "@", "UserName": "@"}]).replace("@", escaped)
    told = read(body)
    assert (told.room_id, told.files[0].file_id, told.files[0].user_name) == (kept, kept, kept)


def test_errors_hold_only_text_that_every_database_stores() -> None:
    with pytest.raises(TaskRefused) as caught:
        read(r'{"Code": 300000004, "Message": "a\u0000\ud800", "RequestId": "b\u0000\udfff"}')
    assert clean(str(caught.value)) == str(caught.value)
    assert caught.value.request_id == "b\ufffd?"


# -- anything at all

KEYS = st.sampled_from(["Code", "Message", "RequestId", "Data", "Status", "RecordFiles", "FileId", "BeginTimestamp"])
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 2, 300001000, 2**63, 10**30])
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(["0", "--5", "²", "٣", "\ud800"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5))
DATA = st.fixed_dictionaries(
    {"Status": SCALARS},
    optional={"RecordFiles": st.lists(st.dictionaries(KEYS, SCALARS) | JSON, max_size=3) | JSON, "RoomId": JSON},
)
ENVELOPES = JSON | st.builds(lambda data, code: {"Code": code, "Data": data}, DATA | JSON, st.just(0) | SCALARS)


def said(body: bytes, http_status: int) -> Observation | ProviderError:
    """The observation or the error that a body comes to; anything else is raised."""
    try:
        return read(body, http_status)
    except ProviderError as error:
        return error


@settings(max_examples=200, deadline=None)
@given(value=ENVELOPES, http_status=st.sampled_from([200, 302, 429, 500]))
def test_no_json_raises_anything_but_a_provider_error(value: Any, http_status: int) -> None:
    told = said(json.dumps(value).encode(), http_status)
    if isinstance(told, Observation):
        texts = [told.room_id, *(file.file_id for file in told.files)]
        assert all(clean(text) == text for text in texts if text)


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=60), http_status=st.integers(100, 599))
def test_no_bytes_raise_anything_but_a_provider_error(body: bytes, http_status: int) -> None:
    assert isinstance(said(body, http_status), ProviderError)


def test_a_status_that_no_column_can_hold_is_no_status() -> None:
    with pytest.raises(AnswerUnknown, match="garbled"):
        read_task(
            read_envelope(json.dumps({"Code": 0, "Data": {"Status": 10**30}}).encode(), 200),
            "AnyTaskWhatever_",
            claim_no=1,
            asked_at=datetime(2026, 1, 1, tzinfo=UTC),
        )


ANSWER = '{"Code": 0, "Message": "\u00e4", "Data": {"Status": 3, "Odd": NaN, "Far": 1e999}}'


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"Code":  0, "Code": 1}', '{"Code":  0, "Code": 1}'),
        (ANSWER.encode(), '{"Code": 0, "Message": "\\u00e4", "Data": {"Status": 3, "Odd": null, "Far": null}}'),
        ('{"Code": 0}'.encode("utf-16"), '{"Code": 0}'),
        ('{"Code": 0}'.encode("utf-8-sig"), '{"Code": 0}'),
    ],
)
def test_an_answer_is_kept_word_for_word_if_it_is_json(body: bytes, shown: str) -> None:
    assert as_json(body) == shown
