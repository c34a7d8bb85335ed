"""The sets behind `migaki serve words`: each word is collected in the background, ordered, and clicked by people.

Everything is on disk: the collected folder continues after a crash, and each click is in `clicks.jsonl` before the page
gets its answer.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import torch

from migaki.core.errors import UserError
from migaki.core.files import digest, make_folder, show, write_text
from migaki.data.files.journal import Journal
from migaki.data.sets.metadata import jsonl_lines
from migaki.importers.collecting.best import best_rows, zip_of
from migaki.importers.collecting.collection import SEARCH
from migaki.importers.collecting.names import MAX_WORD, folder_name
from migaki.importers.collecting.ranking import FEWEST, Ranker
from migaki.importers.pictures_by_word import PicturesByWord

Mark = Literal["right", "wrong", "none"]

CLICKS: Final = "clicks.jsonl"
MOST_WORDS: Final = 500
"""Words of one server; a visitor must not fill the disk."""

_AT_ONCE = 2  # words that are collected at a time; the others wait
_BUSY = ("waiting", "fetching", "features")


class WordSet:
    """One word: its state, its rows, and people's clicks. Safe to share between threads."""

    def __init__(self, word: str, out: Path) -> None:
        self.word, self.out, self.id = word, out, digest(word)
        self.state = "kept"  # kept (from an earlier server), waiting, fetching, features, ready, failed
        self.problem = ""
        self.done = self.total = self.version = 0
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0  # of the last order
        self.features: torch.Tensor | None = None  # (N, D), in the order of `_ranks`
        self._ranks: list[int] = []
        self._arrived: dict[int, dict[str, Any]] = {}
        self._turn = threading.RLock()
        self._clicks: Journal | None = None
        self.marks: dict[int, str] = {}

    def about(self) -> dict[str, Any]:
        """Returns the state for the page; `version` changes whenever the pictures do."""
        with self._turn:
            marks = list(self.marks.values())
            return {"id": self.id, "word": show(self.word), "state": self.state, "problem": show(self.problem),
                    "done": self.done, "total": self.total, "version": self.version, "right": marks.count("right"),
                    "wrong": marks.count("wrong"), "seconds": round(self.seconds, 3)}

    def pictures(self) -> list[dict[str, Any]]:
        """Returns what the page shows of each picture: in the set's order, or while it forms by the given rank."""
        with self._turn:
            rows = self.rows or [self._arrived[rank] for rank in sorted(self._arrived)]
            return [{"rank": row["rank_given"], "new": row.get("rank_2"), "first": row.get("rank_1"),
                     "score": row.get("score"), "group": row.get("duplicate_group", row["rank_given"]),
                     "mark": self.marks.get(row["rank_given"], "none"),
                     **{name: show(str(row.get(name, ""))) for name in ("title", "licence", "author")},
                     "page": _web_address(row.get("page") or row.get("url"))} for row in rows]

    def file(self, rank: int) -> Path:
        """Returns the file of a picture; UserError if there is none of that rank."""
        with self._turn:
            found = next((row for row in self.rows if row["rank_given"] == rank), None) or self._arrived.get(rank)
        if found is None:
            raise UserError("there is no such picture")
        return self.out / str(found["file_name"])

    def collect(self, importer: PicturesByWord, source: Path, ranker: Ranker,
                others: Callable[[], torch.Tensor]) -> None:
        """Collect, compute features and order the pictures; what goes wrong becomes the state."""
        importer.watch = self._take
        try:
            self._become("fetching")
            importer.run(source, self.out, "migaki serve words", self._report)
            rows = [row for _, _, row in jsonl_lines(self.out / "metadata.jsonl")]
            with self._turn:
                self.rows = rows
            self._open_clicks()
            self._become("features")
            given = sorted(rows, key=lambda row: row["rank_given"])
            ranker.random(self._report)
            features = ranker.rows([self.out / row["file_name"] for row in given], self._report)
            with self._turn:
                self.features, self._ranks = features, [row["rank_given"] for row in given]
            self.order(ranker, others)
            self._become("ready")
        except UserError as error:
            self._become("failed", str(error))
        except Exception as error:
            traceback.print_exc()
            self._become("failed", f"{type(error).__name__}: the server's owner sees more")

    def _take(self, line: Mapping[str, Any]) -> None:
        if line["status"] == "ok":
            with self._turn:
                self._arrived[line["rank_given"]] = dict(line)
                self.version += 1

    def _report(self, done: int, total: int) -> None:
        with self._turn:
            self.done, self.total = done, total

    def _become(self, state: str, problem: str = "") -> None:
        with self._turn:
            self.state, self.problem = state, problem
            self.version += 1

    # ------------------------------------------------------------------ clicks

    def _open_clicks(self) -> None:
        with self._turn:
            if self._clicks is None:
                journal = Journal(self.out / CLICKS)
                for number in range(len(journal)):
                    self._mark(journal.read(number))
                journal.start({"word": self.word})
                self._clicks = journal

    def _mark(self, entry: Mapping[str, Any]) -> None:
        """Take a click, which may come from a stranger's file."""
        rank, mark = entry.get("rank_given"), entry.get("mark")
        if type(rank) is int and mark in ("right", "wrong"):
            self.marks[rank] = str(mark)
        elif type(rank) is int and mark == "none":
            self.marks.pop(rank, None)

    def click(self, rank: int, mark: Mark) -> None:
        """Keep a click, on disk before it counts."""
        with self._turn:
            if self._clicks is None or all(row["rank_given"] != rank for row in self.rows):
                raise UserError("there is no such picture: wait until the set is ready")
            entry = {"rank_given": rank, "mark": mark, "at": round(time.time(), 3)}
            self._clicks.append(entry)
            self._mark(entry)
            self.version += 1

    def order(self, ranker: Ranker, others: Callable[[], torch.Tensor]) -> None:
        """Order the pictures anew by all clicks, and write the new ranks to metadata.jsonl."""
        with self._turn:
            if self.features is None:
                raise UserError("the set is not ready yet: wait a moment")
            features, ranks = self.features, list(self._ranks)
            places = {mark: tuple(place for place, rank in enumerate(ranks) if self.marks.get(rank) == mark)
                      for mark in ("right", "wrong")}
        began = time.monotonic()
        random = ranker.random() if len(ranker.random()) else others()
        columns = dict(zip(ranks, ranker.rank(features, random=random, **places), strict=True))
        with self._turn:
            self.rows = sorted(({**row, **columns[row["rank_given"]]} for row in self.rows),
                               key=lambda row: row["rank_2"])
            self.seconds = time.monotonic() - began
            self.version += 1
            write_text(self.out / "metadata.jsonl",
                       "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows))

    def zipped(self, count: int) -> bytes:
        """Returns the best pictures as a ZIP file."""
        with self._turn:
            if self.state != "ready":
                raise UserError("the set is not ready yet: wait a moment")
            wrong = {rank for rank, mark in self.marks.items() if mark == "wrong"}
            rows = best_rows(self.rows, count, wrong)
        return zip_of(self.out, self.word, rows)


class WordSets:
    """All words below a folder."""

    def __init__(self, folder: Path, source: Path, config: PicturesByWord.Config, ranker: Ranker) -> None:
        self.folder, self.source, self.config, self.ranker = make_folder(folder), source, config, ranker
        self._turn = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="words")
        self._sets: dict[str, WordSet] = {}
        for out in sorted(folder.iterdir()):
            word = _word_in(out)
            if word is not None and folder_name(word) == out.name and len(self._sets) < MOST_WORDS:
                self._sets[digest(word)] = WordSet(word, out)

    def all(self) -> list[WordSet]:
        """Returns all words."""
        with self._turn:
            return list(self._sets.values())

    def get(self, name: str) -> WordSet:
        """Returns the set of this id. Raises UserError if there is none."""
        with self._turn:
            found = self._sets.get(name)
        if found is None:
            raise UserError("there is no such word here")
        return found

    def start(self, word: str) -> WordSet:
        """Returns the set of a word; it is collected unless that is done or under way."""
        word = " ".join(word.split())
        if not word or len(word) > MAX_WORD or not word.isprintable():
            raise UserError(f"give a word of 1 to {MAX_WORD} characters")
        with self._turn:
            if digest(word) not in self._sets and len(self._sets) >= MOST_WORDS:
                raise UserError(f"this server has {MOST_WORDS} words: ask its owner to move some away")
            found = self._sets.setdefault(digest(word), WordSet(word, self.folder / folder_name(word)))
            if found.state in (*_BUSY, "ready"):
                return found
            found.state = "waiting"
            # A set that failed is tried again as a whole; its pictures are kept.
            retry: Literal["failed", "none"] = "failed" if found.problem else "none"
            importer = PicturesByWord(replace(self.config, negatives=None, word=word, retry=retry))
            self._pool.submit(found.collect, importer, self.source, self.ranker, lambda: self._others(found))
        return found

    def order(self, found: WordSet) -> None:
        """Order the pictures of a word anew."""
        found.order(self.ranker, lambda: self._others(found))

    def _others(self, own: WordSet) -> torch.Tensor:
        """Returns the features of all other words' pictures, for servers without random pictures."""
        parts = [one.features for one in self.all() if one is not own and one.features is not None]
        features = torch.cat(parts) if parts else torch.zeros((0, 1))
        return features if len(features) >= FEWEST else torch.zeros((0, 1))

    def close(self) -> None:
        """Begin no further word."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _word_in(out: Path) -> str | None:
    """Returns the word of a collected folder; None for other folders."""
    try:
        if out.is_symlink() or not out.is_dir() or not (out / SEARCH).is_file():
            return None
        heading = next(iter(jsonl_lines(out / SEARCH)))[2]
    except (UserError, OSError, StopIteration):
        return None
    word = heading.get("word")
    return word if isinstance(word, str) else None


def _web_address(url: Any) -> str:
    text = str(url or "")
    return text if text.startswith(("http://", "https://")) and text.isprintable() else ""
