"""Sets of words, each a type with a name of its own in the API's description."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field
from typing_extensions import TypeAliasType

from app.api.schemas import one_of
from app.core.codes import MEDIA_TRACK_TYPES, QUIT_REASONS, RECORD_MODES, STREAM_TYPES
from app.core.deliveries import EventType
from app.core.public import CALLBACK_RECEIVED
from app.tracking.audit import Action

Source = TypeAliasType(
    "Source",
    Annotated[
        Literal["poll", "callback"], Field(description="Where it is known from: asking the provider, or its callbacks.")
    ],
)
EventSource = TypeAliasType(
    "EventSource",
    Annotated[Literal["poll", "callback", "sweep", "api", "timer"], Field(description="Who brought a change about.")],
)
RegisteredVia = TypeAliasType(
    "RegisteredVia", Annotated[Literal["api", "sweep", "callback"], Field(description="Who brought a task here.")]
)
Verdict = TypeAliasType(
    "Verdict", Annotated[Literal["accepted", "repeat", "suspicious"], Field(description="What a callback is worth.")]
)
TaskOrder = TypeAliasType(
    "TaskOrder",
    Annotated[
        Literal["registered_at", "updated_at"],
        Field(description="By registration newest first, or by update oldest first."),
    ],
)
Awaited = TypeAliasType("Awaited", Annotated[Literal["ended", "settled"], Field(description="What is waited for.")])
FeedType = TypeAliasType("FeedType", Annotated[EventType, Field(description="What the feed tells of. More may come.")])
ItemResult = TypeAliasType(
    "ItemResult",
    Annotated[Literal["created", "existing", "conflict", "invalid"], Field(description="What became of an item.")],
)
AttentionWord = TypeAliasType(
    "AttentionWord",
    Annotated[
        Literal["failing", "not_found", "expiring", "lost", "backup_expiring"],
        Field(description="Why a person should look. `not_found`: the provider does not know the id (mistyped?)."),
    ],
)
RecordMode = TypeAliasType(
    "RecordMode", Annotated[str, one_of([*RECORD_MODES.values(), "unknown"], "One file per stream, or one of all.")]
)
StreamType = TypeAliasType(
    "StreamType", Annotated[str, one_of([*STREAM_TYPES.values(), "unknown"], "What is recorded.")]
)
MediaTrackType = TypeAliasType(
    "MediaTrackType", Annotated[str, one_of([*MEDIA_TRACK_TYPES.values(), "unknown"], "What is in it.")]
)
QuitReason = TypeAliasType(
    "QuitReason",
    Annotated[
        str,
        one_of(
            [*QUIT_REASONS.values(), "unknown"], "Why a recording ended abnormally, as the provider's callback tells."
        ),
    ],
)
NoticeCode = TypeAliasType(
    "NoticeCode", Annotated[str, one_of(["image_download_failed", "stream_missing", "room_empty"], "What is told.")]
)
EventName = TypeAliasType(
    "EventName", Annotated[str, one_of([*get_args(EventType), CALLBACK_RECEIVED], "What happened. More may come.")]
)
DeliveryStatus = TypeAliasType(
    "DeliveryStatus",
    Annotated[
        Literal["pending", "delivered", "failed", "cancelled"],
        Field(description="`failed`: given up after the last attempt. `cancelled`: its subscription was deleted."),
    ],
)
DisabledReason = TypeAliasType(
    "DisabledReason",
    Annotated[
        Literal["caller", "gone", "failing"],
        Field(description="`gone`: answered by 410. `failing`: without success for 5 days."),
    ],
)
ReplayOnly = TypeAliasType(
    "ReplayOnly",
    Annotated[
        Literal["undelivered", "all"], Field(description="`undelivered`: those that never were, or were given up.")
    ],
)
AuditAction = TypeAliasType("AuditAction", Annotated[Action, Field(description="What somebody did. More may come.")])
