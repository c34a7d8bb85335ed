"""Wikimedia Commons: the search of MediaWiki's Action API (`action=query&generator=search`, files only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from migaki.importers.collecting.fetch import Limits
from migaki.importers.collecting.source import Found, Source, as_dict, as_list, ask, distinct, found_of, plain_text

BASE = "https://commons.wikimedia.org"

_AT_A_TIME = 50  # pages with image information that anybody may ask for
_MOST_REQUESTS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Commons(Source):
    """The client. The address of a picture is that of a thumbnail of `width` px, which spares the servers."""

    name: ClassVar[str] = "commons"
    licence: ClassVar[str] = "of each picture in its row (free licences, as its page on Wikimedia Commons states)"

    limits: Limits
    base: str = BASE
    width: int = 640  # px

    def search(self, word: str, count: int) -> list[Found]:
        """Returns the order of the search."""
        parameters = {
            "action": "query", "format": "json", "formatversion": "2", "generator": "search", "gsrnamespace": "6",
            "gsrsearch": f"filetype:bitmap {word[:250]}", "gsrlimit": str(min(_AT_A_TIME, max(1, count))),
            "prop": "imageinfo", "iiprop": "url|extmetadata", "iiurlwidth": str(self.width),
            "iiextmetadatafilter": "Artist|LicenseShortName|LicenseUrl|ObjectName", "maxlag": "5"}
        found, further = list[Found](), dict[str, str]()
        for _ in range(_MOST_REQUESTS):
            answer = as_dict(ask(f"{self.base.rstrip('/')}/w/api.php", parameters | further, self.limits))
            pages = [as_dict(page) for page in as_list(as_dict(answer.get("query")).get("pages"))]
            # A request may bring image information of a part of its pages, and the rest with the next one.
            told = [page for page in pages if as_list(page.get("imageinfo"))]
            found = distinct([*found, *map(_found, sorted(told, key=_index))], count)
            following = as_dict(answer.get("continue"))
            if len(found) >= count or not following:
                break
            further = {str(name): str(value) for name, value in following.items()}
        return found


def _index(page: dict[str, Any]) -> int:
    index = page.get("index")
    return index if isinstance(index, int) else 10**9


def _found(page: dict[str, Any]) -> Found:
    info = as_dict(as_list(page.get("imageinfo"))[0])
    more = as_dict(info.get("extmetadata"))

    def said(name: str) -> str:
        return plain_text(as_dict(more.get(name)).get("value"))

    title = said("ObjectName") or str(page.get("title") or "").removeprefix("File:")
    return found_of({"url": info.get("thumburl") or info.get("url"), "page": info.get("descriptionurl"), "title": title,
                     "licence": f"{said('LicenseShortName')} {said('LicenseUrl')}".strip(), "author": said("Artist")})
