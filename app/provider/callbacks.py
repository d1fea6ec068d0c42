"""The provider's callbacks: their JSON, leniently typed, and their numbers in our words (docs/provider.md 4).

Nothing here is believed: `read` says what a body claims, `Letter.is_signed_by` whether the three signed values fit.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from pydantic import BaseModel
from pydantic.alias_generators import to_pascal

from app.core.hearing import Callback
from app.core.recording import SeenFile
from app.core.signing import callback_signature
from app.core.told import CallbackEvent, Playlist
from app.errors import CallbackUnreadable
from app.provider.fields import Integer, Positive, Words, clean
from app.provider.wire import WireFile, seen_file

EVENTS = {
    1: CallbackEvent.UPLOAD_FINISHED,
    2: CallbackEvent.ENDED_ABNORMALLY,
    3: CallbackEvent.IMAGE_DOWNLOAD_FAILED,
    4: CallbackEvent.ROOM_EMPTY,
    5: CallbackEvent.ENDED,
    6: CallbackEvent.STREAM_MISSING,
    7: CallbackEvent.STOPPED,
    102: CallbackEvent.LIVE_PLAYLIST,
    201: CallbackEvent.PAUSED,
    202: CallbackEvent.RESUMED,
}
IMAGES = {
    1: "canvas background",
    2: "watermark",
    3: "default stream background",
    4: "stream background of the layout",
}

FILES_READ = 1000
"""Files of one callback at most; a task has 36 streams."""

NOT_ALL_UPLOADED = 2
"""``upload_status``: at least one file did not reach the customer's storage."""

WORDS_KEPT = 1024
"""Characters of a notice's detail."""


class WireCallback(BaseModel, frozen=True):
    """The top level (docs/provider.md 4.2). The signed values stay as they were sent; a number counts as its digits."""

    app_id: Integer = None
    task_id: Words = None
    event_type: Integer = None
    nonce: Words = None
    timestamp: Words = None
    signature: Words = None
    sequence: Integer = None


class WireDetail(BaseModel, frozen=True):
    """The members of ``detail`` that some event or other has (docs/provider.md 4.3)."""

    upload_status: Integer = None
    quit_reason: Positive = None
    image_type: Integer = None
    image_url: Words = None
    stream_id: Words = None
    file_id: Words = None
    file_url: Words = None
    media_track_type: Positive = None


@dataclass(frozen=True)
class Letter:
    """A callback as it arrived: what it claims, the three values that are signed, and its text."""

    app_id: int | None
    task_id: str | None
    sequence: int | None
    nonce: str | None
    timestamp: str | None
    signature: str | None
    callback: Callback
    text: str

    @cached_property
    def signed(self) -> str:
        """A digest of what the signature vouches for."""
        return _digest(json.dumps([self.app_id, self.timestamp, self.nonce, (self.signature or "").lower()]))

    @cached_property
    def said(self) -> str:
        """A digest of all it says."""
        return _digest(self.text)

    def is_signed_by(self, secret: str) -> bool:
        """Whether the signature fits the timestamp and the nonce; the rest is not covered. In constant time."""
        expected = callback_signature(secret, self.timestamp or "", self.nonce or "")
        return hmac.compare_digest(expected.encode(), (self.signature or "").lower().encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def event_of(event_type: int | None) -> CallbackEvent:
    """The word for the provider's number."""
    return EVENTS.get(event_type or 0, CallbackEvent.UNKNOWN)


def numbers_of(*events: CallbackEvent) -> list[int]:
    """The provider's numbers for these words."""
    return [number for number, event in EVENTS.items() if event in events]


def read(body: bytes) -> Letter:
    """What a body claims, whatever its Content-Type was. Raises CallbackUnreadable if it is neither JSON nor a form."""
    text = clean(body.decode("utf-8-sig", "replace"))
    members = _members(text)
    if members is None:
        raise CallbackUnreadable("the body is neither a JSON object nor one of the older forms of a callback")
    wire = WireCallback.model_validate(members)
    return Letter(
        app_id=wire.app_id,
        task_id=wire.task_id[:64] if wire.task_id else None,
        sequence=wire.sequence,
        nonce=wire.nonce,
        timestamp=wire.timestamp,
        signature=wire.signature,
        callback=_callback(wire, members),
        text=text,
    )


def _members(text: str) -> dict[str, Any] | None:
    """The members of a JSON object, of URL-encoded JSON, or of a form (docs/provider.md 4.1)."""
    for form in (text, unquote_plus(text)):
        members = _json(form)
        if isinstance(members, dict):
            return members
    fields = dict(parse_qsl(text, keep_blank_values=True)) if text.count("&") < 100 else {}
    return fields if "signature" in fields else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _callback(wire: WireCallback, members: Mapping[str, Any]) -> Callback:
    given = members.get("detail")
    parsed = _json(given) if isinstance(given, str) else given
    detail: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    about = WireDetail.model_validate(detail)
    event = event_of(wire.event_type)
    told = detail.get("file_info") if event is CallbackEvent.UPLOAD_FINISHED else None
    files = _files(wire.task_id or "", told)
    lost_without_a_word = about.upload_status == NOT_ALL_UPLOADED and not files
    return Callback(
        event=event,
        event_type=wire.event_type,
        quit_reason_code=about.quit_reason if event is CallbackEvent.ENDED_ABNORMALLY else None,
        files=files,
        is_whole=isinstance(told, list) and len(files) == len(told) and not lost_without_a_word,
        notice=_notice(event, about),
        playlist=_playlist(about) if event is CallbackEvent.LIVE_PLAYLIST else None,
    )


def _files(task_id: str, told: Any) -> tuple[SeenFile, ...]:
    """Those of its files that can be read: one that cannot must not hide the others."""
    files = []
    for one in told[:FILES_READ] if isinstance(told, list) else []:
        try:
            named = {to_pascal(name): value for name, value in one.items()}
            files.append(seen_file(task_id, WireFile.model_validate(named)))
        except (AttributeError, ValueError):  # ValidationError is a ValueError
            continue
    return tuple(files)


def _notice(event: CallbackEvent, about: WireDetail) -> tuple[str, str] | None:
    if event is CallbackEvent.IMAGE_DOWNLOAD_FAILED:
        image = IMAGES.get(about.image_type or 0, f"image of type {about.image_type}")
        return "image_download_failed", f"{image}: {about.image_url or 'address not told'}"[:WORDS_KEPT]
    if event is CallbackEvent.STREAM_MISSING:
        return "stream_missing", (about.stream_id or "")[:WORDS_KEPT]
    return ("room_empty", "") if event is CallbackEvent.ROOM_EMPTY else None


def _playlist(about: WireDetail) -> Playlist | None:
    if about.file_url is None:
        return None
    return Playlist(
        url=about.file_url,
        stream_id=about.stream_id,
        file_id=about.file_id,
        media_track_type_code=about.media_track_type,
    )
