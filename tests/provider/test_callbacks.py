"""What callbacks claim is read leniently, in each form they come in; nothing that arrives breaks the reading."""

import json
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.hearing import Callback
from app.core.recording import FileStatus, SeenFile
from app.core.signing import callback_signature
from app.core.told import CallbackEvent, Playlist
from app.core.values import replace
from app.errors import CallbackUnreadable
from app.provider.callbacks import EVENTS, FILES_READ, WORDS_KEPT, Letter, event_of, read
from app.provider.fields import TEXT_LIMIT, clean

SAMPLES = Path(__file__).parent / "samples" / "callbacks.jsonl"
"""The bodies of docs/provider.md 4.4, signed with SECRET."""

SECRET = "cb-secret-for-tests-0001"
TASK_ID = "aaBBccDDeeFF_-01"
FILE_ID = f"{TASK_ID}_room-42_u1_s1_VA_20260102030405678.mp4"
BODIES: dict[str, dict[str, Any]] = {
    body["nonce"]: body for line in SAMPLES.read_text().splitlines() for body in [json.loads(line)]
}
UPLOADED_FILE = SeenFile(
    file_id=FILE_ID,
    status=FileStatus.UPLOADED,
    status_code=3,
    user_id="u1",
    user_name="User One",
    stream_id="s1",
    file_url=f"https://bucket.example/record/{FILE_ID}",
    output_file_format="mp4",
    file_size=25349026,
    duration_ms=170039,
    resolution_width=1280,
    resolution_height=720,
    media_track_type_code=3,
    began_at=datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
)
IN_BACKUP = replace(UPLOADED_FILE, status=FileStatus.UPLOADED_TO_BACKUP, status_code=4)

Members = Mapping[str, Any]


def finished(*files: SeenFile) -> Callback:
    """All files of a recording have reached their ends."""
    return Callback(event=CallbackEvent.UPLOAD_FINISHED, event_type=1, files=files, is_whole=True)


def a_body(event_type: Any = 5, detail: Any = None, **members: Any) -> dict[str, Any]:
    """A signed body; each member may be replaced."""
    nonce, timestamp = "100476", "1767323219"
    return {
        "app_id": 1234567890,
        "task_id": TASK_ID,
        "room_id": "room-42",
        "event_type": event_type,
        "message": "",
        "nonce": nonce,
        "timestamp": timestamp,
        "signature": callback_signature(SECRET, timestamp, nonce),
        "sequence": 1,
        "detail": {} if detail is None else detail,
    } | members


def without(name: str, body: Members) -> dict[str, Any]:
    return {member: value for member, value in body.items() if member != name}


def as_json(body: Any) -> bytes:
    return json.dumps(body).encode()


def said(event_type: Any = 5, detail: Any = None, **members: Any) -> Callback:
    return read(as_json(a_body(event_type, detail, **members))).callback


def files_of(*file_info: Any) -> tuple[SeenFile, ...] | None:
    """The files of an event 1 with this list."""
    return said(1, {"upload_status": 1, "file_info": list(file_info)}).files


# -- the documented bodies


