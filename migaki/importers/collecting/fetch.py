"""Fetches one URL within limits of time, size and redirects, from public addresses alone."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urljoin

from migaki import __version__
from migaki.importers.collecting.address import Refused, Target, checked_numbers, target_of

MAX_REDIRECTS = 5

_BLOCK = 2**16
_OPT_OUTS = frozenset(("noai", "noimageai", "noindex", "noimageindex"))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_BUSY = frozenset((429, 503))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one request may take."""

    seconds: float = 20.0  # from the first connection to the last byte, redirects included
    num_bytes: int = 20 * 2**20
    allowed: tuple[str, ...] = ()  # hosts that may be private, `name` or `name:port`
    agent: str = f"migaki/{__version__}"  # the header User-Agent
    keeps_opt_outs: bool = True  # whether a page that opts out of machine learning is left alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """The answer to a request: `status` is `ok`, or says why there is no content."""

    status: str
    content: bytes = b""
    reason: str = ""
    kind: str = ""  # media type, as the server says
    retry_after: float | None = None  # s, if the server says so
    opt_out: str = ""  # the header that opted out
    hops: tuple[str, ...] = field(default=())  # the URLs to which the first one was redirected


def fetch(url: str, limits: Limits, headers: Mapping[str, str] | None = None, *, follows: bool = True) -> Fetched:
    """Returns what the server sends; raises nothing for whatever it does.

    Statuses: ok, dead (no such host, no connection, an HTTP error), timeout, too_large, busy (429 or 503),
    refused_address, refused_private, opted_out, too_many_redirects. `headers` are sent besides ours; with `follows`
    false a redirect is an error, so that a key in a header is sent to one host only.
    """
    deadline, hops = time.monotonic() + limits.seconds, list[str]()
    try:
        for _ in range(MAX_REDIRECTS + 1):
            answer, location = _one(hops[-1] if hops else url, limits, headers or {}, deadline)
            if location is None:
                return _with(answer, tuple(hops))
            if not follows:
                return Fetched(status="dead", reason="redirects, which is not followed here", hops=tuple(hops))
            hops.append(urljoin(hops[-1] if hops else url, location))
        return Fetched(status="too_many_redirects", reason=f"more than {MAX_REDIRECTS} redirects", hops=tuple(hops))
    except Refused as error:
        return Fetched(status=error.status, reason=str(error), hops=tuple(hops))
    except TimeoutError:
        return Fetched(status="timeout", reason=f"took longer than {limits.seconds:g} s", hops=tuple(hops))
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        return Fetched(status="dead", reason=reason, hops=tuple(hops))


def _with(answer: Fetched, hops: tuple[str, ...]) -> Fetched:
    return Fetched(status=answer.status, content=answer.content, reason=answer.reason, kind=answer.kind,
                   retry_after=answer.retry_after, opt_out=answer.opt_out, hops=hops)


def _one(url: str, limits: Limits, headers: Mapping[str, str], deadline: float) -> tuple[Fetched, str | None]:
    """Returns the answer of one request, and the place to which it redirects."""
    target = target_of(url)
    connection = _Checked(target, checked_numbers(target, limits.allowed), deadline)
    try:
        connection.request("GET", target.path, headers={
            "Host": target.name, "User-Agent": limits.agent, "Accept": "*/*", "Accept-Encoding": "identity",
            "Connection": "close", **headers})
        reply = connection.getresponse()
        if reply.status in _REDIRECTS and reply.getheader("Location"):
            return Fetched(status="dead"), str(reply.getheader("Location"))
        if reply.status != 200:
            status = "busy" if reply.status in _BUSY else "dead"
            return Fetched(status=status, reason=f"the server answered {reply.status}",
                           retry_after=_seconds(reply.getheader("Retry-After"))), None
        opt_out = _opt_out(reply) if limits.keeps_opt_outs else ""
        if opt_out:
            return Fetched(status="opted_out", reason=f"the server says {opt_out}", opt_out=opt_out), None
        return _body(reply, limits.num_bytes), None
    finally:
        connection.finish()


def _body(reply: http.client.HTTPResponse, most: int) -> Fetched:
    """Returns the body; never more than `most` bytes are kept, whatever length is announced."""
    announced = reply.getheader("Content-Length", "") or ""
    length = int(announced) if announced.isascii() and announced.isdecimal() and len(announced) < 20 else None
    kind = (reply.getheader("Content-Type") or "").split(";")[0].strip().lower()[:100]
    content = bytearray()
    too_large = Fetched(status="too_large", reason=f"is larger than {most / 2**20:.3g} MiB", kind=kind)
    if length is not None and length > most:
        return too_large
    while block := reply.read1(_BLOCK):
        content += block
        if len(content) > most:
            return too_large
    if length is not None and len(content) != length:
        return Fetched(status="dead", reason=f"broke off after {len(content)} of {length} bytes", kind=kind)
    return Fetched(status="ok", content=bytes(content), kind=kind)


def _opt_out(reply: http.client.HTTPResponse) -> str:
    """Returns the header by which a server opts out of machine learning or of indexing; "" if it does not.

    `X-Robots-Tag: noai`, `noimageai`, `noindex`, `noimageindex` (also for one agent, `name: noai`), and the TDM
    Reservation Protocol's `tdm-reservation: 1`.
    """
    for value in reply.headers.get_all("X-Robots-Tag") or ():
        words = {word.rsplit(":", 1)[-1].strip().lower() for word in str(value).split(",")}
        if found := sorted(words & _OPT_OUTS):
            return f"X-Robots-Tag: {', '.join(found)}"
    return "tdm-reservation: 1" if (reply.getheader("tdm-reservation") or "").strip() == "1" else ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 6 else None


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Checked(http.client.HTTPConnection):
    """A connection to checked numbers, whose every read ends at the deadline: a slow server cannot hold it longer."""

    def __init__(self, target: Target, numbers: list[str], deadline: float) -> None:
        super().__init__(target.host, target.port)
        self.target, self.numbers, self.deadline = target, numbers, deadline
        self._inner: socket.socket | None = None

    def connect(self) -> None:
        """Connect to the first number that answers."""
        problem: OSError = ConnectionError("no address answers")
        for number in self.numbers:
            try:
                plain = socket.create_connection((number, self.target.port), _left(self.deadline))
            except OSError as error:
                problem = error
                continue
            try:
                plain.settimeout(_left(self.deadline))
                name = self.target.host
                self._inner = _tls().wrap_socket(plain, server_hostname=name) if self.target.is_secure else plain
                self.sock: Any = _Timed(self._inner, self.deadline)
            except BaseException:
                plain.close()
                raise
            return
        raise problem

    def finish(self) -> None:
        """Close the connection, which `http.client` believes closed as soon as the headers have arrived."""
        self.close()
        if self._inner is not None:
            self._inner.close()


class _Timed:
    """A socket as `http.client` uses it, whose file is read until the deadline."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self.inner, self.deadline = inner, deadline

    def sendall(self, data: Any) -> None:
        """Send everything."""
        self.inner.settimeout(_left(self.deadline))
        self.inner.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A file of what arrives."""
        return io.BufferedReader(_Arriving(self.inner, self.deadline), _BLOCK)

    def close(self) -> None:
        """Do nothing: the body is still to be read. See `_Checked.finish`."""


class _Arriving(io.RawIOBase):
    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self.inner, self.deadline = inner, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.inner.settimeout(_left(self.deadline))
        return self.inner.recv_into(buffer)


def _left(deadline: float) -> float:
    """Returns the seconds that are left. Raises TimeoutError if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
