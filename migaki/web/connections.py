"""Limits per address on connections, time and bytes, before a request is complete.

The guard (`guard.py`) sees complete requests only. This module works one layer below and stops clients that open many
connections, send a byte a minute, or send an endless body.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from migaki.web.guard import client_key


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionLimits:
    """Limits for one address, which a room full of people may share."""

    per_address: int = 128
    """Connections at a time."""
    request_seconds: float = 10.0
    """From the first byte of a request, or the beginning of the connection, to the last byte of the request."""
    answer_seconds: float = 60.0
    """Time in which the client must have received the answer."""
    request_bytes: int = 2**16
    """Size of one request, head and body together; requests of our pages have under 2,000 bytes."""
    total: int = 512
    """Connections of all addresses together; further clients receive the answer that the server is busy."""


def server_config(app: Any, limits: ConnectionLimits | None = None) -> uvicorn.Config:
    """Returns uvicorn's configuration with these limits, without WebSockets."""
    limits = limits or ConnectionLimits()
    return uvicorn.Config(
        app, http=limited(limits), ws="none", log_level="error", access_log=False, server_header=False,
        date_header=False, limit_concurrency=limits.total, timeout_keep_alive=5, timeout_graceful_shutdown=3,
        proxy_headers=False)


def limited(limits: ConnectionLimits) -> type[H11Protocol]:
    """Returns uvicorn's protocol, extended to close a connection that exceeds the limits."""
    open_connections: Counter[str] = Counter()

    class Limited(H11Protocol):
        _address = ""
        _clock: asyncio.TimerHandle | None = None
        _received = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._address = client_key(self.client[0] if self.client else "?")
            open_connections[self._address] += 1
            if open_connections[self._address] > limits.per_address:
                transport.abort()
            else:
                self._allow(limits.request_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            self._allow(None)
            open_connections[self._address] -= 1
            if open_connections[self._address] <= 0:
                del open_connections[self._address]
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self._received += len(data)
            if self._received > limits.request_bytes:
                self.transport.abort()
                return
            super().data_received(data)
            if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):  # the request is complete or invalid
                self._received = 0
                self._allow(limits.answer_seconds)
            elif self._clock is None:
                self._allow(limits.request_seconds)

        def on_response_complete(self) -> None:
            if self.conn.their_state is not h11.SEND_BODY:  # otherwise the rest of a refused body follows
                self._allow(None)
            super().on_response_complete()

        def _should_upgrade(self) -> bool:
            return False  # and so logs no attempt of a stranger

        def _allow(self, seconds: float | None) -> None:
            """Allow the connection this many seconds; None: no limit while it is idle between two requests."""
            if self._clock is not None:
                self._clock.cancel()
            self._clock = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    return Limited