@pytest.mark.parametrize(
    ("nonce", "callback", "sequence"),
    [
        ("100476", Callback(event=CallbackEvent.ENDED, event_type=5), 1),
        ("100477", Callback(event=CallbackEvent.STOPPED, event_type=7), 2),
        (
            "100480",
            Callback(event=CallbackEvent.UPLOAD_FINISHED, event_type=1, files=(UPLOADED_FILE,), is_whole=True),
            3,
        ),
        ("100481", Callback(event=CallbackEvent.UPLOAD_FINISHED, event_type=1, files=(IN_BACKUP,), is_whole=True), 3),
        ("100482", Callback(event=CallbackEvent.UPLOAD_FINISHED, event_type=1, files=(), is_whole=True), 3),
        ("200001", Callback(event=CallbackEvent.ENDED_ABNORMALLY, event_type=2, quit_reason_code=3), 1),
        (
            "200002",
            Callback(
                event=CallbackEvent.IMAGE_DOWNLOAD_FAILED,
                event_type=3,
                notice=("image_download_failed", "watermark: https://cdn.example/wm.png"),
            ),
            0,
        ),
        ("200003", Callback(event=CallbackEvent.ROOM_EMPTY, event_type=4, notice=("room_empty", "")), 0),
        (
            "200004",
            Callback(event=CallbackEvent.STREAM_MISSING, event_type=6, notice=("stream_missing", "s-missing")),
            0,
        ),
        (
            "200005",
            Callback(
                event=CallbackEvent.LIVE_PLAYLIST,
                event_type=102,
                playlist=Playlist(
                    url="https://bucket.example/record/x.m3u8",
                    stream_id="s1",
                    file_id=f"{TASK_ID}_room-42_u1_s1_VA_20260102030405678.m3u8",
                    media_track_type_code=3,
                ),
            ),
            0,
        ),
        ("200006", Callback(event=CallbackEvent.PAUSED, event_type=201), 1),
        ("200007", Callback(event=CallbackEvent.RESUMED, event_type=202), 2),
    ],
)
def test_a_documented_body_says_exactly_what_it_says(nonce: str, callback: Callback, sequence: int) -> None:
    letter = read(as_json(BODIES[nonce]))
    assert letter.callback == callback
    assert (letter.app_id, letter.task_id, letter.sequence) == (1234567890, TASK_ID, sequence)
    assert (letter.nonce, letter.timestamp, letter.signature) == tuple(
        BODIES[nonce][name] for name in ("nonce", "timestamp", "signature")
    )


def test_the_documented_bodies_hold_every_event() -> None:
    assert {body["event_type"] for body in BODIES.values()} == EVENTS.keys()
    assert {event_of(number) for number in EVENTS} == set(CallbackEvent) - {CallbackEvent.UNKNOWN}


@pytest.mark.parametrize("nonce", BODIES)
def test_the_documented_bodies_are_signed_by_their_secret_alone(nonce: str) -> None:
    letter = read(as_json(BODIES[nonce]))
    assert letter.is_signed_by(SECRET)
    assert not letter.is_signed_by(SECRET + "0")
    assert not letter.is_signed_by("")


def test_an_unspecified_code_of_the_upload_says_no_more_than_its_files() -> None:
    other = BODIES["100480"] | {"detail": BODIES["100480"]["detail"] | {"upload_status": 99}}
    assert read(as_json(other)).callback == read(as_json(BODIES["100480"])).callback


# -- signatures


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("nonce", value) for value in ("100477", "", None, 100477, True, [100476])),
        *(("timestamp", value) for value in ("1767323220", "", None, 1767323219.5)),
        *(("signature", value) for value in ("", None, "x", 0, True, "é" * 40, "\ud800" * 40, "0" * 40)),
    ],
)
def test_a_signature_that_does_not_fit_is_no_signature(member: str, value: Any) -> None:
    assert not read(as_json(a_body(**{member: value}))).is_signed_by(SECRET)
    assert not read(as_json(without(member, a_body()))).is_signed_by(SECRET)


def test_the_signature_may_be_written_in_capitals() -> None:
    assert read(as_json(a_body(signature=a_body()["signature"].upper()))).is_signed_by(SECRET)


@pytest.mark.parametrize(
    "members", [{"nonce": 100476}, {"timestamp": 1767323219}, {"nonce": 100476, "app_id": "1234567890"}]
)
def test_numbers_where_text_is_documented_count_as_their_digits(members: dict[str, Any]) -> None:
    letter = read(as_json(a_body(**members)))
    assert letter.is_signed_by(SECRET)
    assert (letter.nonce, letter.timestamp, letter.app_id) == ("100476", "1767323219", 1234567890)
    assert letter.signed == read(as_json(a_body())).signed


