"""What only callbacks tell of a recording, as values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from app.core.values import value


class CallbackEvent(StrEnum):
    """What a callback is about; `unknown` for numbers nobody has documented yet."""

    UPLOAD_FINISHED = "upload_finished"
    ENDED_ABNORMALLY = "ended_abnormally"
    IMAGE_DOWNLOAD_FAILED = "image_download_failed"
    ROOM_EMPTY = "room_empty"
    ENDED = "ended"
    STREAM_MISSING = "stream_missing"
    STOPPED = "stopped"
    LIVE_PLAYLIST = "live_playlist"
    PAUSED = "paused"
    RESUMED = "resumed"
    UNKNOWN = "unknown"


@value
class Playlist:
    """The address of a live M3U8 playlist."""

    url: str
    stream_id: str | None = None
    file_id: str | None = None
    media_track_type_code: int | None = None


@value
class Notice:
    """Something that callbacks told, as often as they did."""

    code: str
    detail: str
    first_at: datetime
    last_at: datetime
    count: int = 1


@value
class LastCallback:
    """The newest callback about a task."""

    event_type: int | None
    event: CallbackEvent
    received_at: datetime


@value
class Told:
    """What only callbacks tell of a task, beside what polls say of it.

    ``quit_reason_at``: when the callback that gave the reason was received. ``hurries_until``: how far into the future
    the polls that callbacks may ask for are used up.
    """

    quit_reason_code: int | None = None
    quit_reason_at: datetime | None = None
    playlists: tuple[Playlist, ...] = ()
    notices: tuple[Notice, ...] = ()
    last: LastCallback | None = None
    hurries_until: datetime | None = None


NOTHING_TOLD = Told()
