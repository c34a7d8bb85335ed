"""Openverse: openly licensed pictures of many archives (https://api.openverse.org/v1/, `GET images/`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from migaki.core.errors import UserError
from migaki.importers.collecting.fetch import Limits
from migaki.importers.collecting.source import Found, Source, as_dict, as_list, ask, distinct, found_of

BASE = "https://api.openverse.org"
TOKEN = "OPENVERSE_TOKEN"
"""The environment variable of an access token, which raises the service's limits; it is never stored."""

_A_PAGE = 20  # results that somebody without a token may ask for


@dataclass(frozen=True, kw_only=True, slots=True)
class Openverse(Source):
    """The service's client. Licences are those that the archives state, such as "BY-SA 4.0"."""

    name: ClassVar[str] = "openverse"
    licence: ClassVar[str] = "of each picture in its row (Creative Commons or public domain, as the archive states)"

    limits: Limits
    base: str = BASE
    licences: str = ""  # "by,cc0": only these; "": all

    def search(self, word: str, count: int) -> list[Found]:
        """Returns the service's order, page by page."""
        found, page = list[Found](), 1
        token = os.environ.get(TOKEN, "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        while len(found) < count:
            parameters = {"q": word[:200], "page": str(page), "page_size": str(_A_PAGE)}
            parameters |= {"license": self.licences} if self.licences else {}
            try:
                answer = as_dict(ask(f"{self.base.rstrip('/')}/v1/images/", parameters, self.limits, headers=headers,
                                     follows=not token))
            except UserError:
                if found:  # without a token the service ends after some pages
                    break
                raise
            results = as_list(answer.get("results"))
            found = distinct([*found, *map(_found, results)], count)
            pages = answer.get("page_count")
            if not results or not isinstance(pages, int) or page >= pages:
                break
            page += 1
        return found


def _found(result: Any) -> Found:
    values = as_dict(result)
    words = (values.get("license"), values.get("license_version"))
    licence = " ".join(word for word in words if isinstance(word, str) and word)
    return found_of({"url": values.get("url"), "page": values.get("foreign_landing_url"), "title": values.get("title"),
                     "licence": " ".join((licence.upper(), str(values.get("license_url") or ""))).strip(),
                     "author": values.get("creator")})
