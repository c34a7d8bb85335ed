"""What a notebook shows: HTML with embedded pictures and inline styles, without scripts. All text is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

_CARD = "display:inline-block;vertical-align:top;margin:4px;font:12px/1.4 sans-serif;max-width:{width}px"
_CELL = "text-align:{side};padding:2px 10px;font-variant-numeric:tabular-nums"


def picture_html(picture: Image.Image, text: Sequence[str] = ()) -> str:
    """Returns a picture with lines of text below it."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    lines = "<br>".join(escape(line) for line in text)
    return (f'<div style="{_CARD.format(width=max(120, picture.width))}">{embedded(buffer.getvalue(), "picture")}'
            f'<div style="overflow-wrap:anywhere">{lines}</div></div>')


def chart_html(title: str, content: bytes) -> str:
    """Returns a small chart under its title."""
    return (f'<div style="{_CARD.format(width=300)}"><div style="font-weight:600">{escape(title)}</div>'
            f"{embedded(content, title)}</div>")


def embedded(content: bytes, description: str) -> str:
    """Returns an image element that holds a PNG, or an SVG, itself."""
    kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
    return (f'<img alt="{escape(description)}" style="display:block;max-width:100%" '
            f'src="data:image/{kind};base64,{base64.b64encode(content).decode("ascii")}">')


def title_html(title: str, line: str) -> str:
    """Returns a heading with one line below it."""
    return (f'<div style="font:600 14px sans-serif">{escape(title)}</div>'
            f'<div style="font:12px sans-serif;opacity:.75;overflow-wrap:anywhere">{escape(line)}</div>')


def table_html(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table whose first column is text and whose others are numbers."""
    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(f'<{tag} style="{_CELL.format(side="left" if place == 0 else "right")}">{escape(value)}</{tag}>'
                       for place, value in enumerate(values))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<table style="font:12px sans-serif"><tr>{cells("th", columns)}</tr>{body}</table>'
