"""Reading an answer as it comes in, so that it can grow beyond no limit, whatever the sender says of it."""

from __future__ import annotations

import zlib
from typing import Any

import httpx

from app.errors import AnswerUnknown, ProviderUnavailable

ANSWER_LIMIT = 8 * 1024 * 1024
"""Bytes of an answer, unpacked; a file takes some 700."""

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})


class Reading:
    """The body of one answer. We ask for none that is packed; one that comes packed all the same is unpacked."""

    def __init__(self, encoding: str) -> None:
        """``encoding``: the Content-Encoding. Raises ProviderUnavailable if it is none that we can unpack."""
        self._body = bytearray()
        self._packing: Any = None
        word = encoding.strip().lower()
        if word in _PACKED:
            self._packing = zlib.decompressobj(_ZLIB_OR_GZIP)
        elif word not in ("", "identity"):
            raise ProviderUnavailable("cannot_unpack", f"the answer's Content-Encoding is {encoding!r}")

    def take(self, piece: bytes) -> None:
        """Take in what came. Raises AnswerUnknown beyond the limit, ProviderUnavailable for a broken packing."""
        if self._packing is not None:
            try:
                # Never more than fits: a kilobyte can unpack to a megabyte.
                piece = self._packing.decompress(piece, ANSWER_LIMIT + 1 - len(self._body))
            except zlib.error as error:
                raise ProviderUnavailable("cannot_unpack", f"the answer is packed wrongly: {error}") from None
        self._body += piece
        if len(self._body) > ANSWER_LIMIT:
            raise AnswerUnknown("answer_too_large", f"more than {ANSWER_LIMIT} bytes")

    @property
    def body(self) -> bytes:
        return bytes(self._body)


def has_surplus(client: httpx.AsyncClient) -> bool:
    """Whether something came behind the last answer on this client's connection.

    The HTTP library would take it for the answer to the next call: another task's. Its public names do not tell; a test
    holds these.
    """
    transport: Any = client._transport
    connections = transport._pool.connections if hasattr(transport, "_pool") else ()
    states = [getattr(getattr(one, "_connection", None), "_h11_state", None) for one in connections]
    return any(state is not None and state.trailing_data[0] for state in states)
