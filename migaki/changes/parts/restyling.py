"""Puts a material on a region: the crop around it, the start, the optimisation, light, and the blend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from migaki.changes.parts.style_pictures import Material, StylePicture, open_material, style_maps
from migaki.core.files import show
from migaki.core.seeds import generator
from migaki.losses.guided_style import Restyled, Settings, pooled_style, restyle
from migaki.losses.style import StyleKind, StyleLoss
from migaki.nets.style_features import StyleFeatures
from migaki.ops.appearance import match_mean_deviation
from migaki.ops.colour import luma
from migaki.ops.linear_light import blend, feather
from migaki.ops.sliced import match_sliced, random_bases, sliced_quantiles
from migaki.ops.surface_light import highlight_curve, recoloured, relit, with_highlights

_MARGIN: Final = 24  # px around the region that the network sees
_LEAST_CROP: Final = 64  # px
_EVERY: Final = 5  # steps between two pictures for who follows
_BASES: Final = 6  # along which distributions of colours are matched
_QUANTILES: Final = 256
_PIXELS: Final = 4096  # of each picture, for its distribution of colours
_GRAIN: Final = 0.03  # deviation, of the range, of the noise that the optimisation begins with

Progress = Callable[[int, Tensor], None]
"""Called with the number of steps done and the picture (1, C, H, W) so far."""


class Restyling:
    """A material, ready to be put on regions; made once, used for any number of pictures.

    `config` is that of `apply material`. Raises UserError for a material that cannot be had.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.features = StyleFeatures(config.features, config.style_layers, config.content_layers)
        self.material: Material = open_material(config.to, config.words, self.features, side=config.side,
                                                most=config.most, cluster=config.cluster, only=config.only)
        self.kind: StyleKind = "sliced" if config.pool == "union" else config.loss
        self.settings = Settings(steps=config.steps, rate=config.rate, content_weight=config.content_weight,
                                 smooth_weight=config.smooth_weight)
        self.curve = highlight_curve([_seen(one) for one in self.material.pictures], config.highlight_share)
        self._bases = random_bases(3, 1, _BASES)
        self.colours = sliced_quantiles(torch.cat([_pixels(one) for one in self.material.pictures], 3), self._bases, 1,
                                        _QUANTILES)
        mean, deviation = zip(*map(_mean_deviation, self.material.pictures), strict=True)
        self.mean, self.deviation = torch.stack(mean).mean(0), torch.stack(deviation).mean(0)
        strides = {layer.name: layer.stride for layer in self.features.features.layers}
        self.sight = [_sight(name, strides[name]) for name in self.features.style]
        self._loss, self.gap = self._aimed([one.image for one in self.material.pictures])

    @property
    def record(self) -> dict[str, Any]:
        """What dataset.json says of the material: pictures, cluster, network and layers, the gap of a maximum."""
        found = {"name": self.material.name, "pictures": [show(one.name) for one in self.material.pictures],
                 "of": len(self.material.candidates), "network": self.features.describe(), "loss": self.kind,
                 "pool": self.config.pool, "side": self.config.side}
        if self.material.clusters is not None:
            found |= {"cluster": self.material.cluster, "clusters": [len(one) for one in self.material.clusters.order],
                      "silhouette": round(self.material.clusters.silhouette, 4)}
        return found | ({"max_gap": round(self.gap, 4)} if self.config.pool == "max" else {})

    def _aimed(self, images: list[Tensor]) -> tuple[StyleLoss, float]:
        """A loss aimed at these pictures as one style, and the gap of a maximum."""
        loss = StyleLoss(self.kind)
        read = [style_maps(one, self.features, image)
                for one, image in zip(self.material.pictures, images, strict=True)]
        gap = pooled_style(loss, [maps for maps, _ in read], [weights for _, weights in read], self.config.pool)
        return loss, gap

    def change(self, image: Tensor, region: Tensor, seed: int = 0, progress: Progress | None = None) -> Restyled:
        """Returns a picture (1, 1 or 3, H, W) in [0, 1] whose `region` (H, W) bool, not empty, has the material.

        Pixels outside of the region keep their bits. A grey picture stays grey. `seed` draws the piece of a paste.
        """
        rows, columns = crop_around(region, _MARGIN, max(_LEAST_CROP, self.features.smallest))
        whole = image.expand(-1, 3, -1, -1)
        content, inside = whole[..., rows, columns], region[None, None, rows, columns].float()
        shares = feather(region[None, rows, columns], self.config.feather)

        def joined(changed: Tensor) -> Tensor:
            made = blend(content, self._finished(changed, content, inside), shares)
            full = whole.clone()
            full[..., rows, columns] = made
            if image.shape[1] == 3:
                return full
            return torch.where(region[None, None], luma(full), image)

        if self.config.how == "paste":
            return Restyled(image=joined(self._pasted(content, inside, seed)), style=float("nan"), content=float("nan"))

        def follow(step: int, pixels: Tensor) -> None:
            if progress is not None and step % _EVERY == 0:
                progress(step, joined(pixels))

        done = self._restyled(content, inside, seed, grey=image.shape[1] == 1, follow=follow)
        return Restyled(image=joined(done.image), style=done.style, content=done.content)

    def _restyled(self, content: Tensor, inside: Tensor, seed: int, *, grey: bool,
                  follow: Progress) -> Restyled:
        """The optimised crop. Where colours are kept, only luminance is read (Gatys et al. 2017, section 5)."""
        loss, seen = StyleLoss(self.kind), content
        if grey or self.config.colour == "content":
            seen = luma(content).expand(-1, 3, -1, -1)
            mean, deviation = _statistics(seen, inside)
            matched = [match_mean_deviation(luma(one.image).expand(-1, 3, -1, -1), mean, deviation).clamp(0, 1)
                       for one in self.material.pictures]
            loss, _ = self._aimed(matched)
            start = seen
        else:
            loss.aim_at(self._loss.targets)
            # From the new material's colours the optimisation needs fewer steps than from the old ones.
            start = match_mean_deviation(content, self.mean, self.deviation, _statistics(content, inside)).clamp(0, 1)
        # In a flat region all places have one gradient: without grain no texture would begin anywhere.
        start = (start + _GRAIN * torch.randn(start.shape, generator=generator(seed))).clamp(0, 1)
        return restyle(seen, inside, start, self.features.both, loss, self.sight, self.settings, follow)

    def _pasted(self, content: Tensor, inside: Tensor, seed: int) -> Tensor:
        """A piece of one of the pictures, drawn by the seed, mirrored until it covers the crop."""
        draw = generator(seed)
        number = int(torch.randint(len(self.material.pictures), (), generator=draw))
        picture = _seen(self.material.pictures[number])
        for axis in (2, 3):
            while picture.shape[axis] < content.shape[axis]:
                picture = torch.cat([picture, picture.flip(axis)], axis)
        top, left = (int(torch.randint(picture.shape[axis] - content.shape[axis] + 1, (), generator=draw))
                     for axis in (2, 3))
        return picture[..., top : top + content.shape[2], left : left + content.shape[3]]

    def _finished(self, changed: Tensor, content: Tensor, inside: Tensor) -> Tensor:
        """Colours, light and highlights of the changed region."""
        config = self.config
        if config.colour == "style" and config.how == "style":
            # Statistics of features leave colours free that no picture of the material has: speckles of all hues.
            changed = coloured_as(changed, inside, self.colours, self._bases)
        changed = relit(changed, content, inside, config.light, config.sigma)
        if config.highlights:
            changed = with_highlights(changed, content, inside, self.curve, config.highlight_share)
        return recoloured(changed, content, inside) if config.colour == "content" else changed