def test_the_body_is_not_covered_by_the_signature() -> None:
    forged = a_body(1, {"file_info": []}, task_id="0" * 16, app_id=7, room_id="other", message="x")
    assert read(as_json(forged)).is_signed_by(SECRET)


# -- digests


@pytest.mark.parametrize("member", ["app_id", "nonce", "timestamp", "signature"])
def test_another_signed_value_is_another_signature(member: str) -> None:
    first = read(as_json(a_body()))
    assert read(as_json(a_body(**{member: "7"}))).signed != first.signed
    assert read(as_json(without(member, a_body()))).signed != first.signed


@pytest.mark.parametrize(
    ("member", "value"),
    [("task_id", "0" * 16), ("event_type", 1), ("detail", {"x": 1}), ("sequence", 2), ("message", "x"), ("new", 1)],
)
def test_another_content_under_the_same_signature_is_told_apart(member: str, value: Any) -> None:
    first, other = read(as_json(a_body())), read(as_json(a_body(**{member: value})))
    assert other.signed == first.signed
    assert other.said != first.said


def test_the_same_body_says_the_same() -> None:
    first, again = read(as_json(a_body())), read(as_json(a_body()))
    assert (first.signed, first.said) == (again.signed, again.said)
    assert first == again


def test_values_that_run_into_each_other_are_told_apart() -> None:
    """The signature itself joins them without a mark: 1 and 23 are signed like 12 and 3."""
    one, other = (read(as_json(a_body(nonce=n, timestamp=t))) for n, t in (("23", "1"), ("3", "12")))
    assert callback_signature("z", "1", "23") == callback_signature("z", "12", "3")
    assert one.signed != other.signed


# -- older forms


@pytest.mark.parametrize("nonce", BODIES)
def test_each_form_of_a_callback_says_the_same(nonce: str) -> None:
    body = BODIES[nonce]
    plain = read(as_json(body))
    text, detail = json.dumps(body), json.dumps(body["detail"])
    for form in (
        json.dumps(body, indent=2),
        f"\r\n {text} \n",
        quote(text),
        quote_plus(text),
        json.dumps(body | {"detail": detail}),
        urlencode(body | {"detail": detail}),
        urlencode(body | {"detail": detail}, quote_via=quote),
    ):
        letter = read(form.encode())
        assert letter.callback == plain.callback
        assert letter.is_signed_by(SECRET)
        assert (letter.app_id, letter.task_id, letter.sequence) == (plain.app_id, plain.task_id, plain.sequence)
        assert letter.signed == plain.signed
        assert letter.text == form


def test_text_beyond_ascii_is_read_in_every_form() -> None:
    body = a_body(6, {"stream_id": "räume 100 % + 漢字"})
    for form in (
        json.dumps(body, ensure_ascii=False),
        json.dumps(body),
        quote_plus(json.dumps(body, ensure_ascii=False)),
        urlencode(body | {"detail": json.dumps(body["detail"])}),
    ):
        assert read(form.encode()).callback.notice == ("stream_missing", "räume 100 % + 漢字")


def test_a_form_without_detail_is_a_callback_too() -> None:
    letter = read(urlencode(without("detail", a_body(7))).encode())
    assert letter.callback == Callback(event=CallbackEvent.STOPPED, event_type=7)
    assert letter.is_signed_by(SECRET)


# -- lenient reading

EMPTY: list[Any] = [None, {}, [], "", "{}", "null", "[]", "text", 0, 5, True, [{}], '{"', "[" * 5000]


@pytest.mark.parametrize("detail", EMPTY, ids=lambda detail: repr(detail)[:20])
@pytest.mark.parametrize("event_type", [5, 7, 201, 202, 4, 2, 3, 6, 102])
def test_a_detail_that_tells_nothing_is_like_none(event_type: int, detail: Any) -> None:
    told = read(as_json(a_body(event_type) | {"detail": detail})).callback
    assert told == read(as_json(without("detail", a_body(event_type)))).callback
    assert (told.event, told.quit_reason_code, told.playlist) == (event_of(event_type), None, None)


