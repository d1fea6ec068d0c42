"""The provider's JSON, leniently typed, and its numbers in our words.

Every field is optional and a field of the wrong type counts as absent, for nothing in the provider's documentation is
marked as required and new values are announced. Only what makes an answer useless is refused: no envelope, no status,
a list of files that is no list of objects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError
from pydantic.alias_generators import to_pascal

from app.core.recording import FileStatus, Observation, SeenFile, Status
from app.errors import (
    MESSAGE_LIMIT,
    AnswerUnknown,
    AppRefused,
    ProviderError,
    ProviderThrottled,
    ProviderUnavailable,
    TaskRefused,
    TaskUnknown,
)
from app.provider.fields import (
    ADDRESS_LIMIT,
    TEXT_LIMIT,
    Address,
    Integer,
    Key,
    Moment,
    Needed,
    Positive,
    Words,
    clean,
    integer,
    is_longer,
    moment,
    objects,
)

TASK_STATUS = {
    1: Status.INITIALIZED,
    2: Status.ONGOING,
    3: Status.COMPLETED,
    4: Status.ENDED_ABNORMALLY,
    5: Status.PAUSED,
}
FILE_STATUS = {
    1: FileStatus.RECORDING,
    2: FileStatus.UPLOADING,
    3: FileStatus.UPLOADED,
    4: FileStatus.UPLOADED_TO_BACKUP,
    5: FileStatus.LOST,
}

FILES_LIMIT = 10_000
"""Files of a task. More are not followed, and the task says so: a recording of a day in pieces of 10 s has fewer."""

TOO_MANY_FILES = "too_many_files"
"""Our code of an answer that lists more of them."""


@dataclass(frozen=True)
class Meaning:
    """What a return code means for us: the error to raise, our stable code for it, and what to do about it."""

    error: type[ProviderError]
    code: str
    advice: str


# docs/provider.md 5.1 and 5.2 (recording table and gateway table).
CODES: dict[int, Meaning] = {
    100000000: Meaning(AppRefused, "wrong_host", "check ZEGO_API_URL"),
    100000001: Meaning(AppRefused, "app_id_malformed", "check ZEGO_APP_ID"),
    100000002: Meaning(AppRefused, "timestamp_missing", "the provider changed its protocol"),
    100000003: Meaning(AppRefused, "timestamp_malformed", "the provider changed its protocol"),
    100000004: Meaning(AppRefused, "signature_expired", "this machine's or the database's clock is wrong"),
    100000005: Meaning(AppRefused, "signature_wrong", "check ZEGO_APP_ID and ZEGO_SERVER_SECRET"),
    100000006: Meaning(AppRefused, "action_missing", "the provider changed its protocol"),
    100000007: Meaning(AppRefused, "action_unsupported", "check ZEGO_API_URL"),
    100000008: Meaning(AppRefused, "nonce_missing", "the provider changed its protocol"),
    100000009: Meaning(AppRefused, "signature_missing", "the provider changed its protocol"),
    100000010: Meaning(AppRefused, "app_secret_unavailable", "check ZEGO_APP_ID, then ask the provider"),
    100000011: Meaning(AppRefused, "app_unknown", "check ZEGO_APP_ID, then ask the provider"),
    100000012: Meaning(ProviderUnavailable, "body_unreadable", "the provider could not read the request"),
    100000013: Meaning(AppRefused, "signature_version_missing", "the provider changed its protocol"),
    100000014: Meaning(AppRefused, "signature_version_unsupported", "the provider changed its protocol"),
    100000015: Meaning(ProviderUnavailable, "gateway_error", "the provider's gateway failed"),
    100000016: Meaning(AppRefused, "no_production_environment", "check ZEGO_IS_TEST"),
    100000017: Meaning(AppRefused, "service_not_enabled", "enable Cloud Recording in the provider's console"),
    300000002: Meaning(AppRefused, "service_not_activated", "activate Cloud Recording with the provider"),
    300000003: Meaning(ProviderThrottled, "throttled", "another program may share the AppId's limit"),
    300000004: Meaning(TaskRefused, "invalid_parameter", "see the provider's message"),
    300000005: Meaning(ProviderUnavailable, "gateway_check_failed", "if it lasts, ask the provider"),
    300000006: Meaning(TaskRefused, "too_many_tasks", "not expected for a query"),
    300001000: Meaning(TaskUnknown, "not_found", "mistyped, just started, or older than 3 days"),
    300001001: Meaning(TaskRefused, "already_ended", "not expected for a query"),
    300001004: Meaning(TaskRefused, "not_paused", "not expected for a query"),
    300010000: Meaning(ProviderUnavailable, "system_error", "the provider failed"),
}


class Wire(BaseModel):
    """The provider's answers, named as it names things."""

    model_config = ConfigDict(alias_generator=to_pascal, frozen=True)


class WireFile(Wire):
    """One entry of RecordFiles (docs/provider.md 2.2)."""

    status: Integer = None
    user_id: Words = None
    user_name: Words = None
    stream_id: Words = None
    file_id: Key = None
    video_id: Words = None
    file_url: Address = None
    output_file_format: Words = None
    file_size: Positive = None
    duration: Positive = None
    resolution_width: Positive = None
    resolution_height: Positive = None
    media_track_type: Positive = None
    begin_timestamp: Integer = None
    custom_begin_timestamp: Positive = None


class WireTask(Wire):
    """Data of DescribeRecordStatus (docs/provider.md 2.1)."""

    room_id: Words = None
    record_mode: Positive = None
    stream_type: Positive = None
    record_begin_timestamp: Moment = None
    record_end_timestamp: Moment = None
    status: Needed
    record_files: Annotated[tuple[WireFile, ...], BeforeValidator(objects)] = Field(())


