"""One self-contained HTML page: it needs no network and no other file, and can be mailed as it is.

All text is escaped, since names come from users' folders. Pictures are embedded. A content security policy in the page
forbids loading anything. The page follows the reader's light or dark setting and fits a phone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from migaki.core.errors import UserError
from migaki.core.files import make_folder, write_text
from migaki.report.statistics import Difference, Trend, trend_of
from migaki.report.tables import Entry, Rated, Table, cell_text, is_numeric, trend_in

_CSS, _SCRIPT = (Path(__file__).with_name(name) for name in ("page.css", "page.js"))
_MESH_SCRIPTS = [Path(__file__).with_name(name) for name in ("mesh_view.js", "mesh_figure.js")]
_MESH_SHOWN = ("in light", "own colours", "shape", "normals")  # in the order of the shader's numbers

_POLICY = ("default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
           "base-uri 'none'")


def page_style() -> str:
    """Returns the style sheet of every page."""
    return _CSS.read_text(encoding="utf-8")


def mesh_script() -> str:
    """Returns the script that draws a mesh and turns a camera round it, for pages with canvases of their own."""
    return _MESH_SCRIPTS[0].read_text(encoding="utf-8")


def page_script() -> str:
    """Returns the script of every page: folding, enlarged pictures, copying."""
    return _SCRIPT.read_text(encoding="utf-8")


class Number(NamedTuple):
    """A key figure for a card: its label, its formatted value, a note, and whether it got better or worse."""

    label: str
    value: str
    note: str = ""
    trend: Trend | None = None

    @classmethod
    def of_change(cls, label: str, before: float, after: float, form: str, note: str = "", *,
                  higher_is_better: bool) -> Number:
        """Returns a card of a figure before and after; `form` is such as "{:.1f} dB"; equal texts mean no change."""
        texts = form.format(before), form.format(after)
        trend = None if texts[0] == texts[1] else trend_of(before, after, higher_is_better)
        return cls(label, " → ".join(texts), note, trend)


class Page:
    """Collects the parts of a page in order and writes it as one file."""

    def __init__(self, title: str, subtitle: str = "", *, footer: str = "Made by migaki. This page loads nothing from "
                 "the network.") -> None:
        self._title, self._subtitle, self._footer = title, subtitle, footer
        self._sections: list[tuple[str, str]] = []
        self._parts: list[str] = []
        self._is_folded = False  # whether the current section is folded
        self._has_mesh = False

    def numbers(self, numbers: Iterable[Number | tuple[str, str] | tuple[str, str, str]]) -> None:
        """Add key figures as large cards: (label, value), (label, value, note), or a `Number` that has a trend."""
        cards = []
        for label, value, note, trend in (Number(*number) for number in numbers):
            colour = f" {trend}" if trend else ""
            word = f'<strong class="{trend}">{trend}</strong>' if trend else ""
            parts = "; ".join(part for part in (word, escape(note)) if part)
            below = f'<div class="note">{parts}</div>' if parts else ""
            cards.append(f'<div class="number"><div class="label">{escape(label)}</div>'
                         f'<div class="value{colour}">{escape(value)}</div>{below}</div>')
        self._parts.append(f'<div class="numbers">{"".join(cards)}</div>')

    def section(self, title: str, *, is_folded: bool = False) -> None:
        """Begin a section, listed at the top of the page; a folded one shows only its title until it is opened."""
        anchor = f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-') or 'section'}-{len(self._sections) + 1}"
        self._sections.append((anchor, title))
        self._unfold()
        self._parts.append(f'<details class="fold" id="{anchor}"><summary><h2>{escape(title)}</h2></summary>'
                           if is_folded else f'<h2 id="{anchor}">{escape(title)}</h2>')
        self._is_folded = is_folded

    def _unfold(self) -> None:
        if self._is_folded:
            self._parts.append("</details>")
        self._is_folded = False

    def text(self, text: str) -> None:
        """Add plain paragraphs, separated by empty lines; markup is not interpreted."""
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            self._parts.append(f"<p>{escape(paragraph)}</p>")

    def figure(self, image: bytes, caption: str = "", *, is_chart: bool = False) -> None:
        """Add a picture (PNG, JPEG or SVG content) with a caption, which also serves as its alternative text.

        A click enlarges the picture; pixels then appear as squares, except in a chart.
        """
        self._parts.append(f'<figure{_chart(is_chart)}>{_img(image, caption)}{_caption(caption)}</figure>')

    def sound(self, wav: bytes, caption: str = "") -> None:
        """Add a player for a sound (WAV content) with a caption; raises UserError for other content."""
        if wav[:4] != b"RIFF" or wav[8:12] != b"WAVE":
            raise UserError("page: a sound must be the content of a WAV file")
        address = f"data:audio/wav;base64,{base64.b64encode(wav).decode('ascii')}"
        self._parts.append(f'<figure><audio controls src="{address}" aria-label="{escape(caption)}"></audio>'
                           f"{_caption(caption)}</figure>")

    def film(self, mp4: bytes, caption: str = "") -> None:
        """Add a film (MP4 content) that runs over and over, with a caption; raises UserError for other content."""
        if mp4[4:8] != b"ftyp":
            raise UserError("page: a film must be the content of an MP4 file")
        address = f"data:video/mp4;base64,{base64.b64encode(mp4).decode('ascii')}"
        self._parts.append(f'<figure><video controls loop muted playsinline autoplay src="{address}" '
                           f'aria-label="{escape(caption)}"></video>{_caption(caption)}</figure>')

    def mesh(self, glb: bytes, caption: str = "") -> None:
        """Add a mesh (the content of `ops.gltf.glb`, y upwards) that the reader turns, with a caption.

        Browsers without WebGL 2 say so. Raises UserError for other content.
        """
        if glb[:4] != b"glTF":
            raise UserError("page: a mesh must be the content of a .glb file")
        self._has_mesh = True
        options = "".join(f'<option value="{number}">{name}</option>' for number, name in enumerate(_MESH_SHOWN))
        self._parts.append(
            f'<figure class="model"><canvas data-glb="{base64.b64encode(glb).decode("ascii")}" tabindex="0" role="img" '
            f'aria-label="{escape(caption)}"></canvas><div class="trouble" role="status"></div>'
            f'<label>Show <select>{options}</select></label>{_caption(caption)}</figure>')

    def charts(self, charts: Iterable[tuple[str, bytes]]) -> None:
        """Add small charts (title, content) side by side, as many in a line as there is room for."""
        figures = "".join(f'<figure class="chart"><div class="name">{escape(title)}</div>{_img(image, title)}</figure>'
                          for title, image in charts)
        self._parts.append(f'<div class="charts">{figures}</div>')

    def pair(self, first: bytes, second: bytes, caption: str = "", *, names: tuple[str, str] = ("before", "after"),
             is_chart: bool = False) -> None:
        """Add two pictures side by side under their names; in the enlarged view a key switches between them."""
        sides = "".join(f'<div>{_img(image, name, name)}<div class="name">{escape(name)}</div></div>'
                        for image, name in zip((first, second), names, strict=True))
        self._parts.append(f'<figure{_chart(is_chart)}><div class="pair">{sides}</div>{_caption(caption)}</figure>')

    def table(self, table: Table) -> None:
        """Add a table; numbers are right-aligned, better and worse are coloured, a wide table scrolls by itself."""
        sides = [is_numeric(table, k) for k in range(len(table.columns))]
        head = "".join(f"<th{_classes(right and 'right')}>{escape(name)}</th>"
                       for right, name in zip(sides, table.columns, strict=True))
        body = "".join("<tr>" + "".join(_cell(entry, right) for entry, right in zip(row, sides, strict=True)) + "</tr>"
                       for row in table.rows)
        caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
        self._parts.append(f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>'
                           f"<tbody>{body}</tbody></table></div>")

    def links(self, links: Iterable[tuple[str, str]]) -> None:
        """Add a list of links (text, address relative to this page)."""
        items = "".join(f'<li><a href="{escape(quote(place))}">{escape(text)}</a></li>' for text, place in links)
        self._parts.append(f'<ul class="links">{items}</ul>')

    def code(self, lines: str | Sequence[str]) -> None:
        """Add commands or code with a copy button; the block is folded unless the section already is."""
        text = lines if isinstance(lines, str) else "\n".join(lines)
        code = f'<div class="code"><pre>{escape(text)}</pre><button type="button">Copy</button></div>'
        if not self._is_folded:
            title = "Show the command" if "\n" not in text else "Show the commands"
            code = f"<details><summary>{title}</summary>{code}</details>"
        self._parts.append(code)

    def warning(self, text: str, title: str = "Watch out") -> None:
        """Add a box with a warning about the run."""
        self._parts.append(f'<div class="warning" role="note"><strong>{escape(title)}</strong>{escape(text)}</div>')

    def body(self) -> str:
        """Returns the content of the page's `main`: header, parts and footer."""
        links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in self._sections)
        head = f"<h1>{escape(self._title)}</h1>"
        if self._subtitle:
            head += f'<p class="subtitle">{escape(self._subtitle)}</p>'
        if len(self._sections) > 1:
            head += f"<nav>{links}</nav>"
        parts = "\n".join([*self._parts, *(["</details>"] if self._is_folded else [])])
        return f"<header>{head}</header>\n{parts}\n<footer>{escape(self._footer)}</footer>"

    def html(self) -> str:
        """Returns the complete HTML text."""
        style, script = page_style(), page_script()
        if self._has_mesh:
            script += "".join(path.read_text(encoding="utf-8") for path in _MESH_SCRIPTS)
        return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
                f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
                f"<title>{escape(self._title)}</title>\n<style>\n{style}</style>\n</head>\n"
                f"<body>\n<main>\n{self.body()}\n</main>\n"
                f"<script>\n{script}</script>\n</body>\n</html>\n")

    def write(self, path: Path) -> Path:
        """Write the page atomically and create its folder; raises UserError if that fails."""
        make_folder(path.parent)
        write_text(path, self.html())
        return path


