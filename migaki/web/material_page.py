"""A page that changes the material of a thing in a picture: click on it, choose a material, watch it change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from migaki.web import guard
from migaki.web.served import Address, ServedPage
from migaki.web.serving import Tell, needs_extra, serve_app, tell_at_once


class MaterialPage(ServedPage):
    """Serve a page that changes materials: `migaki serve material WORDS`.

    WORDS is a folder with a folder of pictures for each material. The page takes a picture, finds the thing that is
    clicked or boxed (or takes a mask), and shows the change as it is computed. Pictures are sent to this server only
    and are not kept.
    """

    operand = "words"

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config(Address):
        """The materials, how they are put on, and where to serve the page."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "features steps cluster most"}

        words: Path  # a folder with a folder of pictures for each material, or a set with the column `label`
        features: str = "random"  # network of the style: see `migaki apply material --help`
        steps: int = 100  # of the optimisation
        cluster: int = 0  # of a material's pictures, 1 = the largest; 0 = all
        most: int = 6  # pictures that are pooled
        side: int = 192  # px, longer side of the material's pictures

    config: Config

    def serve(self, tell: Tell = tell_at_once) -> None:
        """Serve until interrupted."""
        from migaki.changes.material import Material

        config = self.config
        guard.check_binding(config.host, config.token)
        change = Material.Config(to="", words=config.words, features=config.features, steps=config.steps,
                                 cluster=config.cluster, most=config.most, side=config.side)
        with needs_extra():
            from migaki.web.material_app import CONNECTIONS, Materials, build_app
            from migaki.web.page_app import link_lines
        app = build_app(Materials(change), host=config.host, token=config.token)
        serve_app(app, config.host, config.port, lambda address: link_lines(address, config.token, "Change materials"),
                  tell, CONNECTIONS)
