"""Changes the material of a region: a bag into leather, a wall into moss; every pixel outside keeps its bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from migaki.changes.parts.regions import Box, Point, RegionFinder
from migaki.changes.parts.restyling import Restyling
from migaki.core.batch import Batch, Key
from migaki.core.change import Change
from migaki.core.errors import UnfitPicture, UserError
from migaki.core.files import show
from migaki.losses.guided_style import Pool
from migaki.losses.style import StyleKind
from migaki.ops.surface_light import Light


class Material(Change):
    """Gives a region of each picture the material of other pictures, by optimising its pixels.

    The region is a class of the set's masks (--from), what a segmenter finds, or what a click or a box means. The
    material is a picture, a folder of pictures, or a word of --words, whose pictures are clustered by style. Labels
    stay as they were; the pixels that were changed are the plane `region`. docs/materials.md has the sources.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The region, the material, and how it is put on."""

        GROUPS: ClassVar[dict[str, str]] = {
            "usual": "source words segmenter click box cluster pool features light highlights colour steps feather",
            "rest": "how empty loss side most style_layers content_layers content_weight smooth_weight rate "
                    "highlight_share sigma only pages",
        }
        NAMES: ClassVar[dict[str, str]] = {"source": "from"}

        to: str  # a picture, a folder of pictures (with masks, only what these show), or a word of --words
        source: str = ""  # class that is changed, by name or number in the masks; none = all but the background
        words: Path | None = None  # a folder with a folder of pictures for each word, or a set with the column `label`
        segmenter: Path | None = None  # a run of `migaki train weak_segmenter` or `segmenter` that finds the region
        click: Point | None = None  # x y in px: the region is the thing there
        box: Box | None = None  # x y width height in px: the region is the thing inside
        cluster: int = 1  # of the word's pictures: 1 = the largest; 0 = all, not clustered
        pool: Pool = "mean"  # how several pictures are one style; union: of all their features, by sliced Wasserstein
        most: int = 8  # pictures that are pooled, the most central ones
        only: int = 0  # of the chosen pictures, the one of this number alone, from 1; 0 = all are pooled
        features: str = "random"  # network: random, efficientnet_lite0, a file NAME=FILE.safetensors, or a run
        style_layers: tuple[str, ...] = ()  # none = the network's usual ones
        content_layers: tuple[str, ...] = ()  # none = the network's usual ones
        loss: StyleKind = "gram"  # statistics of the features; --pool union has sliced
        side: int = 192  # px, longer side of the material's pictures; finer or coarser material
        steps: int = 150  # of the optimisation
        rate: float = 0.03  # first step of a pixel, of its range
        content_weight: float = 0.03  # content over style, both in units of the distance at the start
        smooth_weight: float = 0.3  # of the total variation
        light: Light = "style"  # shading: the old surface's pattern of light; content: its low-pass luminance as it is
        sigma: float = 12.0  # px, width of the low pass
        highlights: bool = False  # take the brightest luminances from the material's pictures: metal, glass
        highlight_share: float = 0.06  # of the region's pixels
        colour: Literal["style", "content"] = "style"  # content: the region keeps its colours
        feather: float = 1.5  # px inside the region over which the change sets in, in linear light
        how: Literal["style", "paste"] = "style"  # paste: put a piece of a picture there instead, without optimising
        empty: Literal["refuse", "keep"] = "refuse"  # a picture without the region: stop, or leave it as it is
        pages: int = 12  # pictures that the page shows, the first ones; 0 = no page

        def __post_init__(self) -> None:
            ways = [name for name in ("segmenter", "click", "box") if getattr(self, name) is not None]
            if len(ways) > 1:
                raise UserError(f"apply material: --{ways[0]} and --{ways[1]}: give one way to find the region")
            if self.source and ways and ways != ["segmenter"]:
                raise UserError(f"apply material: --from is a class of masks, and --{ways[0]} needs none: leave one "
                                "out")
            if self.pool == "max" and self.loss != "gram":
                raise UserError("apply material: --pool max is of Gram matrices: leave out --loss")
            if min(self.steps, self.most) < 1 or self.side < 32 or self.rate <= 0 or self.sigma <= 0:
                raise UserError("apply material: --steps and --most are at least 1, --side at least 32 px, --rate and "
                                "--sigma above 0")
            if min(self.content_weight, self.smooth_weight, self.feather, self.cluster, self.pages, self.only) < 0:
                raise UserError("apply material: --content-weight, --smooth-weight, --feather, --cluster, --only and "
                                "--pages must not be negative")
            if not 0 < self.highlight_share < 1:
                raise UserError("apply material: --highlight-share lies between 0 and 1")
            if self.box is not None and min(self.box[2:]) <= 0:
                raise UserError("apply material: --box is x y width height, the last two above 0")

    config: Config
    keys = (
        Key(name="region", shape=("H", "W"), unit="1 where the material was changed, else 0, uint8", kind="plane"),
        Key(name="region_share", shape=(), unit="0 to 1, the region's share of the picture"),
        Key(name="style_left", shape=(), unit="distance from the style; 1 = that of the picture before"),
        Key(name="content_lost", shape=(), unit="distance from the content in units of its variance"),
    )
    page = "migaki.report.material_page:write_pages"
    restyling: Restyling

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.finder = RegionFinder(config.source, config.segmenter, config.click, config.box)
        self.inputs = self.finder.inputs
        if self.finder.way == "mask":
            self.without = ", or let --segmenter, --click or --box find the region"

    def open(self, folder: Path) -> None:
        """Read the material's pictures, cluster them, and check the region's class."""
        self.finder.open(folder if folder.is_dir() else None)
        self.restyling = Restyling(self.config)

    @property
    def names(self) -> dict[str, Any]:
        """What the material was made of, for the record."""
        return {"material": self.restyling.record}

    def reads(self) -> dict[str, Path]:
        """The material's pictures, the segmenter, and a network that is a file or a run."""
        config = self.config
        to = config.words if config.words is not None else Path(config.to)
        network = Path(config.features.rpartition("=")[2])
        found = {"words" if config.words is not None else "to": to}
        found |= {"segmenter": config.segmenter} if config.segmenter is not None else {}
        return found | ({"features": network} if network.exists() and config.features != "random" else {})

    def change(self, batch: Batch, seeds: Tensor) -> Batch:
        """(B, 1 or 3, H, W) in [0, 1] to the same shape, with `region` (B, H, W) and the columns (B,)."""
        images = batch["image"]
        if images.shape[1] not in (1, 3):
            raise UnfitPicture(f"has {images.shape[1]} channels: convert it with `migaki import photos --channels 3`")
        regions = self.finder.regions(batch)
        made = [self._one(image[None], region, int(seed))
                for image, region, seed in zip(images, regions, seeds, strict=True)]
        return {key: torch.stack([one[key] for one in made]) for key in made[0]}

    def _one(self, image: Tensor, region: Tensor, seed: int) -> Batch:
        found: Batch = {"image": image[0], "region": region.to(torch.uint8), "region_share": region.float().mean(),
                        "style_left": torch.tensor(1.0), "content_lost": torch.tensor(0.0)}
        if not bool(region.any()):
            if self.config.empty == "keep":
                return found
            raise UnfitPicture(self._nothing())
        try:
            done = self.restyling.change(image, region, seed)
        except FloatingPointError as error:
            raise UnfitPicture(f"{error}: lower --rate or --content-weight") from error
        return found | {"image": done.image[0], "style_left": torch.tensor(done.style),
                        "content_lost": torch.tensor(done.content)}

    def _nothing(self) -> str:
        config, keep = self.config, "leave such pictures as they are with --empty keep"
        if self.finder.way == "mask":
            what = f"shows no '{show(config.source)}'" if config.source else "is empty"
            return f"its mask {what}, so there is nothing to change: correct the mask, or {keep}"
        if self.finder.way == "segmenter":
            what = f"'{show(config.source)}'" if config.source else "none of its classes"
            return f"the segmenter finds no {what} in it: give masks or --click, or {keep}" if config.source else \
                f"the segmenter finds {what} in it: give masks or --click, or {keep}"
        return f"nothing stands out at --{self.finder.way}: give another place, a mask, or {keep}"
