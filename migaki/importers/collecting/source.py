"""Source: where addresses of pictures for a word come from. A new source is one class with one method."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html.parser import HTMLParser
from typing import Any, ClassVar
from urllib.parse import urlencode

from migaki.core.errors import UserError
from migaki.core.files import show
from migaki.importers.collecting.fetch import Limits, fetch

_TRIES, _LONGEST_WAIT = 4, 60.0  # s
_MAX_TEXT = 2000  # characters of what strangers say of a picture


@dataclass(frozen=True, slots=True)
class Found:
    """One picture as a source knows it; everything but the URL may be empty. A local file has `file:` and a path."""

    url: str
    page: str = ""
    title: str = ""
    licence: str = ""
    author: str = ""

    def row(self) -> dict[str, str]:
        """Its fields as a row."""
        return asdict(self)


def found_of(values: Mapping[str, Any]) -> Found:
    """Returns a picture from strangers' values: what is no text counts as empty, and long texts are cut."""
    def text(name: str) -> str:
        value = values.get(name)
        return " ".join(value.split())[:_MAX_TEXT] if isinstance(value, str) else ""

    url = str(values.get("url") or "").strip()[: 2 * _MAX_TEXT + 100]
    return Found(url=url, page=text("page"), title=text("title"), licence=text("licence"), author=text("author"))


class Source(ABC):
    """Finds pictures for a word."""

    name: ClassVar[str]
    licence: ClassVar[str]  # what the source says of licences, for dataset.json

    @abstractmethod
    def search(self, word: str, count: int) -> list[Found]:
        """Returns at most `count` pictures, the best first, without repeated URLs; UserError if the source refuses."""


def ask(url: str, parameters: Mapping[str, str], limits: Limits, *, headers: Mapping[str, str] | None = None,
        follows: bool = True) -> Any:
    """Returns the JSON that a service answers; waits and asks again while it is busy. UserError if that does not help.

    Messages name the service without its parameters, which may hold a key.
    """
    whole = f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}" if parameters else url
    shown = show(url.split("?")[0])
    for number in range(_TRIES):
        answer = fetch(whole, limits, {"Accept": "application/json", **(headers or {})}, follows=follows)
        if answer.status in ("busy", "timeout") and number < _TRIES - 1:
            time.sleep(min(_LONGEST_WAIT, answer.retry_after if answer.retry_after is not None else 2.0**number))
            continue
        if answer.status != "ok":
            raise UserError(f"{shown}: {answer.reason}: check the address, the word and the network, and run again")
        break
    try:
        return json.loads(answer.content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shown}: did not answer with JSON: check the address") from error


def as_list(value: Any) -> list[Any]:
    """Returns a list as it is, and for anything else an empty one."""
    return value if isinstance(value, list) else []


def as_dict(value: Any) -> dict[str, Any]:
    """Returns an object as it is, and for anything else an empty one."""
    return value if isinstance(value, dict) else {}


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words = list[str]()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def plain_text(html: Any) -> str:
    """Returns the words of a piece of HTML without its tags."""
    parser = _Text()
    parser.feed(str(html or "")[: 10 * _MAX_TEXT])
    parser.close()
    return " ".join(" ".join(parser.words).split())


def distinct(found: list[Found], count: int) -> list[Found]:
    """Returns the first `count` pictures of different URLs that have one."""
    return list({one.url: one for one in reversed(found) if one.url}.values())[::-1][:count]
