"""A search engine that answers with JSON, asked with the user's own key, which is read from the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from migaki.core.errors import UserError
from migaki.importers.collecting.fetch import Limits
from migaki.importers.collecting.source import Found, Source, as_dict, as_list, ask, distinct, found_of

FIELDS = ("url", "page", "title", "licence", "author")

_MOST_REQUESTS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnEngine(Source):
    """Any engine: `{word}`, `{count}`, `{offset}`, `{page}` and `{key}` in its address are filled in.

    `results` is the path to the list of results, such as `data.items`; `fields` says where a result has what, such as
    `url=contentUrl`. The key is in no file and in no message; a redirect is not followed, so that it goes to one host.
    """

    name: ClassVar[str] = "engine"
    licence: ClassVar[str] = "that of each picture; an engine seldom knows it"

    limits: Limits
    address: str
    results: str = "results"
    fields: Sequence[str] = ()
    key_variable: str = ""  # the environment variable with the key
    key_header: str = ""  # the header that carries it, where it is not a part of the address
    a_page: int = 50

    def search(self, word: str, count: int) -> list[Found]:
        """Returns the engine's order, page by page while it has more."""
        key, names = self._key(), self._names()
        headers = {self.key_header: key} if self.key_header and key else {}
        found = list[Found]()
        for page in range(_MOST_REQUESTS):
            filled = self.address
            for mark, value in {"word": word, "count": str(min(self.a_page, count)), "offset": str(page * self.a_page),
                                "page": str(page + 1), "key": key}.items():
                filled = filled.replace("{" + mark + "}", quote(value, safe=""))
            answer = ask(filled, {}, self.limits, headers=headers, follows=False)
            results = [{name: _at(result, path) for name, path in names.items()} for result in
                       as_list(_at(answer, self.results))]
            before = len(found)
            found = distinct([*found, *map(found_of, results)], count)
            is_paged = "{offset}" in self.address or "{page}" in self.address
            if len(found) in (before, count) or not is_paged:
                break
        return found

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        if self.key_variable and not key:
            raise UserError(f"--key-variable {self.key_variable}: this environment variable is empty: export "
                            f"{self.key_variable}=YOUR_KEY")
        if "{key}" in self.address and not key:
            raise UserError("--api: its address has {key}: name the environment variable with the key by "
                            "--key-variable")
        if not key.isprintable() or not key.isascii():
            raise UserError(f"--key-variable {self.key_variable}: holds characters that no key has")
        return key

    def _names(self) -> dict[str, str]:
        """Returns where a result has each field."""
        names = {name: name for name in FIELDS}
        for word in self.fields:
            name, _, path = word.partition("=")
            if name not in names or not path:
                raise UserError(f"--fields {word}: write FIELD=PLACE with a FIELD of {', '.join(FIELDS)}")
            names[name] = path
        return names


def _at(value: Any, path: str) -> Any:
    """Returns what stands at a path like `data.0.url`; None if there is nothing."""
    for part in path.split(".") if path else ():
        if isinstance(value, list):
            value = value[int(part)] if part.isascii() and part.isdecimal() and int(part) < len(value) else None
        else:
            value = as_dict(value).get(part)
    return value