def coloured_as(image: Tensor, inside: Tensor, wanted: Tensor, bases: Tensor) -> Tensor:
    """Returns a picture (1, 3, H, W) whose pixels inside a region (1, 1, H, W) have the colours `wanted`: see
    `ops.sliced`."""
    pixels = image[0][:, inside[0, 0] > 0][None, :, None]
    found = image.clone()
    found[0][:, inside[0, 0] > 0] = match_sliced(pixels, wanted, bases, 1)[0, :, 0].clamp(0, 1)
    return found


def crop_around(region: Tensor, margin: int, least: int) -> tuple[slice, slice]:
    """Returns rows and columns of a region (H, W), `margin` px around it, and at least `least` px where there are."""
    found = []
    for axis, length in ((1, region.shape[0]), (0, region.shape[1])):
        places = torch.nonzero(region.any(axis))[:, 0]
        low, high = int(places[0]) - margin, int(places[-1]) + 1 + margin
        more = max(0, least - (high - low))
        low, high = low - more // 2, high + more - more // 2
        low, high = (0, high - low) if low < 0 else (low, high)
        low, high = (low - (high - length), length) if high > length else (low, high)
        found.append(slice(max(0, low), min(high, length)))
    return found[0], found[1]


def _sight(name: str, stride: int) -> float:
    """About how far in px a feature sees to each side: half a random filter, else two strides."""
    kind, _, size = name.partition("_")
    return int(size) / 2 if kind == "size" and size.isdecimal() else 2.0 * stride


def _seen(picture: StylePicture) -> Tensor:
    """The picture, or the part of it around what its mask shows; pixels that it does not show repeat its mean."""
    if picture.mask is None:
        return picture.image
    rows, columns = crop_around(picture.mask[0, 0] > 0, 0, 1)
    image, mask = picture.image[..., rows, columns], picture.mask[..., rows, columns]
    mean = (image * mask).sum((2, 3), keepdim=True) / mask.sum()
    return torch.where(mask > 0, image, mean)


def _pixels(picture: StylePicture) -> Tensor:
    """Up to `_PIXELS` pixels of a picture that show the material, (1, 3, 1, N), each picture as many."""
    flat = picture.image.flatten(2)[0]
    shown = flat if picture.mask is None else flat[:, picture.mask.flatten() > 0]
    places = torch.linspace(0, shown.shape[1] - 1, _PIXELS).round().long()
    return shown[:, places][None, :, None]


def _mean_deviation(picture: StylePicture) -> tuple[Tensor, Tensor]:
    return _statistics(picture.image, torch.ones_like(picture.image[:, :1]) if picture.mask is None else picture.mask)


def _statistics(image: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (1, 3) of the pixels of a picture (1, 3, H, W) inside a region (1, 1, H, W)."""
    total = inside.sum()
    mean = (image * inside).sum((2, 3)) / total
    square = ((image - mean[..., None, None]).square() * inside).sum((2, 3)) / total
    return mean, square.sqrt()
