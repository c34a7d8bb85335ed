"""Collects pictures by a word from a folder, a list of URLs, Openverse, Wikimedia Commons or your own engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from migaki.core.errors import UserError
from migaki.core.files import apart, exclusive, show
from migaki.core.plural import counted
from migaki.core.progress import Bar
from migaki.data.walk import OutputJob
from migaki.importers.collecting import ranking
from migaki.importers.collecting.collect import RETRIED, Pace, fetch_into
from migaki.importers.collecting.collection import Collection
from migaki.importers.collecting.commons import Commons
from migaki.importers.collecting.fetch import Limits
from migaki.importers.collecting.local_sources import Folder, UrlList
from migaki.importers.collecting.names import MAX_WORD
from migaki.importers.collecting.openverse import Openverse
from migaki.importers.collecting.own_engine import OwnEngine
from migaki.importers.collecting.picture import Wanted
from migaki.importers.collecting.source import Found, Source
from migaki.importers.importer import Array, Importer, Row, check_option
from migaki.ops.reranking import Passes

ONLINE = ("openverse", "commons", "engine")
"""The sources that are no file."""

MiB = 2**20


class PicturesByWord(Importer):
    """`migaki import pictures_by_word SOURCE --word WORD --out DIR`: pictures of a word, with licence and author.

    SOURCE is `openverse`, `commons` (Wikimedia Commons), `engine` (one of your own, by --api), a folder of pictures, or
    a list of URLs: a text file, .csv, .tsv, .jsonl or .parquet with a column `url` (also page, title, licence, author,
    word). The folder has a status for each URL (urls.jsonl), groups of near-duplicates, and ATTRIBUTION.md.
    """

    licence = "of each picture in its row"
    source = "pictures found by a word"
    takes_all = True

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What to search, and how to fetch it."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "word count retry duplicates negatives features layer pooling licences api longest",
        }

        word: str = ""  # what to search, in any language; a folder or a list may do without
        count: int = 100  # pictures to ask the source for; may be raised later
        retry: Literal["none", "failed"] = "none"  # failed: try again what was dead, too slow or busy
        duplicates: int = 26  # bits of 256 in which near-duplicates differ at most; -1 = no groups
        longest: int = 1024  # px; larger pictures are scaled down to this longer side; 0 = none are
        min_side: int = 64  # px; pictures with a shorter side are left out
        negatives: Path | None = None  # a folder of random pictures, to find a better order; none = no new order
        method: ranking.Method = "two_passes"  # of a linear SVM; or label_noise, visual_rank, cosine to the mean
        features: str = "random"  # network: random, efficientnet_lite0, NAME=FILE.safetensors, or a trained run
        layer: str = ""  # of the network, several joined by +; none named = its usual one
        pooling: str = "mean_sd"  # of the layer's map: mean, mean_sd or gram
        feature_size: int = 160  # px, side of the pictures that the network sees
        first: int = 10  # pictures of the source's order that the first pass takes for right
        second: int = 20  # pictures of the new order that the second pass takes for right
        cost: float = 0.01  # of a violated margin; small, since not all that is taken for right is right
        num_negatives: int = 2000  # random pictures that are used
        base: str = ""  # address of another server with the API of openverse or commons
        licences: str = ""  # of openverse, such as by,cc0; none named = all
        api: str = ""  # address of your engine, with {word} and, where it has them, {count} {offset} {page} {key}
        results: str = "results"  # of your engine: where its answer has the list of results, such as data.items
        fields: tuple[str, ...] = ()  # of your engine: FIELD=PLACE in a result, for url page title licence author
        key_variable: str = ""  # environment variable that holds your engine's key
        key_header: str = ""  # header that carries the key, where it is not in the address
        threads: int = 16  # URLs at a time, in each process
        per_host: int = 4  # requests to one host at a time, of each process
        delay: float = 0.0  # s between the beginnings of two requests to one host
        timeout: float = 20.0  # s for one URL, redirects included
        most_mb_each: float = 20.0  # MiB of one file; larger ones are not fetched
        most_mb: float = 20000.0  # MiB of the whole folder
        allow_host: tuple[str, ...] = ()  # hosts, NAME or NAME:PORT, that may be in your own network
        opt_outs: bool = True  # leave out what opts out of machine learning (X-Robots-Tag: noai, tdm-reservation)
        contact: str = ""  # address or page that servers see beside the program's name; Wikimedia asks for one

        def __post_init__(self) -> None:
            name = "pictures_by_word"
            for option, value, low, high in (
                    ("--count", self.count, 1, 100_000), ("--duplicates", self.duplicates, -1, 256),
                    ("--longest", self.longest, 0, 8192), ("--min-side", self.min_side, 1, 8192),
                    ("--feature-size", self.feature_size, 32, 1024), ("--first", self.first, 1, 1000),
                    ("--second", self.second, 1, 1000), ("--cost", self.cost, 1e-6, 1e6),
                    ("--num-negatives", self.num_negatives, ranking.FEWEST, 100_000),
                    ("--threads", self.threads, 1, 256), ("--per-host", self.per_host, 1, 256),
                    ("--delay", self.delay, 0, 3600), ("--timeout", self.timeout, 0.1, 3600),
                    ("--most-mb-each", self.most_mb_each, 0.001, 1000), ("--most-mb", self.most_mb, 0.001, 1e8)):
                check_option(name, option, value, low, high)
            if len(self.word) > MAX_WORD:
                raise UserError(f"migaki import {name}: --word has {len(self.word)} characters: give at most "
                                f"{MAX_WORD}")
            if not self.contact.isprintable() or not self.contact.isascii():
                raise UserError(f"migaki import {name}: --contact: write it in ASCII")

    config: Config
    watch: Callable[[dict[str, Any]], None] | None = None  # called with each line of the journal

    def find(self, path: Path) -> Sequence[Found]:
        """Returns what the source finds."""
        return self.source_of(path).search(self.word_of(path), self.config.count)

    def load(self, entry: Any) -> tuple[str, Array, Row]:
        """Not used: `run` fetches, since URLs fail."""
        raise NotImplementedError

    def run(self, path: Path | str, out: Path | str, command: str = "",
            report: Callable[[int, int], None] | None = None, *, job: OutputJob | None = None,
            quiet: bool = True) -> int:
        """Search, fetch and write the folder `out`; returns the number of its pictures. See `Importer.run`."""
        path, out = Path(path), Path(out)
        job = job or OutputJob(out=out)
        if job.format != "folder":
            raise UserError(f"--format {job.format}: pictures by a word become a folder, since its URLs can be tried "
                            "again: leave --format out")
        word, source = self.word_of(path), self.source_of(path)
        if source.name in ("folder", "list"):
            apart(out, path)
        # Opened first: a wrong --negatives or --features must not be told after an hour of fetching.
        ranker = None
        if self.config.negatives is not None:
            apart(out, self.config.negatives)
            ranker = ranking.Ranker(self.rank_settings(), self.config.negatives)
        with exclusive(out):
            asked = {"word": word, "source": source.name if source.name in ONLINE else str(path)}
            collection = Collection(out, asked, {"longest": self.config.longest, "min_side": self.config.min_side})
            if not job.resume and collection.found:
                raise UserError(f"{show(out)}: exists already: choose another --out, or continue it without "
                                "--no-resume")
            if self.config.count > collection.count:
                collection.extend(_searched(source, word, self.config.count), self.config.count)
            collection.start()
            try:
                self._fetch(collection, path, job, report, quiet)
                if not collection.ranks:
                    raise UserError(f"{show(out)}: none of {counted(len(collection.found), 'URL')} gave a "
                                    f"picture ({_in_words(collection.counts())}): see {show(out)}/urls.jsonl, then "
                                    f"{_way_on(collection.counts())}")
                rows = collection.rows(self.config.duplicates, _ranking(collection, ranker, quiet))
                collection.finish(rows, {"command": command, "importer": "pictures_by_word", "licence": source.licence,
                                         "classes": [word], "duplicates": self.config.duplicates})
            finally:
                collection.close()
        if not quiet:
            for line in self._lines(collection, rows):
                print(line)
        return len(rows)

    def word_of(self, path: Path) -> str:
        """Returns the word, or for a folder or list without one its name."""
        if not self.config.word.strip() and str(path) in ONLINE:
            raise UserError(f"migaki import pictures_by_word {path}: what is to be searched? add --word WORD")
        return " ".join(self.config.word.split()) or path.resolve().stem

    def source_of(self, path: Path) -> Source:
        """Returns the source that PATH names."""
        config, limits = self.config, self.limits(20 * MiB)
        if str(path) == "openverse":
            return Openverse(limits=limits, licences=config.licences, **({"base": config.base} if config.base else {}))
        if str(path) == "commons":
            base = {"base": config.base} if config.base else {}
            return Commons(limits=limits, width=config.longest or 1280, **base)
        if str(path) == "engine":
            if not config.api:
                raise UserError("migaki import pictures_by_word engine: give your engine's address by --api, such as "
                                "'https://HOST/images?q={word}&offset={offset}'")
            return OwnEngine(limits=limits, address=config.api, results=config.results, fields=config.fields,
                             key_variable=config.key_variable, key_header=config.key_header)
        if path.is_dir():
            return Folder(path)
        if not path.is_file():
            raise UserError(f"{show(path)}: there is no such folder or list of URLs, and the sources by name are "
                            f"{', '.join(ONLINE)}")
        return UrlList(path)

    def limits(self, num_bytes: int) -> Limits:
        """Returns the limits of one request."""
        config = self.config
        agent = Limits().agent + (f" ({config.contact})" if config.contact else "")
        return Limits(seconds=config.timeout, num_bytes=num_bytes, allowed=config.allow_host, agent=agent,
                      keeps_opt_outs=config.opt_outs)

    def _fetch(self, collection: Collection, path: Path, job: OutputJob, report: Callable[[int, int], None] | None,
               quiet: bool) -> None:
        config, total = self.config, len(collection.found)
        ranks = collection.missing(RETRIED if config.retry == "failed" else ())
        wanted = Wanted(limits=self.limits(int(config.most_mb_each * MiB)), min_side=config.min_side,
                        longest=config.longest, root=path if path.is_dir() and str(path) not in ONLINE else None)
        pace = Pace(threads=config.threads, per_host=total if wanted.root else config.per_host, delay=config.delay)
        with Bar("import pictures_by_word", total, total - len(ranks), quiet) as bar:

            def tell(line: dict[str, Any]) -> None:
                bar.advance(1)
                if self.watch is not None:
                    self.watch(line)
                if report is not None:
                    report(bar.done, total)

            if report is not None:
                report(bar.done, total)
            fetch_into(collection, ranks, wanted, pace, workers=job.workers, where=job.engine, address=job.address,
                       most_bytes=int(config.most_mb * MiB), tell=tell)

    def rank_settings(self) -> ranking.RankSettings:
        """Returns how pictures are ordered."""
        config = self.config
        return ranking.RankSettings(
            features=config.features, layer=config.layer, pooling=config.pooling, size=config.feature_size,
            method=config.method, num_random=config.num_negatives,
            passes=Passes(first=config.first, second=config.second, cost=config.cost))

    def _lines(self, collection: Collection, rows: Sequence[Row]) -> list[str]:
        """Returns what is printed at the end."""
        groups = len({row["duplicate_group"] for row in rows})
        lines = [f"{counted(len(collection.found), 'URL')}: {_in_words(collection.counts())} (urls.jsonl says why)",
                 f"{counted(len(rows), 'picture')} in {counted(groups, 'group')} of near-duplicates (--duplicates "
                 f"{self.config.duplicates})"]
        if len(rows) < self.config.count:
            lines.append(f"{len(rows)} of the {counted(self.config.count, 'picture')} asked for: the source gave "
                         f"{counted(len(collection.found), 'address', 'addresses')}")
        failed = sum(number for status, number in collection.counts().items() if status in RETRIED)
        return lines + ([f"{failed} may work another time: run the same command with --retry failed"] if failed else [])


def _searched(source: Source, word: str, count: int) -> list[Found]:
    """Returns what the source finds; UserError if that is nothing."""
    found = source.search(word, count)
    if not found:
        raise UserError(f"'{show(word)}': {source.name} finds nothing: try another word or source")
    return found


def _ranking(collection: Collection, ranker: ranking.Ranker | None, quiet: bool) -> dict[int, Row]:
    """Returns the columns of the new order, if one is wanted."""
    if ranker is None:
        return {}
    with Bar("features", 0, quiet=quiet) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.advance(done - bar.done)

        return ranking.ranked_columns(ranker, collection.out, collection.states, collection.ranks, progress)


def _way_on(counts: dict[str, int]) -> str:
    """Returns what to do with a collection without a picture."""
    if any(status in counts for status in RETRIED):
        return "try --retry failed"
    if "refused_private" in counts:
        return "choose another --out, with --allow-host NAME for a server of your own"
    return "choose another source and --out"


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in counts.items()) or "none tried"
