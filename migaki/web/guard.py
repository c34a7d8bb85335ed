"""Protects a page from the network: checks who may ask, how much and how often, and sets the response headers.

It is a single ASGI middleware, so that every answer, error pages included, passes all checks and gets all headers.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from migaki.core.errors import UserError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MIN_TOKEN_LENGTH = 16
"""Characters. A shorter token could be guessed at the permitted rate of requests."""

_NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

SAFE_HEADERS = {
    "content-security-policy": _NOTHING_ELSE,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Sent with every answer. A page replaces the content security policy with its own (see `page_policy`)."""


def page_policy(html: str) -> str:
    """Returns a content security policy that allows exactly the <script> and <style> blocks of this page.

    The page may fetch from this server only; images may only be data: and blob: (made by the page itself).
    """
    def sources(tag: str) -> str:
        blocks = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
        return " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"
    return (f"{_NOTHING_ELSE}; script-src {sources('script')}; style-src {sources('style')}; "
            "img-src blob: data:; connect-src 'self'")


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a server bound to `host`; UserError if the name is unknown."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(f"--host {host}: there is no such address: try --host 127.0.0.1") from error
    return all(ipaddress.ip_address(str(entry[4][0]).split("%")[0]).is_loopback for entry in found)


def client_key(address: str) -> str:
    """Returns the key by which limits are counted: the address, or for IPv6 its 64-bit network (one customer)."""
    try:
        found = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)


def check_binding(host: str, token: str | None) -> None:
    """Raises UserError for an address that others can reach, unless a token keeps strangers out."""
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_.~-]+", token):
        raise UserError("--token: only letters, digits and . _ ~ - can stand in a link: choose another token")
    if is_loopback(host):
        return
    if token is None:
        raise UserError(f"--host {host} can be reached by others: give a --token of at least {MIN_TOKEN_LENGTH} "
                        "characters, or keep --host 127.0.0.1")
    if len(token) < MIN_TOKEN_LENGTH:
        raise UserError(f"--token: {len(token)} characters can be guessed: give at least {MIN_TOKEN_LENGTH}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much one client may ask for."""

    body_bytes: int = 2048
    """Largest body of a request; ours are under 100 bytes."""
    burst: int = 120
    """Requests at once. A room full of people may share one address."""
    per_second: float = 30.0
    """Requests per second in the long run."""
    addresses: int = 4096
    """Clients remembered, so that many addresses cannot fill the memory."""


class Buckets:
    """A token bucket per client address."""

    def __init__(self, burst: int, per_second: float, addresses: int,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.burst, self.per_second, self.addresses, self.clock = burst, per_second, addresses, clock
        self._level: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Take one token of `address`; False if none is left."""
        now = self.clock()
        level, then = self._level.pop(address, (float(self.burst), now))
        level = min(float(self.burst), level + (now - then) * self.per_second)
        allowed = level >= 1.0
        self._level[address] = (level - 1.0 if allowed else level, now)
        while len(self._level) > self.addresses:
            self._level.popitem(last=False)  # the least recently seen address
        return allowed


class Guard:
    """Checks a request's Host, origin, size and rate, and adds the safe headers to every answer."""

    def __init__(self, app: App, *, host: str, limits: Limits | None = None) -> None:
        self.app, self.limits = app, limits or Limits()
        self.names = {"localhost", host.lower().strip("[]")}
        if not is_loopback(host):
            name = socket.gethostname().lower()
            self.names |= {name, f"{name}.local", socket.getfqdn().lower()}
        self.buckets = Buckets(self.limits.burst, self.limits.per_second, self.limits.addresses)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer or refuse one request (ASGI)."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # a WebSocket is never accepted
            return await send({"type": "websocket.close", "code": 1008})
        safe_send = _adding_headers(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            return await _refuse(safe_send, *refusal)
        body = await self._read(receive)
        if body is None:
            return await _refuse(safe_send, 413, "the request is too large")

        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, safe_send)

    def _refusal(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        client = scope.get("client") or ("?", 0)
        if not self.buckets.take(client_key(client[0])):
            return 429, "too many requests: wait a second"
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return 421, "this server does not answer to that name"
        if scope["method"] not in ("GET", "HEAD"):
            problem = _cross_site(headers, hosts[0])
            if problem:
                return 403, problem
        length = headers.get("content-length", ["0"])[0]
        if not length.isdecimal() or int(length) > self.limits.body_bytes:
            return 413, "the request is too large"
        return None

    def _is_ours(self, host: str) -> bool:
        """DNS rebinding points a foreign *name* at this address; a literal address cannot be rebound."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if not re.fullmatch(r"(\[[0-9a-f:.]+\]|[0-9a-z.-]+)(:\d+)?", host.lower()):
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self.names

    async def _read(self, receive: Receive) -> bytes | None:
        """Read the whole body; None if it is larger than allowed, regardless of its Content-Length."""
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return body
            body += bytes(message.get("body", b""))
            if len(body) > self.limits.body_bytes:
                return None
            if not message.get("more_body", False):
                return body


def _cross_site(headers: dict[str, list[str]], host: str) -> str | None:
    """Returns why a state-changing request may come from a foreign page; None if it cannot."""
    if any(origin not in (f"http://{host}", f"https://{host}") for origin in headers.get("origin", [])):
        return "requests from other pages are refused"
    if any(site not in ("same-origin", "none") for site in headers.get("sec-fetch-site", [])):
        return "requests from other pages are refused"
    # A form cannot send JSON. A script of another page must ask first (a CORS preflight), which is refused.
    kinds = headers.get("content-type", [])
    if len(kinds) != 1 or kinds[0].split(";")[0].strip().lower() != "application/json":
        return "the request must be JSON"
    return None


def _adding_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(
                (name.encode(), value.encode()) for name, value in SAFE_HEADERS.items()
                if name.encode() not in present)]
        await send(message)
    return wrapped


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
        # The rest of a refused request need not be awaited.
        (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