def _cell(entry: Entry, is_right: bool) -> str:
    """Returns a cell; its word ("worse, perhaps by chance") goes below the figure."""
    word = entry.word or entry.trend or "" if isinstance(entry, Difference | Rated) else ""
    text = cell_text(entry).removesuffix(f", {word}")
    below = f'<span class="word">{escape(word)}</span>' if word else ""
    classes = _classes(is_right and "right", isinstance(entry, str) and "words",
                       isinstance(entry, Difference) and "gap", trend_in(entry))
    return f"<td{classes}>{escape(text)}{below}</td>"


def _classes(*names: str | bool | None) -> str:
    chosen = " ".join(name for name in names if isinstance(name, str))
    return f' class="{chosen}"' if chosen else ""


def _chart(is_chart: bool) -> str:
    return _classes(is_chart and "chart")


def _img(image: bytes, description: str, name: str = "") -> str:
    named = f' data-name="{escape(name)}"' if name else ""
    return f'<img src="{_data_uri(image)}" alt="{escape(description)}"{named}>'


def _caption(caption: str) -> str:
    return f"<figcaption>{escape(caption)}</figcaption>" if caption else ""


def _data_uri(image: bytes) -> str:
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "png"
    elif image.startswith(b"\xff\xd8\xff"):
        kind = "jpeg"
    elif image.lstrip()[:5] in (b"<?xml", b"<svg "):
        kind = "svg+xml"  # scripts do not run in an SVG inside an <img>
    else:
        raise UserError("page: a picture must be the content of a PNG, JPEG or SVG file")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
