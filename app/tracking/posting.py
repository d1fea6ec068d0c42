"""Signs a webhook and sends it."""

from __future__ import annotations

import structlog

from app.clock import Clock
from app.core.deliveries import EXCERPT, Attempt, Subscription
from app.core.signing import webhook_headers
from app.outgoing.sender import Sender
from app.secret_box import SecretBox

log = structlog.get_logger(__name__)


class Post:
    """Signs and sends one body."""

    def __init__(self, sender: Sender, box: SecretBox, clock: Clock) -> None:
        self._sender, self._box, self._clock = sender, box, clock

    async def send(self, to: Subscription, id: str, text: bytes) -> Attempt:
        """One attempt; whatever goes wrong is its error."""
        at, began = self._clock.now(), self._clock.monotonic()
        try:
            keys = [self._box.open(sealed) for sealed in to.signing(at)]
            headers = {"content-type": "application/json", **webhook_headers(id, at, text, keys)}
            answer = await self._sender.post(to.url, headers, text)
        except Exception:
            log.exception("delivery crashed", subscription=to.name, webhook_id=id)
            took = round((self._clock.monotonic() - began) * 1000)
            return Attempt(at, None, took, "our own fault; see the log", None)
        return Attempt(
            at,
            answer.status_code,
            answer.duration_ms,
            _storable(answer.error),
            _storable(answer.excerpt),
            answer.retry_after,
        )


def _storable(text: str | None) -> str | None:
    return text[:EXCERPT].replace("\x00", "\ufffd").encode("utf-8", "replace").decode() if text else None
