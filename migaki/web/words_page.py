"""A page where one types a word, watches its pictures arrive, clicks right and wrong, and takes the best as a ZIP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.core.files import apart
from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class WordsPage(ServedPage):
    """Serve a page that collects pictures by a word: `migaki serve words DIR --source openverse --negatives RANDOM`.

    DIR gets a folder for each word, with all pictures, licences, ranks and clicks. People click right and wrong, have
    the pictures ordered anew, and take the best 50 or 100 as a ZIP. A stopped server continues where it was.
    """

    operand = "folder"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """Where pictures come from, how they are ordered, and where to serve the page."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "source count negatives features layer pooling licences contact"}

        folder: Path  # the folder of all words
        source: Path = Path("openverse")  # openverse, commons, engine, a folder of pictures or a list of URLs
        count: int = 100  # pictures to ask for, of each word
        negatives: Path | None = None  # a folder of random pictures; none = the pictures of the other words
        features: str = "random"  # network: random, efficientnet_lite0, NAME=FILE.safetensors, or a trained run
        layer: str = ""  # of the network, several joined by +; none named = its usual one
        pooling: str = "mean_sd"  # of the layer's map: mean, mean_sd or gram
        feature_size: int = 160  # px, side of the pictures that the network sees
        duplicates: int = 26  # bits of 256 in which near-duplicates differ at most; -1 = no groups
        longest: int = 640  # px; larger pictures are scaled down to this longer side
        licences: str = ""  # of openverse, such as by,cc0; none named = all
        base: str = ""  # address of another server with the API of openverse or commons
        api: str = ""  # address of your engine, with {word} and, where it has them, {count} {offset} {page} {key}
        results: str = "results"  # of your engine: where its answer has the list of results, such as data.items
        fields: tuple[str, ...] = ()  # of your engine: FIELD=PLACE in a result, for url page title licence author
        key_variable: str = ""  # environment variable that holds your engine's key
        key_header: str = ""  # header that carries the key, where it is not in the address
        timeout: float = 20.0  # s for one URL
        allow_host: tuple[str, ...] = ()  # hosts, NAME or NAME:PORT, that may be in your own network
        contact: str = ""  # address or page that servers see beside the program's name

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.importers.collecting.ranking import Ranker
        from migaki.importers.pictures_by_word import PicturesByWord
        from migaki.web.word_sets import WordSets

        config = self.config
        guard.check_binding(config.host, config.token)
        shared = ("count", "negatives", "features", "layer", "pooling", "feature_size", "duplicates", "longest",
                  "licences", "base", "api", "results", "fields", "key_variable", "key_header", "timeout", "allow_host",
                  "contact")
        wanted = PicturesByWord.Config(word="x", **{name: getattr(config, name) for name in shared})
        importer = PicturesByWord(wanted)
        source = importer.source_of(config.source)  # a wrong source is refused before anybody opens the page
        if source.name in ("folder", "list"):
            apart(config.folder, config.source)
        if config.negatives is not None:
            apart(config.folder, config.negatives)
        ranker = Ranker(importer.rank_settings(), config.negatives)
        with needs_extra():
            from migaki.web.page_app import link_lines
            from migaki.web.words_app import CONNECTIONS, build_app
        words = WordSets(config.folder, config.source, wanted, ranker)
        app = build_app(words, host=config.host, token=config.token)
        try:
            serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "Words"), tell,
                      CONNECTIONS)
        finally:
            words.close()
