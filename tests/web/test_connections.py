"""One address cannot take the server from the others: connections, time and bytes are limited before a request."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from migaki.web.connections import ConnectionLimits
from migaki.web.guard import client_key

QUICK = ConnectionLimits(per_address=6, request_seconds=0.6, answer_seconds=5.0, request_bytes=5000)


@pytest.fixture
def server(serve: Callable[..., Any]) -> Any:
    return serve(limits=QUICK)


def connect(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 5)


def seconds_until_closed(connection: socket.socket, trickle: bytes = b"") -> float:
    """How long the server keeps a connection on which a byte now and then arrives."""
    began = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - began < 8:
        try:
            if trickle:
                connection.sendall(trickle)
            if not connection.recv(4096):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def answer_of(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return connection.recv(64)


@pytest.mark.parametrize(("head", "trickle"), [
    (b"", b""),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X"),
    (b"POST /api/sittings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
     b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    (b"POST /api/sittings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
     b"Content-Length: 999999999\r\n\r\n", b"x"),
], ids=["silence", "headers without an end", "body without an end", "refused body"])
def test_a_request_that_never_ends_is_cut_off(server: Any, head: bytes, trickle: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(head)
        assert seconds_until_closed(connection, trickle) < 4


def test_the_second_request_of_a_connection_has_no_longer(server: Any) -> None:
    with connect(server) as connection:
        assert answer_of(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HT")
        assert seconds_until_closed(connection, b"T") < 4


def test_one_address_has_so_many_connections_and_gets_them_back(server: Any) -> None:
    held = [connect(server) for _ in range(QUICK.per_address)]
    time.sleep(0.1)
    with connect(server) as further:
        assert seconds_until_closed(further) < 0.5
    for connection in held:
        connection.close()
    time.sleep(0.2)
    with urllib.request.urlopen(server.url, timeout=5) as reply:
        assert reply.status == 200


def test_a_request_has_so_many_bytes(server: Any) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: b\r\n" * 1000)
        assert seconds_until_closed(connection) < 0.5


def test_honest_requests_one_after_the_other_are_served(server: Any) -> None:
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                               b"Connection: Upgrade\r\n\r\n")
            reply = b""
            while b"}" not in reply:
                reply += connection.recv(4096)
            assert reply.startswith(b"HTTP/1.1 404")
            time.sleep(0.3)


def test_addresses_of_one_customer_are_one() -> None:
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff") != client_key("2001:db8:0:1::1")
    assert client_key("::ffff:10.0.0.1") == client_key("10.0.0.1") != client_key("10.0.0.2")
    assert client_key("fe80::1%eth0") == client_key("fe80::2%eth0") and client_key("testclient") == "testclient"
