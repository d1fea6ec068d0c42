"""Checks the common query parameters (docs/provider.md 1.2, §1.3, §5.2).

One check is stricter than the provider documents: a nonce may not be used twice within 10 minutes. The
provider only asks for a new signature per call; a client that repeats itself should find out here.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from app.provider.simulator.answers import (
    BAD_APP_ID,
    BAD_SIGNATURE_VERSION,
    BAD_TIMESTAMP,
    NO_NONCE,
    NO_SIGNATURE,
    NO_SIGNATURE_VERSION,
    NO_TIMESTAMP,
    SIGNATURE_EXPIRED,
    UNKNOWN_APP,
    WRONG_SIGNATURE,
    RefusalError,
)

VALIDITY = 600.0
_UINT32 = re.compile(r"0|[1-9][0-9]{0,9}")
_UNIX_SECONDS = re.compile(r"[0-9]{1,10}")


class Credentials:
    """The apps which may call, with their server secrets, and the nonces they have used."""

    def __init__(self, apps: Mapping[int, str]) -> None:
        self._apps = dict(apps)
        self._used: dict[tuple[int, str], float] = {}

    def app_id(self, query: Mapping[str, str]) -> int:
        """Return the caller's AppId; refuse one which is malformed or unknown."""
        text = query.get("AppId", "")
        if not _UINT32.fullmatch(text) or (app_id := int(text)) >= 1 << 32:
            raise RefusalError(BAD_APP_ID, "AppId must be a 32-bit unsigned number")
        if app_id not in self._apps:
            raise RefusalError(UNKNOWN_APP, "could not get the configuration of this AppId")
        return app_id

    def check(self, query: Mapping[str, str], *, now: float, stamp: float) -> None:
        """Refuse a call that is not well signed. `now` is Unix seconds, `stamp` monotonic seconds."""
        app_id = self.app_id(query)
        timestamp = query.get("Timestamp") or _missing(NO_TIMESTAMP, "Timestamp")
        if not _UNIX_SECONDS.fullmatch(timestamp):
            raise RefusalError(BAD_TIMESTAMP, "Timestamp must be Unix seconds")
        if abs(now - int(timestamp)) > VALIDITY:
            raise RefusalError(SIGNATURE_EXPIRED, "signature expired: Timestamp is more than 10 minutes off")
        nonce = query.get("SignatureNonce") or _missing(NO_NONCE, "SignatureNonce")
        version = query.get("SignatureVersion") or _missing(NO_SIGNATURE_VERSION, "SignatureVersion")
        if version != "2.0":
            raise RefusalError(BAD_SIGNATURE_VERSION, "SignatureVersion must be 2.0")
        given = query.get("Signature") or _missing(NO_SIGNATURE, "Signature")
        right = signature(query["AppId"], nonce, self._apps[app_id], timestamp)
        if not hmac.compare_digest(given.encode(), right.encode()):
            raise RefusalError(WRONG_SIGNATURE, "signature wrong")
        self._use(app_id, nonce, stamp)

    def _use(self, app_id: int, nonce: str, stamp: float) -> None:
        # The oldest come first, as dictionaries keep the order in which keys were added.
        while self._used and (oldest := next(iter(self._used.items())))[1] <= stamp - VALIDITY:
            del self._used[oldest[0]]
        if (app_id, nonce) in self._used:
            raise RefusalError(WRONG_SIGNATURE, "SignatureNonce was used within 10 minutes (simulator's rule)")
        self._used[app_id, nonce] = stamp


def signature(app_id: str, nonce: str, secret: str, timestamp: str) -> str:
    """Return the lower-case hexadecimal MD5 of the four texts, joined in this order (docs/provider.md 1.3)."""
    joined = f"{app_id}{nonce}{secret}{timestamp}".encode()
    return hashlib.md5(joined, usedforsecurity=False).hexdigest()


def _missing(code: int, name: str) -> str:
    raise RefusalError(code, f"{name} is missing")
