"""A set of images as a grid with its labels drawn: sorted, filtered, the worst first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class FolderPage(ServedPage):
    """Serve a set of images as a grid with its labels drawn: `migaki serve folder DIR`.

    Boxes, points, masks and gaze directions are drawn into the picture; other labels are listed below it. Predictions
    of a model are red. The grid can be sorted and filtered by any column, and by the errors of an evaluation.
    """

    operand = "folder"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The set, and where to serve it."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "evaluation"}

        folder: Path  # a folder of images, labelled or not, or shards
        evaluation: Path | None = None  # the folder of an evaluation, or its errors.csv: the worst pictures come first

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.web.folder_table import FolderTable

        config = self.config
        guard.check_binding(config.host, config.token)
        table = FolderTable(config.folder, config.evaluation)
        with needs_extra():
            from migaki.web.folder_app import build_app
            from migaki.web.page_app import link_lines
        app = build_app(table, host=config.host, token=config.token)
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "The set"), tell)
