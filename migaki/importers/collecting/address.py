"""Which addresses may be fetched: public ones alone, decided on the numbers that a name resolves to.

A stranger's list of URLs must not make this machine ask its own network (server-side request forgery, CWE-918). A name
is resolved once, every number is checked, and the connection goes to the checked number, so that a name which resolves
otherwise a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

MAX_URL = 4096
"""Characters of a URL; longer ones are refused."""

_SAFE = "%/:=&?~#+!$,;'@()*[]"  # characters of a URL that stay as they are
_TUNNELS = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")))


class Refused(Exception):
    """An address that is not fetched; `status` is its word in the list of URLs."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that a request needs."""

    is_secure: bool
    host: str  # as in the header Host and in the certificate; ASCII
    port: int
    path: str  # with the query, percent-encoded

    @property
    def name(self) -> str:
        """Host, and port if it is not the scheme's own, as in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def target_of(url: str) -> Target:
    """Returns the parts of a URL. Raises Refused unless it is http or https with a plain host."""
    if len(url) > MAX_URL:
        raise Refused("refused_address", f"is longer than {MAX_URL} characters")
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused("refused_address", "is no valid URL") from error
    if parts.scheme not in ("http", "https"):
        raise Refused("refused_address", "is neither http nor https")
    if not host or parts.username is not None or parts.password is not None:
        raise Refused("refused_address", "has no host, or a name of a user")
    is_secure = parts.scheme == "https"
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise Refused("refused_address", "has a host that is no valid name") from error
    if any(letter <= " " or letter in "/\\@#?\x7f" for letter in ascii_host):
        raise Refused("refused_address", "has a host that is no valid name")
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return Target(is_secure, ascii_host, port if port is not None else 443 if is_secure else 80, path)


def is_public(address: str) -> bool:
    """Whether a numeric address is public: not private, loopback, link-local, multicast or reserved."""
    try:
        found = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if any(found in network for network in _TUNNELS):  # each can stand for an IPv4 address behind it
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def checked_numbers(target: Target, allowed: Sequence[str] = ()) -> list[str]:
    """Returns the numeric addresses of a target, all checked. Raises Refused.

    `allowed` are hosts, `name` or `name:port`, that may be private.
    """
    is_allowed = target.host in allowed or f"{target.host}:{target.port}" in allowed
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused("dead", "its host has no address") from error
    numbers = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not is_allowed and not all(map(is_public, numbers)):
        raise Refused("refused_private", "its host is not on the public Internet (see --allow-host)")
    return numbers
