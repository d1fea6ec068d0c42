"""Puts a simulator behind HTTP on loopback: the provider's path `/`, and the control routes beside it."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qsl

from app.provider.simulator import control
from app.provider.simulator.answers import Reply
from app.provider.simulator.connection import BadRequestError, Connection, Request
from app.provider.simulator.gateway import Simulator
from app.provider.simulator.loopback import is_loopback
from app.provider.simulator.sender import RETRY_PAUSE, send_callbacks


class Server:
    """A simulator that listens. `port` and `url` (without a trailing slash) say where."""

    def __init__(self, simulator: Simulator, host: str) -> None:
        self.simulator = simulator
        self.host = _loopback(host)
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def open(self, port: int = 0) -> None:
        """Listen on this port, or on any free one for 0; OSError if it is taken."""
        self._listener = await asyncio.start_server(self._accept, self.host, port, backlog=1024, start_serving=False)
        self.port = self._listener.sockets[0].getsockname()[1]
        await self._listener.start_serving()

    async def close(self) -> None:
        """Stop listening and break every connection off, hanging ones included."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await listener.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._listener is None:
            writer.transport.abort()
            return
        client = asyncio.create_task(self._converse(Connection(reader, writer)))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _converse(self, connection: Connection) -> None:
        try:
            while (request := await connection.receive()) is not None:
                if not await self._respond(connection, request):
                    break
        except BadRequestError as wrong:
            with contextlib.suppress(OSError):
                await connection.refuse(control.error(wrong.status, wrong.message))
        except OSError:
            pass  # The client hung up; nobody is left to tell.
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            connection.close()

    async def _respond(self, connection: Connection, request: Request) -> bool:
        reply = await self._reply(request)
        if reply.hang:
            await connection.stay_silent()
            return False
        await _pause(reply.delay)
        if reply.reset:
            connection.reset()
            return False
        await connection.send(reply)
        return not connection.is_spent

    async def _reply(self, request: Request) -> Reply:
        if request.path == "/":
            await _pause(self.simulator.delay_before_arrival())
            query = dict(parse_qsl(request.query, keep_blank_values=True))
            return self.simulator.answer(query, request.body, request.method)
        return control.answer(self.simulator, request.method, request.path, request.body)


@contextlib.asynccontextmanager
async def serve(
    simulator: Simulator,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    callback_url: str | None = None,
    retry_pause: float = RETRY_PAUSE,
) -> AsyncIterator[Server]:
    """Listen, and send callbacks if there is a URL for them, while the context lasts.

    ValueError unless `host` and the URL's are loopback addresses or `localhost`.
    """
    server = Server(simulator, host)
    callbacks = send_callbacks(simulator, callback_url, retry_pause=retry_pause) if callback_url else None
    async with callbacks or contextlib.nullcontext():
        await server.open(port)
        try:
            yield server
        finally:
            await server.close()


def run(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    callback_url: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then return. `report` gets a line when it listens and one when it stops.

    Callbacks are sent if there is a URL for them. ValueError if `host` or the URL's is not loopback, OSError if
    the port is taken.
    """
    asyncio.run(_run(simulator, host, port, callback_url, report))


async def _run(
    simulator: Simulator, host: str, port: int, callback_url: str | None, report: Callable[[str], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(simulator, host, port, callback_url=callback_url) as server:
        report(f"The simulated provider listens on {server.url} (control: {server.url}{control.PREFIX})")
        await stop.wait()
    report("The simulated provider has stopped")


def _loopback(host: str) -> str:
    if not is_loopback(host):
        raise ValueError(f"the simulator listens on loopback only, not on {host!r}")
    # A name may resolve to several addresses, each of which would get a port of its own.
    return "127.0.0.1" if host == "localhost" else host


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
