"""Serves an application until it is interrupted: opens the port, prints the links, names missing packages."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from migaki.core.errors import UserError
from migaki.core.files import explain

if TYPE_CHECKING:
    from migaki.web.connections import ConnectionLimits

Tell = Callable[[str], None]


def tell_at_once(line: str) -> None:
    """Print a line without buffering, so that a reader of the log sees it while the server runs."""
    print(line, flush=True)


@contextlib.contextmanager
def needs_extra() -> Iterator[None]:
    """Wrap imports of the web server; a UserError names the extra if it is not installed."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"the web pages need more packages ({error}): pip install 'migaki[web]'") from error


def serve_app(app: Any, host: str, port: int, lines: Callable[[str], Sequence[str]], tell: Tell,
              limits: ConnectionLimits | None = None) -> None:
    """Serve until interrupted; `lines(address)` are printed at the start."""
    with needs_extra():
        import uvicorn

        from migaki.web.connections import server_config
    with bind(host, port) as listener:
        for line in lines(address_of(host, listener.getsockname()[1])):
            tell(line)
        server = uvicorn.Server(server_config(app, limits))
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has shut down
            server.run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Returns a listening socket; UserError if the port is in use or not allowed."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: a port is a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart need not wait for old connections
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port} is in use: stop the other server or choose another --port") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(f"--port {port} is reserved by the system: choose one above 1023") from error
        raise explain(error, f"--host {host}") from error
    return listener


def address_of(host: str, port: int) -> str:
    """Returns the server's address for a browser."""
    shown = socket.gethostname() if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
