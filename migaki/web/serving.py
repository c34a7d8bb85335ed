"""Serves an application until it is interrupted: the address, the links, what is missing."""

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
    """Print a line that whoever reads the log must see while the server runs."""
    print(line, flush=True)


@contextlib.contextmanager
def needs_extra() -> Iterator[None]:
    """Imports of the web server; UserError that names the extra where it is not installed."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"the web pages need more packages ({error}): pip install 'migaki[web]'") from error


def serve_app(app: Any, host: str, port: int, lines: Callable[[str], Sequence[str]], tell: Tell,
              limits: ConnectionLimits | None = None) -> None:
    """Serve until interrupted; `lines` are printed at the start, made of the address."""
    with needs_extra():
        import uvicorn

        from migaki.web.connections import server_config
    with bind(host, port) as listener:
        for line in lines(address_of(host, listener.getsockname()[1])):
            tell(line)
        server = uvicorn.Server(server_config(app, limits))
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has shut down and passes the signal on
            server.run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; UserError if the port is taken or not allowed."""
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
    """The address under which a browser finds the server."""
    shown = socket.gethostname() if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
