"""A provider on loopback to develop, test and demonstrate against.

It speaks the provider's protocol from its documentation alone and imports nothing of the rest of `app`, so
that renaming our code can neither break nor fool it. `Simulator` is all of its state, without I/O; `serve`
puts it behind HTTP.
"""

from app.provider.simulator.answers import Reply
from app.provider.simulator.credentials import signature
from app.provider.simulator.faults import Faults
from app.provider.simulator.gateway import DESCRIBE, LIST, Simulator
from app.provider.simulator.lives import LIVES
from app.provider.simulator.recordings import FileTruth, Truth
from app.provider.simulator.server import Server, run, serve
from app.provider.simulator.traffic import Counts, Stats

__all__ = [
    "DESCRIBE",
    "LIST",
    "LIVES",
    "Counts",
    "Faults",
    "FileTruth",
    "Reply",
    "Server",
    "Simulator",
    "Stats",
    "Truth",
    "run",
    "serve",
    "signature",
]
