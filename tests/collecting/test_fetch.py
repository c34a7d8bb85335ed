"""Fetching from servers that do not behave, and addresses that must not be asked."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import Any

import pytest
from hostile_server import HostileServer, picture

from migaki.importers.collecting.address import Refused, checked_numbers, is_public, target_of
from migaki.importers.collecting.fetch import Limits, fetch
from migaki.importers.collecting.hosts import Hosts

OURS = Limits(seconds=10.0, num_bytes=2**18, allowed=("127.0.0.1",))


def test_what_is_sent_arrives(server: HostileServer) -> None:
    answer = fetch(server.url + "ok/7.jpg", OURS)
    assert (answer.status, answer.content, answer.kind) == ("ok", picture(7), "image/jpeg")
    assert server.headers_seen[-1]["User-Agent"].startswith("migaki/")
    assert server.headers_seen[-1]["Host"] == server.url[7:-1]


@pytest.mark.parametrize(("path", "status"), [
    ("no/such.jpg", "dead"), ("drip/body", "timeout"), ("drip/head", "timeout"), ("endless", "too_large"),
    ("huge", "too_large"), ("broken", "dead"), ("flaky/1", "busy"), ("noai", "opted_out"), ("tdm", "opted_out"),
    ("noai/noindex,_nofollow", "opted_out"), ("noai/somebot:_noimageai", "opted_out"), ("noai/nofollow", "ok"),
    ("redirect/4", "ok"), ("redirect/5", "too_many_redirects"), ("redirect/9", "too_many_redirects"),
])
def test_statuses(server: HostileServer, path: str, status: str) -> None:
    began = time.monotonic()
    answer = fetch(server.url + path, replace(OURS, seconds=1.0) if status == "timeout" else OURS)
    assert answer.status == status and (status == "ok") == (not answer.reason)
    assert time.monotonic() - began < 9 and len(answer.content) <= OURS.num_bytes


def test_opt_outs_can_be_read_and_not_followed(server: HostileServer) -> None:
    assert fetch(server.url + "noai", Limits(allowed=("127.0.0.1",), keeps_opt_outs=False)).status == "ok"


def test_every_hop_is_checked(server: HostileServer) -> None:
    port = server.server_address[1]
    for place in (f"http://localhost:{port}/ok/1.jpg", "http://169.254.169.254/latest", "http://[::1]/", "http://0/",
                  "http://2130706433/", "http://10.0.0.1/x"):
        answer = fetch(f"{server.url}elsewhere?to={place}", OURS)
        assert answer.status == "refused_private" and answer.hops == (place,), place
    for place in ("file:///etc/passwd", "ftp://example.org/x", "gopher://example.org", "http://user:x@example.org/"):
        assert fetch(f"{server.url}elsewhere?to={place}", OURS).status == "refused_address", place
    assert server.asked == [path for path in server.asked if path.startswith("/elsewhere")]


def test_nothing_private_is_asked_without_leave(server: HostileServer) -> None:
    answer = fetch(server.url + "ok/1.jpg", Limits())
    assert answer.status == "refused_private" and server.asked == [] and "--allow-host" in answer.reason
    port = server.server_address[1]
    assert fetch(server.url + "ok/1.jpg", Limits(allowed=(f"127.0.0.1:{port}",))).status == "ok"
    assert fetch(server.url + "ok/1.jpg", Limits(allowed=(f"127.0.0.1:{port + 1}",))).status == "refused_private"


@pytest.mark.parametrize("address", [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1",
    "2001:0:1::", "no address"])
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", [
    "", "x", "http://", "http:///x", "ftp://h/x", "http://u@h/", "http://u:p@h/", "http://h:99999/", "http://[::1/",
    "http://" + "h" * 5000, "http://a b/", "http://\u0000/", "javascript:alert(1)", "http://xn--\udcff/"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(Refused):
        target_of(url)


def test_parts_of_urls() -> None:
    target = target_of("https://Bücher.example/a b/ü?q=ß#part")
    assert (target.host, target.port, target.path) == ("xn--bcher-kva.example", 443, "/a%20b/%C3%BC?q=%C3%9F")
    assert target_of("http://h.example:8080").name == "h.example:8080" and (
        target_of("http://[2606::1]/").name == "[2606::1]")


def test_the_connection_goes_to_the_checked_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, connected = [], []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)  # public at first, private ever after: a name that is bound again
        number = "8.8.8.8" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port))]

    def connect(place: tuple[str, int], timeout: float) -> Any:
        connected.append(place)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    assert fetch("http://rebound.example/x", Limits()).status == "dead"
    assert asked == ["rebound.example"] and connected == [("8.8.8.8", 80)]


def test_one_private_number_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 80)) for number in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Refused, match="not on the public Internet"):
        checked_numbers(target_of("http://two.example/"))
    assert checked_numbers(target_of("http://two.example/"), ("two.example",)) == ["8.8.8.8", "10.0.0.1"]


def test_hosts_take_turns_and_wait() -> None:
    hosts = Hosts([(k, f"http://{'ab'[k // 3]}.example/{k}") for k in range(6)], per_host=1, delay=0.0)
    assert hosts.take() == (0, "a.example") and hosts.take() == (3, "b.example")
    hosts.done("b.example")
    assert hosts.take() == (4, "b.example")  # a is busy still
    hosts.done("a.example")
    assert hosts.take() == (1, "a.example")
    hosts.close()
    assert hosts.take() is None
    slow = Hosts([(k, "http://a.example/") for k in range(3)], per_host=9, delay=0.1)
    began = time.monotonic()
    assert [slow.take() for _ in range(4)] == [(0, "a.example"), (1, "a.example"), (2, "a.example"), None]
    assert time.monotonic() - began >= 0.2
