"""JPEG: the artefacts of an encoder (Pillow's libjpeg) at a random quality."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from PIL import Image

from migaki.core.batch import Batch
from migaki.core.damage import Damage, check_range, scalars
from migaki.core.errors import UserError


class Jpeg(Damage):
    """Encodes and decodes images of one or three channels, on the CPU.

    Parameters returned: scalar `quality`.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """The quality is drawn for each image."""

        GROUPS: ClassVar[dict[str, str]] = {"usual": "quality subsampling"}

        quality: tuple[int, int] = (10, 50)  # libjpeg's scale, 1 worst to 100, both ends included
        subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0"  # of chroma

        def __post_init__(self) -> None:
            check_range("jpeg: quality", self.quality, 1, 100)

    config: Config

    def damage_one(self, image: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, Batch]:
        """Round to 8 bits, encode, decode."""
        if image.shape[0] not in (1, 3):
            raise UserError(f"jpeg: expected images of 1 or 3 channels, got {image.shape[0]}")
        low, high = self.config.quality
        quality = int(torch.randint(low, high + 1, (), generator=draw))
        pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu()  # (H, W, C)
        picture = Image.fromarray(pixels[..., 0].numpy() if image.shape[0] == 1 else pixels.numpy())
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, subsampling=self.config.subsampling)
        with Image.open(file) as decoded:
            data = torch.frombuffer(bytearray(decoded.tobytes()), dtype=torch.uint8)
        damaged = data.view(pixels.shape).movedim(-1, 0).to(image.device, torch.float32) / 255
        return damaged.contiguous(), scalars(image.device, quality=quality)
