"""What the simulated provider gives back: replies, and refusals by return code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and how the server has to behave: wait `delay` seconds, then send it, or hang, or reset.

    With `hang` or `reset` there is nothing to send: the client is left waiting, or gets a TCP reset.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    hang: bool = False
    reset: bool = False


class RefusalError(Exception):
    """The provider answers with a code other than 0 (docs/provider.md 5)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


OK = 0
BAD_APP_ID = 100000001
NO_TIMESTAMP = 100000002
BAD_TIMESTAMP = 100000003
SIGNATURE_EXPIRED = 100000004
WRONG_SIGNATURE = 100000005
NO_ACTION = 100000006
UNSUPPORTED_ACTION = 100000007
NO_NONCE = 100000008
NO_SIGNATURE = 100000009
UNKNOWN_APP = 100000011
NO_SIGNATURE_VERSION = 100000013
BAD_SIGNATURE_VERSION = 100000014
THROTTLED = 300000003
INVALID_PARAMETER = 300000004
NO_SUCH_TASK = 300001000
SYSTEM_ERROR = 300010000


def json_reply(content: Mapping[str, object], status: int = 200) -> Reply:
    """Return a JSON answer."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status, body, (("Content-Type", "application/json"),))