class Envelope(Wire):
    """What every answer is wrapped in (docs/provider.md 1.4). Message says nothing about success."""

    code: Annotated[int, Strict()]
    message: Words = None
    request_id: Words = None
    data: Any = None


def read_envelope(body: bytes, http_status: int) -> Envelope:
    """The envelope of a successful answer; raises the ProviderError that anything else means."""
    try:
        envelope = Envelope.model_validate(json.loads(body))
    except (ValueError, RecursionError):
        raise _not_an_answer(body, http_status) from None
    if envelope.code == 0:
        if http_status >= 300:
            raise ProviderUnavailable("http_error", f"HTTP {http_status}", request_id=envelope.request_id)
        return envelope
    message = envelope.message or ""
    meaning = CODES.get(envelope.code)
    if meaning is None:
        text = f"undocumented code {envelope.code}: {message}"
        raise AnswerUnknown("unknown_code", text, request_id=envelope.request_id)
    text = f"{message[: MESSAGE_LIMIT // 2]} (code {envelope.code}; {meaning.advice})"
    raise meaning.error(meaning.code, text, request_id=envelope.request_id)


def as_json(body: bytes) -> str:
    """An answer's text, word for word but for what is no JSON though it was read: NaN and other than UTF-8."""
    if json.detect_encoding(body) == "utf-8" and b"NaN" not in body and b"Infinity" not in body:
        return clean(body.decode("utf-8", "replace"))
    return json.dumps(json.loads(body, parse_constant=lambda _: None, parse_float=_finite))


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def _not_an_answer(body: bytes, http_status: int) -> ProviderError:
    if http_status == 429:
        return ProviderThrottled("throttled", "HTTP 429")
    if http_status >= 300:
        return ProviderUnavailable("http_error", f"HTTP {http_status}")
    start = clean(body[:80].decode("utf-8", "replace"))
    return ProviderUnavailable("not_json", f"the answer is no JSON envelope; it starts with {start!r}")


def read_task(envelope: Envelope, task_id: str, *, claim_no: int, asked_at: datetime) -> Observation:
    """What an answer says of its task; raises AnswerUnknown if nothing can be read, or if it is about another."""
    if isinstance(envelope.data, dict):
        _check_whose(envelope, envelope.data, task_id)
    try:
        data = WireTask.model_validate(envelope.data)
        files = tuple(seen_file(task_id, file) for file in data.record_files)
    except (ValidationError, ValueError) as error:
        detail = _first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise AnswerUnknown("garbled", detail, request_id=envelope.request_id) from None
    ended = TASK_STATUS.get(data.status, Status.UNKNOWN).ended
    return Observation(
        claim_no=claim_no,
        asked_at=asked_at,
        status=TASK_STATUS.get(data.status, Status.UNKNOWN),
        status_code=data.status,
        room_id=data.room_id,
        record_mode_code=data.record_mode,
        stream_type_code=data.stream_type,
        began_at=data.record_begin_timestamp,
        ended_at=data.record_end_timestamp if ended else None,
        files=files,
    )


def ignored(data: Any) -> Counter[str]:
    """How much of an answer's Data counts as absent though it says something: `text` too long, `time` impossible."""
    found: Counter[str] = Counter()
    files = data.get("RecordFiles") if isinstance(data, dict) else None
    for part in (data, *(files if isinstance(files, list) else ())):
        for name, value in part.items() if isinstance(part, dict) else ():
            if isinstance(value, str) and is_longer(value, TEXT_LIMIT if name != "FileUrl" else ADDRESS_LIMIT):
                found["text"] += 1
            elif name in _TIMES and integer(value) not in (None, 0) and moment(value) is None:
                found["time"] += 1
    return found


_TIMES = ("RecordBeginTimestamp", "RecordEndTimestamp", "BeginTimestamp")


def _check_whose(envelope: Envelope, data: Mapping[str, Any], task_id: str) -> None:
    """Before the whole is read, which may be much. Raises AnswerUnknown."""
    named, files = data.get("TaskId"), data.get("RecordFiles")
    if isinstance(named, str) and named not in ("", task_id):
        shown = clean(named[:64])
        raise AnswerUnknown("other_task", f"an answer about another task, {shown!r}", request_id=envelope.request_id)
    if isinstance(files, list) and len(files) > FILES_LIMIT:
        raise too_many_files(len(files), request_id=envelope.request_id)


def too_many_files(number: int, *, request_id: str | None) -> AnswerUnknown:
    """What is said of a task with more files than are followed."""
    text = f"{number} files; {FILES_LIMIT} is the most that is followed, see docs/limits.md"
    return AnswerUnknown(TOO_MANY_FILES, text, request_id=request_id)


def seen_file(task_id: str, file: WireFile) -> SeenFile:
    """A file as it is described."""
    # A file without an id still counts: forgetting it could settle the task too early.
    file_id = file.file_id or f"{task_id}:{file.stream_id or ''}:{file.begin_timestamp or 0}"
    return SeenFile(
        file_id=file_id,
        status=FILE_STATUS.get(file.status or 0, FileStatus.UNKNOWN),
        status_code=file.status,
        user_id=file.user_id,
        user_name=file.user_name,
        stream_id=file.stream_id,
        video_id=file.video_id,
        file_url=file.file_url,
        output_file_format=file.output_file_format,
        file_size=file.file_size,
        duration_ms=file.duration,
        resolution_width=file.resolution_width,
        resolution_height=file.resolution_height,
        media_track_type_code=file.media_track_type,
        began_at=moment(file.begin_timestamp),
        custom_begin_timestamp=file.custom_begin_timestamp,
    )


def _first_fault(error: ValidationError) -> str:
    fault: Mapping[str, Any] = error.errors(include_input=False, include_url=False)[0]
    return f"Data.{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
