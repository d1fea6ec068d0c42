"""A clock that stands still, and a caller who signs as the provider's documents say."""

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from app.provider.simulator import DESCRIBE, Reply, Simulator

APP, SECRET = 12345, "9193cc662a4c0ec135ec71fb57194b38"
OTHER_APP, OTHER_SECRET = 77, "00000000000000000000000000000077"
NOW = 1_767_323_045.678


@dataclass
class Clock:
    """Unix seconds, moved by hand; the same clock serves as the monotonic one."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """Calls a simulator in process, with a fresh nonce each time."""

    simulator: Simulator
    clock: Clock
    nonces: "itertools.count[int]" = field(default_factory=itertools.count)

    def query(self, action: str = DESCRIBE, app_id: int = APP, secret: str = SECRET) -> dict[str, str]:
        """Return the query parameters of a well-signed call."""
        nonce, timestamp = f"{next(self.nonces):016x}", str(int(self.clock.now))
        signed = hashlib.md5(f"{app_id}{nonce}{secret}{timestamp}".encode()).hexdigest()
        return {
            "Action": action,
            "AppId": str(app_id),
            "SignatureNonce": nonce,
            "Timestamp": timestamp,
            "Signature": signed,
            "SignatureVersion": "2.0",
        }

    def reply(self, body: object, action: str = DESCRIBE, method: str = "POST", **changed: str | None) -> Reply:
        """Call with some query parameters changed, or left out for None."""
        query = {**self.query(action), **changed}
        present = {name: value for name, value in query.items() if value is not None}
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.simulator.answer(present, sent, method)

    def ask(self, body: object, action: str = DESCRIBE, method: str = "POST", **changed: str | None) -> Any:
        """Call, and return the decoded answer."""
        return json.loads(self.reply(body, action, method, **changed).body)

    def describe(self, task_id: str) -> Any:
        """Ask for one task and return the decoded answer."""
        return self.ask({"TaskId": task_id})
