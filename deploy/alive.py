"""The image's health check: exit code 0 if the process answers /livez, 1 if not.

It asks about the process alone: where a failed check means a new start, that must not happen because the database or
the provider is away. A bare socket, since importing an HTTP client would cost more than all the rest.
"""

import os
import socket
import sys


def answers(port: int) -> bool:
    """Whether something on this port of this machine answers GET /livez with 200 within 3 s."""
    try:
        with socket.create_connection(("localhost", port), timeout=3) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.makefile("rb").readline().startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not answers(int(os.environ.get("PORT") or 8000)))
