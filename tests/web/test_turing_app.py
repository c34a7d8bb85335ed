"""A sitting over HTTP, and what of it could give an image away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from page_server import Server

from migaki.web.sittings import Sittings
from migaki.web.turing_app import build_app


@pytest.fixture
def client(sittings: Sittings) -> Iterator[TestClient]:
    with TestClient(build_app(sittings, host="127.0.0.1"), base_url="http://127.0.0.1",
                    raise_server_exceptions=False) as found:
        yield found


def sit(client: TestClient, sittings: Sittings, judge: Callable[[bool], bool]) -> dict[str, object]:
    """Take the test; `judge` receives the true answer."""
    begun = client.post("/api/sittings", json={}).json()
    headers = {"x-sitting": begun["key"]}
    truth = [one.is_real for one in sittings.stimuli().stimuli]
    for position in range(begun["total"]):
        number = sittings.image_at(begun["key"], position)
        assert number is not None
        body = {"position": position, "real": judge(truth[number])}
        assert client.post("/api/answers", json=body, headers=headers).json()["position"] == position + 1
    found: dict[str, object] = client.get("/api/sitting", headers=headers).json()
    return found


def test_replies_for_real_and_fake_differ_in_the_picture_alone(client: TestClient, sittings: Sittings) -> None:
    key = client.post("/api/sittings", json={}).json()["key"]
    headers, seen = {"x-sitting": key}, []
    for position in range(8):
        reply = client.get(f"/api/image/{position}", headers=headers)
        seen.append((dict(reply.headers), len(reply.content), reply.status_code))
        assert "no-store" in reply.headers["cache-control"]
        answer = client.post("/api/answers", json={"position": position, "real": True}, headers=headers)
        assert set(answer.json()) == {"code", "position", "total"}  # not whether it was right
    assert all(one == seen[0] for one in seen)


def test_only_the_present_image_is_shown(client: TestClient) -> None:
    key = client.post("/api/sittings", json={}).json()["key"]
    codes = [client.get(f"/api/image/{position}", headers={"x-sitting": key}).status_code for position in (0, 1, 7, 99)]
    assert codes == [200, 404, 404, 404]
    assert client.get("/api/image/0", headers={"x-sitting": "another"}).status_code == 404
    assert client.get("/api/image/0").status_code == 422


def test_the_result_comes_at_the_end_and_not_before(client: TestClient, sittings: Sittings) -> None:
    begun = client.post("/api/sittings", json={}).json()
    assert client.get("/api/sitting", headers={"x-sitting": begun["key"]}).json()["result"] is None
    result = sit(client, sittings, lambda real: real)["result"]
    assert isinstance(result, dict)
    assert result["right"] == result["total"] == 8
    assert result["p_one_sided"] == 2**-8 and result["verdict"] == "better"
    assert result["paper"]["refined"]["accuracy"] == 0.517
    result = sit(client, sittings, lambda real: True)["result"]
    assert isinstance(result, dict)
    assert result["confusion"] == {"real": {"said_real": 4, "said_fake": 0}, "fake": {"said_real": 4, "said_fake": 0}}
    assert result["verdict"] == "guessing"
    result = sit(client, sittings, lambda real: not real)["result"]
    assert isinstance(result, dict)
    assert result["verdict"] == "worse"


def test_a_store_that_fails_says_try_again(client: TestClient, sittings: Sittings,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    key = client.post("/api/sittings", json={}).json()["key"]
    monkeypatch.setattr(sittings, "answer", fail)
    reply = client.post("/api/answers", json={"position": 0, "real": True}, headers={"x-sitting": key})
    assert reply.status_code == 503 and "full" in reply.json()["error"]


def test_a_restarted_server_goes_on_with_the_same_image(serve: Callable[[], Server]) -> None:
    import httpx

    server = serve()
    with httpx.Client(base_url=server.url) as client:
        key = client.post("/api/sittings", json={}).json()["key"]
        headers = {"x-sitting": key}
        for position in range(3):
            client.post("/api/answers", json={"position": position, "real": True}, headers=headers)
        before = client.get("/api/image/3", headers=headers).content
    server.stop()
    server.start()
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/api/sitting", headers=headers).json()["position"] == 3
        assert client.get("/api/image/3", headers=headers).content == before