@pytest.mark.parametrize("event_type", [0, -1, 8, 101, 103, 203, 2**31, 2**63 - 1])
def test_an_unknown_event_is_carried(event_type: int) -> None:
    told = said(event_type, {"quit_reason": 3, "file_info": [], "stream_id": "s", "file_url": "https://x.example"})
    assert told == Callback(event=CallbackEvent.UNKNOWN, event_type=event_type)


@pytest.mark.parametrize("event_type", [None, "", "five", [], {}, True, 5.5, 10**30])
def test_an_event_of_a_wrong_type_is_unknown(event_type: Any) -> None:
    assert said(event_type) == Callback(event=CallbackEvent.UNKNOWN)
    assert read(as_json(without("event_type", a_body()))).callback == Callback(event=CallbackEvent.UNKNOWN)


@pytest.mark.parametrize("event_type", [5, "5", " 5 ", 5.0])
def test_an_events_number_may_come_as_text(event_type: Any) -> None:
    assert said(event_type) == Callback(event=CallbackEvent.ENDED, event_type=5)


@pytest.mark.parametrize("member", ["app_id", "sequence"])
@pytest.mark.parametrize("value", [None, "", "x", [], {}, True, 1.5, 2**63, "9" * 20])
def test_a_number_of_a_wrong_type_is_absent(member: str, value: Any) -> None:
    assert getattr(read(as_json(a_body(**{member: value}))), member) is None
    assert getattr(read(as_json(without(member, a_body()))), member) is None


@pytest.mark.parametrize("member", ["task_id", "nonce", "timestamp", "signature"])
@pytest.mark.parametrize("value", [None, "", [], {}, True, ["x"]])
def test_text_of_a_wrong_type_is_absent(member: str, value: Any) -> None:
    assert getattr(read(as_json(a_body(**{member: value}))), member) is None
    assert getattr(read(as_json(without(member, a_body()))), member) is None


def test_a_task_id_without_end_is_cut() -> None:
    assert read(as_json(a_body(task_id="x" * TEXT_LIMIT))).task_id == "x" * 64
    assert read(as_json(a_body(task_id="x" * (TEXT_LIMIT + 1)))).task_id is None


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 1001, 1011, 7, 99_999])
def test_the_reason_of_an_abnormal_end_is_told(code: int) -> None:
    assert said(2, {"quit_reason": code}).quit_reason_code == code
    assert said(2, {"quit_reason": str(code)}).quit_reason_code == code


@pytest.mark.parametrize("code", [None, 0, -1, "", "x", [], True, 2.5, 2**63])
def test_a_reason_that_means_none_is_none(code: Any) -> None:
    assert said(2, {"quit_reason": code}) == said(2)


@pytest.mark.parametrize("event_type", [1, 3, 4, 5, 6, 7, 102, 201, 202, 999])
def test_only_an_abnormal_end_has_a_reason(event_type: int) -> None:
    assert said(event_type, {"quit_reason": 3}).quit_reason_code is None


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"image_type": 1, "image_url": "https://x.example"}, "canvas background: https://x.example"),
        ({"image_type": 3, "image_url": "u"}, "default stream background: u"),
        ({"image_type": 4, "image_url": "u"}, "stream background of the layout: u"),
        ({"image_type": "2", "image_url": "u"}, "watermark: u"),
        ({"image_type": 9, "image_url": "u"}, "image of type 9: u"),
        ({"image_type": 2}, "watermark: address not told"),
        ({"image_url": ["u"]}, "image of type None: address not told"),
    ],
)
def test_an_image_that_could_not_be_downloaded_is_a_notice(detail: dict[str, Any], words: str) -> None:
    assert said(3, detail).notice == ("image_download_failed", words)


