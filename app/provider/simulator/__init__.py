"""A provider on loopback to develop, test and demonstrate against.

It speaks the provider's protocol from its documentation alone and imports nothing of the rest of `app`, so
that renaming our code can neither break nor fool it. `Simulator` is all of its state, without I/O; `serve`
puts it behind HTTP, and `send_callbacks` sends what it has to say of itself.
"""

from app.provider.simulator.answers import Reply
from app.provider.simulator.callbacks import Callback, Event, callback_signature, callbacks
from app.provider.simulator.credentials import signature
from app.provider.simulator.faults import Faults
from app.provider.simulator.gateway import DESCRIBE, LIST, Simulator
from app.provider.simulator.lists import ListReading
from app.provider.simulator.lives import LIVES
from app.provider.simulator.recordings import FileTruth, Truth
from app.provider.simulator.sender import send_callbacks
from app.provider.simulator.server import Server, run, serve
from app.provider.simulator.traffic import CallbackCounts, Counts, Stats

__all__ = [
    "DESCRIBE",
    "LIST",
    "LIVES",
    "Callback",
    "CallbackCounts",
    "Counts",
    "Event",
    "Faults",
    "FileTruth",
    "ListReading",
    "Reply",
    "Server",
    "Simulator",
    "Stats",
    "Truth",
    "callback_signature",
    "callbacks",
    "run",
    "send_callbacks",
    "serve",
    "signature",
]
