"""Each way in that must stay shut, tried."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from page_server import Server

from migaki.core.errors import UserError
from migaki.web.guard import SAFE_HEADERS, Buckets, Guard, Limits, check_binding, is_loopback, page_policy
from migaki.web.sittings import Sittings
from migaki.web.turing_app import PAGE, build_app

HOST = "http://127.0.0.1:8765"


@pytest.fixture
def client(sittings: Sittings) -> Iterator[TestClient]:
    with TestClient(build_app(sittings, host="127.0.0.1"), base_url=HOST, raise_server_exceptions=False) as found:
        yield found


def begin(client: TestClient, **headers: str) -> Any:
    return client.post("/api/sittings", json={}, headers=headers)


def test_every_answer_carries_the_safe_headers(client: TestClient) -> None:
    replies = [client.get("/"), client.get("/nothing"), client.get("/api/sitting"), begin(client),
               client.put("/"), client.post("/api/answers", content="x", headers={"content-type": "application/json"}),
               client.get("/", headers={"host": "evil.example"}), client.get("/results?key=x")]
    assert [reply.status_code for reply in replies] == [200, 404, 422, 200, 403, 422, 421, 404]
    for reply in replies:
        for name, value in SAFE_HEADERS.items():
            if name != "content-security-policy":
                assert reply.headers[name] == value
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        for revealing in ("server", "etag", "last-modified", "access-control-allow-origin", "set-cookie"):
            assert revealing not in reply.headers


def test_the_page_may_run_its_own_blocks_only() -> None:
    page = PAGE.read_text(encoding="utf-8")
    policy = page_policy(page)
    assert policy.count("'sha256-") == 2 and "unsafe" not in policy
    assert " style=" not in page and " onclick=" not in page  # attributes would be blocked
    assert "http://" not in page and "https://" not in page  # nothing comes from elsewhere
    assert page_policy(page.replace("judge(true)", "judge(false)")) != policy


def test_a_rebound_name_is_refused(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b",
                 "127.0.0.1@evil.example", "[::1", "127.0.0.1:x", "evil.example#127.0.0.1"):
        assert client.get("/", headers={"host": host}).status_code == 421, host


def test_own_names_and_plain_addresses_are_served(client: TestClient) -> None:
    # A plain address cannot be rebound; the port may differ behind a tunnel.
    for host in ("127.0.0.1:8765", "localhost:9000", "LOCALHOST", "[::1]:8765", "192.168.1.5:8765"):
        assert client.get("/", headers={"host": host}).status_code == 200, host


def test_posts_of_other_pages_are_refused(client: TestClient, sittings: Sittings) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "", "http://127.0.0.1:8765.evil.example"):
        assert begin(client, origin=origin).status_code == 403, origin
    for site in ("cross-site", "same-site"):
        assert begin(client, **{"sec-fetch-site": site}).status_code == 403, site
    assert sittings.num_sittings() == 0


def test_forms_are_refused_and_own_posts_are_not(client: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert client.post("/api/sittings", content="{}", headers={"content-type": kind}).status_code == 403
    assert begin(client, **{"origin": HOST, "sec-fetch-site": "same-origin"}).status_code == 200
    preflight = client.options("/api/sittings", headers={"origin": "http://evil.example",
                                                         "access-control-request-method": "POST"})
    assert preflight.status_code == 403


def test_large_bodies_are_refused_whatever_their_length_claims(serve: Callable[[], Server]) -> None:
    server = serve()
    for headers, body in (({"content-length": "999999999"}, b""), ({"content-length": "-1"}, b""),
                          ({"transfer-encoding": "chunked"}, b"1000\r\n" + b"x" * 4096 + b"\r\n")):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.putrequest("POST", "/api/sittings")
        for name, value in {"content-type": "application/json", **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body)
        assert connection.getresponse().status in (400, 413)
        connection.close()
    assert server.sittings.num_sittings() == 0


def raw(server: Server, target: str) -> tuple[int, bytes]:
    """A request whose path is sent unchanged; clients would normalise it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as line:
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode("latin-1"))
        reply = b""
        while part := line.recv(65536):
            reply += part
    return int(reply.split()[1]), reply