def test_a_notice_without_end_is_cut() -> None:
    for event_type, detail in ((3, {"image_url": "u" * TEXT_LIMIT}), (6, {"stream_id": "s" * TEXT_LIMIT})):
        notice = said(event_type, detail).notice
        assert notice is not None
        assert len(notice[1]) == WORDS_KEPT
    assert said(3, {"image_url": "u" * 10**6}).notice == (
        "image_download_failed",
        "image of type None: address not told",
    )


def test_a_playlist_without_an_address_is_none() -> None:
    assert said(102, {"stream_id": "s1", "file_id": "f"}).playlist is None
    assert said(102, {"file_url": "u"}).playlist == Playlist(url="u")


# -- files


@pytest.mark.parametrize("value", [None, [], {}, "", "x", 5, True])
def test_a_list_of_files_that_is_none_is_empty(value: Any) -> None:
    told = [said(1, {"file_info": value}), said(1, {})]
    assert [one.files for one in told] == [(), ()]


def test_a_list_of_files_is_the_last_word_only_if_every_file_could_be_read_and_none_is_kept_back() -> None:
    good, unreadable = {"file_id": "f", "status": 3}, {"file_id": "f" * 2000, "status": 5}
    whole = [{"file_info": [good]}, {"file_info": []}, {"upload_status": 1, "file_info": []}]
    parts = [
        {},
        {"file_info": None},
        {"file_info": "x"},
        {"file_info": [good, unreadable]},
        {"file_info": ["x"]},
        {"file_info": [good] * (FILES_READ + 1)},
        {"upload_status": 2, "file_info": []},
    ]
    assert [said(1, detail).is_last_word for detail in whole] == [True] * len(whole)
    assert [said(1, detail).is_last_word for detail in parts] == [False] * len(parts)


def test_a_signature_in_other_letters_is_the_same_signature() -> None:
    once = read(json.dumps(a_body()).encode())
    again = read(json.dumps(a_body(signature=(once.signature or "").upper())).encode())
    assert again.signed == once.signed
    assert again.is_signed_by(SECRET)


def test_a_byte_order_mark_before_the_body_is_skipped() -> None:
    body = json.dumps(a_body()).encode()
    assert read(b"\xef\xbb\xbf" + body) == read(body)


@pytest.mark.parametrize("event_type", [number for number in EVENTS if number != 1])
def test_only_an_upload_tells_of_files(event_type: int) -> None:
    assert said(event_type, {"file_info": [{"file_id": "f", "status": 3}]}).files == ()


@pytest.mark.parametrize(
    ("status", "known"),
    [
        (1, FileStatus.RECORDING),
        (2, FileStatus.UPLOADING),
        (3, FileStatus.UPLOADED),
        (4, FileStatus.UPLOADED_TO_BACKUP),
        (5, FileStatus.LOST),
        ("3", FileStatus.UPLOADED),
        (6, FileStatus.UNKNOWN),
        (None, FileStatus.UNKNOWN),
        ("x", FileStatus.UNKNOWN),
    ],
)
def test_a_files_status_is_translated_and_a_new_one_carried(status: Any, known: FileStatus) -> None:
    (file,) = files_of({"file_id": "f", "status": status}) or ()
    assert file.status is known


@pytest.mark.parametrize(
    "bad",
    [None, "x", 5, True, [], [1], {"file_id": "f" * (TEXT_LIMIT + 1), "status": 3}],
    ids=lambda bad: repr(bad)[:20],
)
def test_a_file_that_cannot_be_read_does_not_hide_the_others(bad: Any) -> None:
    told = files_of({"file_id": "f0", "status": 3}, bad, {"file_id": "f1", "status": 4})
    assert [file.file_id for file in told or ()] == ["f0", "f1"]


def test_a_file_without_an_id_still_counts() -> None:
    told = files_of({"stream_id": "s", "begin_timestamp": 5, "status": 3}, {}) or ()
    assert [file.file_id for file in told] == [f"{TASK_ID}:s:5", f"{TASK_ID}::0"]


