"""Sources of addresses: the services' own JSON, lists and folders, and what is no source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hostile_server import HostileServer
from toy_folders import write_folder

from migaki.core.errors import UserError
from migaki.importers.collecting.commons import Commons
from migaki.importers.collecting.fetch import Limits
from migaki.importers.collecting.local_sources import Folder, UrlList
from migaki.importers.collecting.names import folder_name
from migaki.importers.collecting.openverse import Openverse
from migaki.importers.collecting.own_engine import OwnEngine
from migaki.importers.collecting.source import found_of, plain_text

OURS = Limits(seconds=2.0, allowed=("127.0.0.1",))


def test_openverse(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENVERSE_TOKEN", "")
    found = Openverse(limits=OURS, base=server.url, licences="by,cc0").search("fluffy/wool", 44)
    assert [one.url for one in found] == [f"{server.url}ok/{k}.jpg" for k in range(44)]
    assert found[3].licence == "BY-SA 4.0 https://creativecommons.org/licenses/by-sa/4.0/"
    assert (found[3].author, found[3].page, found[3].title) == ("An Author", "https://example.org/3", "fluffy/wool 3")
    assert server.asked[0] == "/v1/images/?q=fluffy%2Fwool&page=1&page_size=20&license=by%2Ccc0"
    assert len(server.asked) == 3
    assert len(Openverse(limits=OURS, base=server.url).search("x", 1000)) == 45  # as many as there are
    monkeypatch.setenv("OPENVERSE_TOKEN", "of-mine")
    Openverse(limits=OURS, base=server.url).search("x", 1)
    assert server.headers_seen[-1]["Authorization"] == "Bearer of-mine"


def test_commons(server: HostileServer) -> None:
    found = Commons(limits=OURS, base=server.url, width=320).search("もふもふ", 60)
    assert [one.url for one in found] == [f"{server.url}ok/{k}.jpg?w=320" for k in range(60)]
    assert found[9].author == "Ada L." and found[9].licence.startswith("CC BY 4.0 https://")
    assert found[9].title == "Picture 9.jpg" and "gsrsearch=filetype%3Abitmap+" in server.asked[0]
    assert len(Commons(limits=OURS, base=server.url).search("x", 500)) == 70


def test_an_engine_of_ones_own(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = OwnEngine(limits=OURS, address=server.url + "engine?q={word}&offset={offset}", results="data.items",
                       fields=("url=contentUrl", "title=name", "page=host.page"), key_variable="MY_KEY",
                       key_header="X-Key")
    with pytest.raises(UserError, match="MY_KEY: this environment variable is empty"):
        engine.search("x", 3)
    monkeypatch.setenv("MY_KEY", "a-secret-key")
    found = engine.search("a&b", 55)
    assert len(found) == 55 and found[2].title == "a&b" and found[2].page == "https://example.org/2"
    monkeypatch.setenv("MY_KEY", "a-wrong-key")
    with pytest.raises(UserError, match="answered 401") as caught:
        engine.search("x", 3)
    assert "a-wrong-key" not in str(caught.value)
    moved = OwnEngine(limits=OURS, address=server.url + "elsewhere?to=http://other.example/&k={key}",
                      key_variable="MY_KEY")
    with pytest.raises(UserError, match="redirects") as caught:
        moved.search("x", 3)
    assert "a-wrong-key" not in str(caught.value)
    with pytest.raises(UserError, match="name the environment variable"):
        OwnEngine(limits=OURS, address="https://h.example/{key}").search("x", 3)
    with pytest.raises(UserError, match="FIELD=PLACE"):
        OwnEngine(limits=OURS, address="https://h.example/", fields=("link=url",)).search("x", 3)


@pytest.mark.parametrize("path", ["nojson", "no/such", "huge", "elsewhere?to=http://10.0.0.1/"])
def test_services_that_answer_nonsense(server: HostileServer, path: str) -> None:
    with pytest.raises(UserError) as caught:
        OwnEngine(limits=OURS, address=server.url + path).search("x", 3)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(server.url)


def test_answers_of_another_form_find_nothing(server: HostileServer) -> None:
    answers: list[Any] = [[], {"results": 3}, {"results": [3, None, {"url": 7}, {"url": ""}]}, None, "text"]
    for value in answers:
        server.fixed["form"] = (json.dumps(value).encode(), "application/json")
        assert OwnEngine(limits=OURS, address=server.url + "form").search("x", 3) == []
        server.fixed.pop("form")


def test_a_busy_service_is_asked_again(server: HostileServer) -> None:
    with pytest.raises(UserError, match="did not answer with JSON"):  # the second answer is a picture
        OwnEngine(limits=OURS, address=server.url + "flaky/api").search("x", 3)
    assert server.tries["api"] == 2


def test_lists_of_urls(tmp_path: Path) -> None:
    rows = [{"url": f"https://h.example/{k}.jpg", "license": "CC0", "word": "ab"[k % 2], "creator": None}
            for k in range(4)]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "l.parquet")
    (tmp_path / "l.csv").write_text("URL,License,word\n" + "".join(f"{r['url']},CC0,{r['word']}\n" for r in rows))
    (tmp_path / "l.txt").write_text("# mine\n" + "".join(f"{row['url']}\n" for row in [*rows, rows[0]]))
    for ending in ("jsonl", "parquet", "csv"):
        found = UrlList(tmp_path / f"l.{ending}").search("b", 9)
        assert [one.url[-5] for one in found] == ["1", "3"] and found[0].licence == "CC0", ending
        assert len(UrlList(tmp_path / f"l.{ending}").search("of none", 9)) == 4
    assert [one.url for one in UrlList(tmp_path / "l.txt").search("b", 9)] == [row["url"] for row in rows]


@pytest.mark.parametrize(("name", "content"), [
    ("l.txt", b"no url here"), ("l.txt", b"\0\0\0"), ("l.txt", b""), ("l.csv", b"name,colour\na,red\n"),
    ("l.csv", b"\xff\xfe"),
    ("l.jsonl", b"{"), ("l.jsonl", b"[1]\n"), ("l.parquet", b"PAR1nonsense"), ("l.csv", b'"url\n')])
def test_lists_that_are_none(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        UrlList(tmp_path / name).search("x", 3)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", 6, (24, 32))
    found = Folder(tmp_path / "set").search("anything", 4)
    assert [one.url for one in found] == [f"file:{k:03d}.png" for k in range(4)]


def test_strangers_values() -> None:
    assert found_of({"url": " u ", "title": ["x"], "author": "a\n b", "licence": None}).row() == {
        "url": "u", "page": "", "title": "", "licence": "", "author": "a b"}
    assert len(found_of({"title": "x" * 10**5}).title) == 2000
    assert plain_text("<p>a<br>b &amp; <i>c") == "a b & c" and plain_text(None) == ""


def test_names_of_folders() -> None:
    assert folder_name("もふもふ") == "もふもふ" and folder_name("red shoe") == "red shoe"
    words = ["a/b", "a%2Fb", "..", ".", "", " a", "a ", "x" * 300, "x" * 299, "もふ" * 150, "a\nb", "a\0b", "con:x",
             "\ud800", ".hidden", "a.", "../../etc"]
    names = [folder_name(word) for word in words]
    assert len(set(names)) == len(words)
    for name in names:
        assert name and len(name.encode("utf-8", "surrogatepass")) <= 120 and "/" not in name and "\0" not in name
        assert name[0] not in ". " and name[-1] not in ". " and name.isprintable()
