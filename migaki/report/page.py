"""One self-contained HTML page: it needs no network and no other file, and can be mailed as it is.

Every text is escaped, since names come from users' folders; pictures are embedded; a content security policy in the
page itself forbids it to load anything. It follows the reader's light or dark setting and fits a phone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from migaki.core.errors import UserError
from migaki.core.files import make_folder, write_text
from migaki.report.tables import Table, is_numeric

_CSS = Path(__file__).with_name("page.css")

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'"

_SCRIPT = """\
for (const slider of document.querySelectorAll(".slider")) {
  const input = slider.querySelector("input");
  const move = () => slider.style.setProperty("--cut", input.value + "%");
  input.addEventListener("input", move);
  move();
}
async function copy(text) {
  // Clipboards are closed to pages opened from a disk in some browsers; selecting by hand is the fallback.
  try { await navigator.clipboard.writeText(text); return true; } catch (error) {}
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
for (const button of document.querySelectorAll(".code button")) {
  button.addEventListener("click", async () => {
    const done = await copy(button.previousElementSibling.textContent);
    button.textContent = done ? "Copied" : "Select by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
}
"""


class Number(NamedTuple):
    """A key figure for a card: what it is, its value as it should be read, and a word on it."""

    label: str
    value: str
    note: str = ""


class Page:
    """Collects the parts of a page in order and writes it as one file."""

    def __init__(self, title: str, subtitle: str = "", *, footer: str = "Made by migaki. This page loads nothing from "
                 "the network.") -> None:
        self._title, self._subtitle, self._footer = title, subtitle, footer
        self._sections: list[tuple[str, str]] = []
        self._parts: list[str] = []

    def numbers(self, numbers: Iterable[Number | tuple[str, str] | tuple[str, str, str]]) -> None:
        """Key figures as large cards: (label, value) or (label, value, note)."""
        cards = []
        for label, value, note in (Number(*number) for number in numbers):
            below = f'<div class="note">{escape(note)}</div>' if note else ""
            cards.append(f'<div class="number"><div class="label">{escape(label)}</div>'
                         f'<div class="value">{escape(value)}</div>{below}</div>')
        self._parts.append(f'<div class="numbers">{"".join(cards)}</div>')

    def section(self, title: str) -> None:
        """Begin a section; it is listed at the head of the page."""
        anchor = f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-') or 'section'}-{len(self._sections) + 1}"
        self._sections.append((anchor, title))
        self._parts.append(f'<h2 id="{anchor}">{escape(title)}</h2>')

    def text(self, text: str) -> None:
        """Plain paragraphs, parted by empty lines; no markup is interpreted."""
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            self._parts.append(f"<p>{escape(paragraph)}</p>")

    def figure(self, image: bytes, caption: str = "") -> None:
        """A picture (PNG, JPEG or SVG content) with its caption, which is its description for the blind too."""
        picture = f'<img src="{_data_uri(image)}" alt="{escape(caption)}">'
        self._parts.append(f"<figure>{picture}{_caption(caption)}</figure>")

    def table(self, table: Table) -> None:
        """A table; columns of numbers are set on the right, wide ones scroll on a phone."""
        sides = [' class="right"' if is_numeric(table, k) else "" for k in range(len(table.columns))]
        head = "".join(f"<th{side}>{escape(name)}</th>" for side, name in zip(sides, table.columns, strict=True))
        body = "".join("<tr>" + "".join(f"<td{side}>{escape(text)}</td>" for side, text in zip(sides, row, strict=True))
                       + "</tr>" for row in table.cells())
        caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
        self._parts.append(f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>'
                           f"<tbody>{body}</tbody></table></div>")

    def code(self, lines: str | Sequence[str]) -> None:
        """Commands or code with a button that copies them."""
        text = lines if isinstance(lines, str) else "\n".join(lines)
        self._parts.append(f'<div class="code"><pre>{escape(text)}</pre><button type="button">Copy</button></div>')

    def warning(self, text: str, title: str = "Watch out") -> None:
        """A box for what a watchman of the run has reported."""
        self._parts.append(f'<div class="warning" role="note"><strong>{escape(title)}</strong>{escape(text)}</div>')

    def slider(self, before: bytes, after: bytes, caption: str = "", *, names: tuple[str, str] = ("before", "after")
               ) -> None:
        """Two pictures of one size, one over the other, with a handle to pull across (mouse, finger, arrow keys)."""
        first, second = (escape(name) for name in names)
        self._parts.append(
            f'<figure><div class="slider"><img src="{_data_uri(before)}" alt="{first}">'
            f'<img class="after" src="{_data_uri(after)}" alt="{second}"><span class="tag first">{first}</span>'
            f'<span class="tag second">{second}</span><span class="handle"></span>'
            f'<input type="range" min="0" max="100" '
            f'step="0.5" value="50" aria-label="{first} or {second}"></div>{_caption(caption)}</figure>')

    def html(self) -> str:
        """The page's whole text."""
        links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in self._sections)
        head = f"<h1>{escape(self._title)}</h1>"
        if self._subtitle:
            head += f'<p class="subtitle">{escape(self._subtitle)}</p>'
        if len(self._sections) > 1:
            head += f"<nav>{links}</nav>"
        parts = "\n".join(self._parts)
        return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
                f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
                f"<title>{escape(self._title)}</title>\n<style>\n{_CSS.read_text(encoding='utf-8')}</style>\n</head>\n"
                f"<body>\n<main>\n<header>{head}</header>\n{parts}\n<footer>{escape(self._footer)}</footer>\n</main>\n"
                f"<script>\n{_SCRIPT}</script>\n</body>\n</html>\n")

    def write(self, path: Path) -> Path:
        """Write the page, whole or not at all, creating its folder; UserError where that cannot be done."""
        make_folder(path.parent)
        write_text(path, self.html())
        return path


def _caption(caption: str) -> str:
    return f"<figcaption>{escape(caption)}</figcaption>" if caption else ""


def _data_uri(image: bytes) -> str:
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        kind = "png"
    elif image.startswith(b"\xff\xd8\xff"):
        kind = "jpeg"
    elif image.lstrip()[:5] in (b"<?xml", b"<svg "):
        kind = "svg+xml"  # scripts do not run in an SVG that stands in an <img>
    else:
        raise UserError("page: a picture must be the content of a PNG, JPEG or SVG file")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