def test_members_of_a_file_that_nobody_knows_do_no_harm() -> None:
    strange = {"file_id": "f", "status": 3, "": 1, "_": 2, "__x__": 3, "ß_é": 5, "\ud800": 6, "a b": {}}
    assert files_of(strange) == (SeenFile(file_id="f", status=FileStatus.UPLOADED, status_code=3),)


def test_the_older_member_of_a_file_is_read() -> None:
    (file,) = files_of({"file_id": "f", "status": 3, "custom_begin_timestamp": 7}) or ()
    assert file.custom_begin_timestamp == 7


def test_a_callback_with_thousands_of_files_is_read_up_to_a_limit() -> None:
    told = files_of(*({"file_id": f"f{number}", "status": 3} for number in range(5000))) or ()
    assert [file.file_id for file in told] == [f"f{number}" for number in range(FILES_READ)]


def test_screenshots_are_told_apart_from_media() -> None:
    formats = ("jpg", "mp4", None, "ogg", "jpg")
    told = said(1, {"file_info": [{"file_id": f"f{i}", "output_file_format": f} for i, f in enumerate(formats)]})
    assert [file.file_id for file in told.images] == ["f0", "f4"]
    assert [file.file_id for file in told.media] == ["f1", "f2", "f3"]
    assert told.is_last_word
    assert not said(1, {"file_info": [{"file_id": "f", "output_file_format": "jpg"}]}).is_last_word


# -- what no database stores


@pytest.mark.parametrize(
    ("escaped", "kept"), [(r"a\u0000b", "a\ufffdb"), (r"a\ud800b", "a?b"), (r"\ud83d\ude00", "\U0001f600")]
)
def test_text_is_kept_in_a_form_that_every_database_stores(escaped: str, kept: str) -> None:
    detail = {"file_info": [{"file_id": "@", "user_name": "@", "status": 3}]}
    letter = read(json.dumps(a_body(1, detail, task_id="@", nonce="@")).replace("@", escaped).encode())
    (file,) = letter.callback.files
    assert (letter.task_id, letter.nonce, file.file_id, file.user_name) == (kept, kept, kept, kept)
    assert storable(letter)


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", "\ufeff".encode()])
def test_bytes_that_are_no_text_do_no_harm(raw: bytes) -> None:
    letter = read(as_json(a_body(message="@")).replace(b"@", raw))
    assert letter.is_signed_by(SECRET)
    assert storable(letter)


@pytest.mark.parametrize("raw", ["\x00", "%00", "%ff", "%ed%a0%80"])
def test_a_form_is_kept_in_that_form_too(raw: str) -> None:
    letter = read(urlencode(a_body(task_id="@")).replace("%40", raw).encode())
    assert letter.is_signed_by(SECRET)
    assert storable(letter)