def test_no_path_leads_to_a_file_or_a_listing(serve: Callable[[], Server]) -> None:
    server = serve()
    for target in (
        "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "//etc/passwd",
        "/etc/passwd", "/api/image/../../../etc/passwd", "/api/image/..%2f..%2fturing.sqlite", "/api/image/", "/api/",
        "/static/", "/turing.sqlite", "/turing.html", "/docs", "/openapi.json",
        "/api/image/0%00.png", "/api/image/-1", "/results/",
    ):
        status, reply = raw(server, target)
        assert status in (400, 404, 422), target
        assert not any(sign in reply for sign in (b"root:", b"SQLite", b"IMG_", b"<!doctype")), target


def test_the_rate_is_limited_per_address(sittings: Sittings) -> None:
    app = build_app(sittings, host="127.0.0.1", limits=Limits(burst=5, per_second=0.001))
    one, other = (TestClient(app, base_url=HOST, client=(address, 1)) for address in ("10.0.0.1", "10.0.0.2"))
    assert [one.get("/").status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert other.get("/").status_code == 200


def test_sittings_are_begun_at_a_lower_rate(client: TestClient) -> None:
    codes = [begin(client).status_code for _ in range(45)]
    assert codes[:40] == [200] * 40 and codes[-1] == 429


def test_buckets_refill_and_forget_the_oldest() -> None:
    now = [0.0]
    buckets = Buckets(2, 1.0, 3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    now[0] = 1.0
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    for address in "bcd":
        buckets.take(address)
    assert len(buckets._level) == 3 and "a" not in buckets._level


def test_a_token_is_asked_for_and_guesses_are_counted(sittings: Sittings) -> None:
    client = TestClient(build_app(sittings, host="127.0.0.1", token="correct-horse-battery"), base_url=HOST)
    assert begin(client).status_code == 401
    assert begin(client, **{"x-access": "correct-horse-batterx"}).status_code == 401
    assert begin(client, **{"x-access": "correct-horse-battery"}).status_code == 200
    assert [begin(client, **{"x-access": str(number)}).status_code for number in range(40)][-1] == 429


def test_results_need_their_key(client: TestClient, sittings: Sittings) -> None:
    for path in ("/results", "/results?key=", "/results?key=x", "/results?key=%00", "/results?key=é"):
        assert client.get(path).status_code == 404
    assert client.get("/results", params={"key": sittings.settings["results_key"]}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_a_public_address_needs_a_token(host: str) -> None:
    assert not is_loopback(host)
    for token in (None, "short", "with spaces and more"):
        with pytest.raises(UserError, match="--token") as caught:
            check_binding(host, token)
        assert "\n" not in str(caught.value)
    check_binding(host, "long-enough-to-stand")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.8.9.1"])
def test_loopback_needs_none(host: str) -> None:
    assert is_loopback(host)
    check_binding(host, None)


def test_websockets_are_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def app(*_: Any) -> None:
        raise AssertionError("the application is not reached")

    asyncio.run(Guard(app, host="127.0.0.1")({"type": "websocket", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_errors_echo_nothing(client: TestClient) -> None:
    reply = client.post("/api/answers", json={"position": "<script>", "real": 1}, headers={"x-sitting": "<b>"})
    assert reply.status_code == 422 and reply.json() == {"error": "malformed request"}
    assert json.loads(client.get("/<script>").text) == {"error": "Not Found"}


def test_an_unforeseen_error_has_safe_headers_and_tells_nothing(client: TestClient, sittings: Sittings,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(sittings, "state", fail)
    reply = client.get("/api/sitting", headers={"x-sitting": "x"})
    assert reply.status_code == 500 and "secret" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_no_file_name_of_the_sets_is_in_what_people_get(client: TestClient, folders: tuple[Path, Path]) -> None:
    key = begin(client).json()["key"]
    for path in ("/", "/api/sitting", "/api/image/0"):
        reply = client.get(path, headers={"x-sitting": key})
        assert reply.status_code == 200
        told = reply.content + str(reply.headers).encode()
        assert b"IMG_" not in told and b"refined_" not in told and str(folders[0].parent).encode() not in told
