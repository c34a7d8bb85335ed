"""A collected folder: what was found, what became of each URL, and the data set that follows from both.

`search.jsonl` has a line for what was searched and one for each picture found, in the source's order. `urls.jsonl` is
the journal: a line for what decides a picture's bytes, then one for each URL that was tried; of several lines with one
`rank_given` the last one counts. `pictures/`, `metadata.jsonl`, `dataset.json` and `ATTRIBUTION.md` follow from these
two, so a killed collection is continued, and a finished one is extended.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from migaki import __version__
from migaki.core.errors import UserError
from migaki.core.files import atomic_write, make_inner_folder, settle, show, write_json, write_text
from migaki.data.files.encoding import store
from migaki.data.files.journal import Journal
from migaki.data.sets.metadata import jsonl_lines
from migaki.data.writers.manifest import is_plain_file
from migaki.importers.collecting.attribution import attribution
from migaki.importers.collecting.picture import Picked
from migaki.importers.collecting.source import Found, found_of
from migaki.ops.perceptual import BITS, duplicate_groups

SEARCH, URLS = "search.jsonl", "urls.jsonl"

_OWN = frozenset((SEARCH, URLS, "pictures", "metadata.jsonl", "dataset.json", "ATTRIBUTION.md"))
_HASH_DIGITS = BITS // 4


class Collection:
    """The folder `out`. One process at a time may write to it (`core.files.exclusive`); its methods need no lock.

    Args:
        out: The folder; UserError if it holds something else.
        asked: The word and the source.
        kept_as: What decides the bytes of a picture (size limits); must be the same when a folder is continued.
    """

    def __init__(self, out: Path, asked: Mapping[str, Any], kept_as: Mapping[str, Any]) -> None:
        self.out, self.asked, self.kept_as = out, dict(asked), dict(kept_as)
        self.found: list[Found] = []
        self.count = 0  # pictures that were asked for when the source was searched
        self.states: dict[int, dict[str, Any]] = {}  # rank -> the last line of the journal
        if out.is_dir() and not (out / SEARCH).exists():
            others = [name for name in os.listdir(out) if not name.startswith(".") and name not in _OWN]
            if others or (out / "metadata.jsonl").exists():
                raise UserError(f"{show(out)}: holds other files: choose an empty or a new folder")
        self._read_search()
        self._journal = Journal(out / URLS)
        heading = {"collected_as": json.loads(json.dumps(self.kept_as))}
        if self._journal.heading is not None and self._journal.heading != heading:
            raise UserError(f"{show(out)}: was collected with other limits of pictures ({URLS}): choose another --out, "
                            "or give the same options")
        self._journal_heading = heading
        for number in range(len(self._journal)):
            self._take(self._journal.read(number))

    def _read_search(self) -> None:
        path = self.out / SEARCH
        if not os.path.lexists(path):
            return
        if not is_plain_file(path):
            raise UserError(f"{show(path)}: is no plain file: delete it or choose another --out")
        heading, *lines = [row for _, _, row in jsonl_lines(path)] or [{}]
        wanted = json.loads(json.dumps(self.asked))
        if {name: heading.get(name) for name in wanted} != wanted:
            was = heading.get("word")
            raise UserError(f"{show(self.out)}: was collected for '{show(str(was))}' from "
                            f"{show(str(heading.get('source')))}: choose another --out")
        self.found = [found_of(line) for line in lines]
        self.count = heading["count"] if type(heading.get("count")) is int else len(lines)

    def _take(self, entry: Mapping[str, Any]) -> None:
        """Take a line of the journal, which may come from a stranger, if it is one of ours."""
        rank, status = entry.get("rank_given"), entry.get("status")
        if type(rank) is not int or not 1 <= rank <= len(self.found) or not isinstance(status, str):
            return
        if entry.get("url") != self.found[rank - 1].url:
            return
        if status == "ok" and not self._is_whole(rank, entry):
            self.states.pop(rank, None)
            return
        self.states[rank] = dict(entry)

    def _is_whole(self, rank: int, entry: Mapping[str, Any]) -> bool:
        digits, sizes = entry.get("difference_hash"), (entry.get("width"), entry.get("height"))
        if not isinstance(digits, str) or len(digits) != _HASH_DIGITS or set(digits) - set("0123456789abcdef"):
            return False
        if not all(type(size) is int and size > 0 for size in sizes) or not isinstance(entry.get("sha256"), str):
            return False
        return entry.get("file_name") == self.name_of(rank) and is_plain_file(self.out / self.name_of(rank))

    def name_of(self, rank: int) -> str:
        """Returns the file name of a picture: its rank, and a part of its URL's hash."""
        mark = hashlib.sha256(self.found[rank - 1].url.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return f"pictures/{rank:05d}_{mark}.jpg"

    def extend(self, found: Sequence[Found], count: int) -> None:
        """Take the pictures of a search; those that are known keep their rank, new ones follow."""
        known = {one.url for one in self.found}
        self.found += [one for one in found if one.url not in known]
        self.count = max(count, self.count)
        lines = [{**self.asked, "count": self.count}, *(one.row() for one in self.found)]
        make_inner_folder(self.out)
        with atomic_write(self.out / SEARCH, "w") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def start(self) -> None:
        """Begin to write: from here on `add` may be called."""
        make_inner_folder(self.out / "pictures")
        self._journal.start(self._journal_heading)

    def missing(self, retried: Some[str] = ()) -> list[int]:
        """Returns the ranks that were not tried, and those whose status is one of `retried`."""
        return [rank for rank in range(1, len(self.found) + 1)
                if rank not in self.states or self.states[rank]["status"] in retried]

    def add(self, rank: int, picked: Picked) -> dict[str, Any]:
        """Store what became of a URL: the picture first, then its line; returns the line."""
        line: dict[str, Any] = {"rank_given": rank, "url": self.found[rank - 1].url, "status": picked.status}
        if picked.reason:
            line["reason"] = picked.reason
        if picked.hops:
            line["redirected_to"] = list(picked.hops)
        if picked.status == "ok":
            store(str(self.out / self.name_of(rank)), picked.data)
            line |= {"file_name": self.name_of(rank), "sha256": picked.sha256, "width": picked.width,
                     "height": picked.height, "difference_hash": picked.difference_hash}
        self._journal.append(line)
        self.states[rank] = line
        return line

    @property
    def ranks(self) -> list[int]:
        """The ranks of the pictures of the set: of equal files only the first."""
        first: dict[str, int] = {}
        for rank in sorted(rank for rank, state in self.states.items() if state["status"] == "ok"):
            first.setdefault(self.states[rank]["sha256"], rank)
        return sorted(first.values())

    def counts(self) -> dict[str, int]:
        """Returns how many URLs have which status, `ok` first."""
        counts = Counter(state["status"] for state in self.states.values())
        return {status: number for status, number in sorted(counts.items(), key=lambda one: (one[0] != "ok", one[0]))
                if number}

    def rows(self, threshold: int, ranking: Mapping[int, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
        """Returns the rows of the set, in the given order, or by `rank_2` if a ranking (rank -> columns) is given."""
        ranks = self.ranks
        groups = duplicate_groups([bytes.fromhex(self.states[rank]["difference_hash"]) for rank in ranks], threshold)
        rows = []
        for rank, group in zip(ranks, groups, strict=True):
            found, state = self.found[rank - 1], self.states[rank]
            rows.append({"file_name": state["file_name"], "label": self.asked["word"], **found.row(),
                         "sha256": state["sha256"], "difference_hash": state["difference_hash"],
                         "width": state["width"], "height": state["height"], "duplicate_group": ranks[group],
                         "rank_given": rank, **(ranking or {}).get(rank, {})})
        return sorted(rows, key=lambda row: (row.get("rank_2", 0), row["rank_given"]))

    def finish(self, rows: Sequence[Mapping[str, Any]], info: Mapping[str, Any]) -> None:
        """Write the data set of these rows, which hold all `ranks`. Equal files become `duplicate` and are deleted."""
        kept = {row["file_name"] for row in rows}
        for rank, state in sorted(self.states.items()):
            if state["status"] == "ok" and state["file_name"] not in kept:
                same = next(other for other in self.ranks if self.states[other]["sha256"] == state["sha256"])
                self.states[rank] = {"rank_given": rank, "url": state["url"], "status": "duplicate",
                                     "reason": f"the same file as rank {same}"}
                self._journal.append(self.states[rank])
                (self.out / state["file_name"]).unlink(missing_ok=True)
        with atomic_write(self.out / "metadata.jsonl", "w") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(self.out / "ATTRIBUTION.md", attribution(self.asked["word"], rows))
        settle(self.out)
        write_json(self.out / "dataset.json", {**info, **self.asked, **self.kept_as, "version": __version__,
                                               "num_images": len(rows), "urls": self.counts()})

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