def texts(value: Any) -> list[str]:
    """All text in a value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, (tuple, list)):
        return [text for one in value for text in texts(one)]
    names = getattr(value, "__dataclass_fields__", ())
    return [text for name in names for text in texts(getattr(value, name))]


def storable(letter: Letter) -> bool:
    return all(clean(text) == text for text in texts(letter))


# -- what is no callback

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        *("", " ", "null", "true", "5", '"text"', "[]", "[{}]", "{", "NaN", '{"a": 1} trailing', "{'a': 1}"),
        *("<html>", "a=1&b=2", "signatur=x", "&" * 100 + "signature=x", "\x00", DEEP, '{"a":' + DEEP, quote(DEEP)),
        *('{"app_id": ' + "9" * 5000 + "}", "%", "%zz", "+", "=", "&&&&"),
        json.dumps(json.dumps(a_body())),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_neither_json_nor_a_form_is_refused(body: str) -> None:
    with pytest.raises(CallbackUnreadable):
        read(body.encode())


@pytest.mark.parametrize("body", [b"\xff\xfe", b"\x80", b"\x00\x00\xfe\xff", b"\x1f\x8b\x08"])
def test_bytes_that_are_no_text_are_refused(body: bytes) -> None:
    with pytest.raises(CallbackUnreadable):
        read(body)


@pytest.mark.parametrize("detail", [DEEP, '{"a":' * 100_000, '{"file_info":' + DEEP], ids=lambda text: text[:20])
def test_a_detail_nested_without_end_is_like_none(detail: str) -> None:
    assert said(1, detail) == said(1)


@pytest.mark.parametrize("depth", [50, 500, 900])
def test_what_is_nested_deeply_is_carried(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    body = json.dumps(a_body(1, {"file_info": [{"file_id": "f", "status": "@"}], "x": "@"}, message="@"))
    letter = read(body.replace('"@"', nested).encode())
    assert [file.file_id for file in letter.callback.files] == ["f"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_carried(number: str) -> None:
    body = json.dumps(a_body(1, {"file_info": [{"file_id": "f", "status": "@", "duration": "@"}]}, sequence="@"))
    letter = read(body.replace('"@"', number).encode())
    assert (letter.sequence, letter.callback.files) == (None, (SeenFile(file_id="f", status=FileStatus.UNKNOWN),))


@pytest.mark.parametrize("space", [" ", "\n", "\x1c", "\x1f", "\x85", "\u3000"])
def test_a_number_may_stand_among_spaces(space: str) -> None:
    letter = read(json.dumps(a_body(f"{space}1{space}", sequence=f"{space}-7")).encode())
    assert (letter.callback.event, letter.sequence) == (said(1).event, -7)


def test_an_object_without_anything_is_a_callback_that_nobody_signed() -> None:
    letter = read(b"{}")
    assert letter.callback == Callback(event=CallbackEvent.UNKNOWN)
    assert (letter.app_id, letter.task_id) == (None, None)
    assert not letter.is_signed_by(SECRET)


# -- anything at all

KEYS = st.sampled_from(
    [
        *("app_id", "task_id", "event_type", "nonce", "timestamp", "signature", "sequence", "detail", "file_info"),
        *("quit_reason", "image_type", "stream_id", "file_id", "file_url", "status", "begin_timestamp", "message"),
    ]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([*EVENTS, 2**63, 10**30])
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(["0", "²", "٣", "\ud800", "\x00"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5))
DETAILS = st.dictionaries(KEYS, SCALARS | st.lists(st.dictionaries(KEYS | st.text(max_size=4), SCALARS) | JSON)) | JSON
CALLBACKS = st.builds(
    lambda event_type, detail, more: a_body(event_type) | more | {"detail": detail},
    st.sampled_from([*EVENTS]) | SCALARS,
    DETAILS | DETAILS.map(json.dumps),
    st.dictionaries(KEYS, JSON, max_size=3),
)


def attempt(body: bytes) -> Letter | None:
    """The letter that a body comes to, or None if it is refused; anything else is raised."""
    try:
        letter = read(body)
    except CallbackUnreadable:
        return None
    assert len(letter.signed) == len(letter.said) == 64
    letter.is_signed_by(SECRET)
    return letter


@settings(max_examples=300, deadline=None)
@given(body=CALLBACKS | JSON)
def test_any_json_object_is_a_letter_that_every_database_stores(body: Any) -> None:
    letter = attempt(as_json(body))
    assert (letter is not None) is isinstance(body, dict)
    assert letter is None or storable(letter)


@settings(max_examples=200, deadline=None)
@given(body=CALLBACKS)
def test_a_form_is_a_letter_too(body: dict[str, Any]) -> None:
    fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    letter = attempt(urlencode(fields, errors="replace").encode())
    assert letter is not None
    assert storable(letter)


ALPHABET = string.printable + 'äÄ漢{}[]":,%&=+\\'


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=60) | st.text(ALPHABET, max_size=60).map(str.encode))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    attempt(body)
    attempt(b"signature=" + body)
    attempt(b'{"detail": ' + body + b"}")
