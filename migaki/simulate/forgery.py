"""Forgery: a region of a photograph replaced by that of another one, or by itself altered; half stay real."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import torch
from PIL import Image

from migaki.core.batch import Batch, Key
from migaki.core.damage import Damage, check_range
from migaki.core.errors import UserError
from migaki.core.seeds import fold
from migaki.ops.forgery import KINDS, RATIOS, REGIONS, Choice, Dice, altered, forge, region_levels


class Forgery(Damage):
    """Forges a share of the photographs and encodes all of them alike, so that their JPEG history tells nothing.

    The donor is another photograph of the set (`migaki simulate forgery --input`), or the photograph itself with other
    light, sharpness and place. Parameters returned: `forged` (0 or 1), `forgery_kind` (0 real, then 1 + the place in
    alpha, gradient, mixup, none), `forgery_region` (the same of face, eyes, nose, mouth, blob), `forgery_ratio` (the
    donor's share, 0 if real), `quality` (of the JPEG) and `mask` (1 where pixels are forged).
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """What is forged, and how often; each choice is drawn for each photograph."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "real regions kinds ratios own colour_match quality softness"}

        real: float = 0.5  # share of the photographs that stay as they are
        regions: tuple[str, ...] = REGIONS  # face, eyes, nose, mouth (a face fills the picture) or blob (anywhere)
        kinds: tuple[str, ...] = KINDS  # alpha, gradient, mixup, none
        ratios: tuple[float, ...] = RATIOS  # shares of the donor in mixup
        own: float = 0.5  # share of the forgeries whose donor is the photograph itself, altered
        colour_match: float = 0.5  # share of the forgeries whose donor takes the colours of what it covers
        quality: tuple[int, int] = (70, 95)  # of the JPEG that real and forged ones go through; 0 0 = none
        softness: tuple[float, float] = (0.05, 0.4)  # width of the edge in units of the region's half axis

        def __post_init__(self) -> None:
            for name, values, known in (("regions", self.regions, REGIONS), ("kinds", self.kinds, KINDS)):
                strange = [value for value in values if value not in known]
                if strange or not values:
                    raise UserError(f"--{name} {' '.join(strange)}: known are {', '.join(known)}")
            if not self.ratios or not all(ratio in RATIOS for ratio in self.ratios):
                raise UserError(f"--ratios: known are {', '.join(map(str, RATIOS))}")
            if not all(0 <= share <= 1 for share in (self.real, self.own, self.colour_match)):
                raise UserError("--real, --own and --colour-match are shares from 0 to 1")
            if self.quality != (0, 0):
                check_range("forgery: quality", self.quality, 1, 100)
            check_range("forgery: softness", self.softness, 0.01, 2)

    config: Config
    mixes = True
    keys = (
        Key(name="forged", shape=(), unit="0 real, 1 forged"),
        Key(name="forgery_kind", shape=(), unit="0 real, 1 alpha, 2 gradient, 3 mixup, 4 none"),
        Key(name="forgery_region", shape=(), unit="0 real, 1 face, 2 eyes, 3 nose, 4 mouth, 5 blob"),
        Key(name="forgery_ratio", shape=(), unit="0 to 1, share of the donor; 0 if real"),
    )

    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """Forge one photograph (C, H, W) or leave it, then encode it."""
        if image.shape[0] not in (1, 3):
            raise UserError(f"forgery: expected images of 1 or 3 channels, got {image.shape[0]}")
        config, source = self.config, image[None]
        dice = Dice(draw, image.device)
        is_forged = float(dice.uniform(1)) >= config.real
        choice = Choice(*(_one_of(known, chosen, dice) for known, chosen in (
            (REGIONS, config.regions), (KINDS, config.kinds), (RATIOS, config.ratios))))
        low, high = config.softness
        levels = region_levels(choice.region, source.shape[2], source.shape[3], dice)
        softness, is_matched = low + (high - low) * dice.uniform(1), dice.uniform(1) < config.colour_match
        other = int(torch.randint(0, 2**62, (), generator=draw))
        is_own = float(dice.uniform(1)) < config.own or self.others is None
        own = altered(source, dice)
        quality = int(torch.randint(config.quality[0], config.quality[1] + 1, (), generator=draw))
        mask = torch.zeros(source.shape[2:], dtype=torch.uint8, device=image.device)
        made = source
        if is_forged:
            donor = own if is_own or self.others is None else self.others(fold(0, other), image)[None]
            donor = own if torch.equal(donor, source) else donor  # a set may give the photograph itself
            made, touched = forge(source, donor, choice, levels, softness, is_matched)
            mask = touched[0].to(torch.uint8)
        if quality:
            made = _encoded(made[0], quality)[None]
        return made[0].contiguous(), self._parameters(choice, is_forged, quality, mask)

    def _parameters(self, choice: Choice, is_forged: bool, quality: int, mask: torch.Tensor) -> Batch:
        device = mask.device

        def whole(value: int) -> torch.Tensor:
            return torch.tensor(value if is_forged else 0, device=device)

        return {
            "forged": whole(1), "forgery_kind": whole(int(choice.kind) + 1),
            "forgery_region": whole(int(choice.region) + 1),
            "forgery_ratio": choice.shares()[0] if is_forged else torch.zeros((), device=device),
            "quality": torch.tensor(quality, device=device), "mask": mask,
        }


def _one_of(known: tuple[object, ...], chosen: tuple[object, ...], dice: Dice) -> torch.Tensor:
    """The place in `known` of one of `chosen`, drawn: (1,) int64."""
    places = torch.tensor([known.index(value) for value in chosen], device=dice.device)
    return places[(dice.uniform(1) * len(chosen)).long()]


def _encoded(image: torch.Tensor, quality: int) -> torch.Tensor:
    """Encode and decode a picture (C, H, W) as JPEG with chroma at half the resolution (Pillow's libjpeg)."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0].numpy() if image.shape[0] == 1 else pixels.numpy()).save(
        file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as decoded:
        data = torch.frombuffer(bytearray(decoded.tobytes()), dtype=torch.uint8)
    return (data.view(pixels.shape).movedim(-1, 0).float() / 255).to(image.device)
