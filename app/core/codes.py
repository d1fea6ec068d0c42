"""The words for the provider's numbers that are shown and decide nothing."""

from __future__ import annotations

from collections.abc import Mapping

RECORD_MODES = {1: "single_stream", 2: "mixed_stream"}
STREAM_TYPES = {1: "audio", 2: "video", 3: "audio_video", 4: "audio_video_separate"}
MEDIA_TRACK_TYPES = {1: "audio", 2: "video", 3: "audio_video"}
QUIT_REASONS = {
    1: "start_failed", 2: "login_failed", 3: "idle", 4: "max_duration", 5: "engine_start_failed", 6: "network_lost",
    1001: "unspecified", 1002: "file_name_too_long", 1003: "file_open_failed", 1004: "disk_full",
    1005: "engine_init_failed", 1006: "header_write_failed", 1007: "write_bad_descriptor", 1008: "write_io_error",
    1009: "channel_error", 1010: "unsupported_format", 1011: "illegal_state",
}  # fmt: skip
"""Why a recording ended abnormally (docs/provider.md 4.3); `idle` and `max_duration` are ordinary ends."""


def word(code: int | None, words: Mapping[int, str]) -> str | None:
    """The word for a provider's number; ``unknown`` for a new one."""
    return None if code is None else words.get(code, "unknown")
