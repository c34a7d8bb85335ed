"""The page stands alone: it loads nothing, escapes everything, and is whole or absent."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from migaki.core.errors import UserError
from migaki.report.page import Number, Page
from migaki.report.sheets import image_png
from migaki.report.statistics import paired_difference
from migaki.report.tables import Rated, Table

EVIL = "<script>alert('x')</script>\"&'"


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    VOID = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_with_all(text: str) -> Page:
    png = image_png(torch.rand(1, 4, 4))
    page = Page(text, text)
    page.numbers([(text, text), Number(text, text, text)])
    page.section(text)
    page.text(f"{text}\n\n{text}")
    page.figure(png, text)
    page.section(text)
    page.table(Table([text, "n"], [[text, 1.0]], text))
    page.code([text, text])
    page.warning(text, text)
    page.pair(png, png, text, names=(text, text))
    page.section(text, is_folded=True)
    page.code(text)
    page.section(text)
    page.numbers([Number(text, text, text, "worse")])
    return page


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(page.html())
    return reader


def test_everything_is_escaped() -> None:
    harmless, evil = read(page_with_all("name")), read(page_with_all(EVIL))
    assert evil.tags == harmless.tags and evil.tags.count("script") == 1
    # "name" stands in the script and the styles, too.
    assert evil.text.count(EVIL) == harmless.text.count("name") - read(Page("")).text.count("name")
    assert [name for name, _ in evil.attributes] == [name for name, _ in harmless.attributes]


def test_nothing_is_loaded_from_anywhere() -> None:
    reader = read(page_with_all("name"))
    for name, value in reader.attributes:
        if name in ("src", "href"):
            assert value.startswith(("data:image/", "#"))
    assert "link" not in reader.tags and not re.search(r"https?://|@import|url\(", page_with_all("name").html())
    assert any("default-src 'none'" in value for _, value in reader.attributes)


def test_sections_are_linked_once_each() -> None:
    reader = read(page_with_all("Ärger & 日本"))
    anchors = [value for name, value in reader.attributes if name == "id"]
    assert len(set(anchors)) == 4
    assert [value for name, value in reader.attributes if name == "href"] == [f"#{anchor}" for anchor in anchors]


def test_worse_is_a_colour_and_a_word() -> None:
    page = Page("t")
    page.numbers([Number.of_change("told from photos", 0.93, 0.99, "{:.0%}", higher_is_better=False),
                  Number.of_change("PSNR", 20.0, 21.0, "{:.1f} dB", "a note", higher_is_better=True),
                  Number.of_change("share", 0.501, 0.502, "{:.0%}", higher_is_better=True)])
    gap = paired_difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.1]).judged(higher_is_better=False)
    page.table(Table(["arm", "change"], [["a", gap], ["b", Rated(value=3.5, trend="better")]]))
    text = page.html()
    assert '<div class="value worse">93% → 99%</div>' in text and '<strong class="worse">worse</strong>' in text
    assert '<strong class="better">better</strong>; a note' in text and '<div class="value">50% → 50%</div>' in text
    assert re.search(r'<td class="right gap worse">[^<]*\[[^<]*\]<span class="word">worse</span>', text)
    assert '<td class="right better">3.5<span class="word">better</span></td>' in text


def test_commands_are_folded_once() -> None:
    page = Page("t")
    page.section("Repeat it")
    page.code("one")
    page.section("Again", is_folded=True)
    page.code(["one", "two"])
    reader = read(page)
    assert reader.tags.count("details") == 2 and "Show the command" in reader.text
    assert "Show the commands" not in reader.text


def test_svg_and_jpeg_are_pictures_and_other_files_are_not() -> None:
    page = Page("t")
    page.figure(b"<svg xmlns='x'></svg>")
    page.figure(b"\xff\xd8\xff\xe0")
    assert "data:image/svg+xml;" in page.html() and "data:image/jpeg;" in page.html()
    with pytest.raises(UserError, match="PNG"):
        page.figure(b"MZ")


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    page = page_with_all("name")
    path = page.write(tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == page.html()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        page.write(tmp_path / "file" / "report.html")
