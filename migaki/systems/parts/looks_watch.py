"""What a refiner's watchmen look at while it trains: grain, checkerboards, and whether its pictures can be told."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.core.batch import Scalars
from migaki.core.system import Sheet
from migaki.losses.statistics import band_energies, picture_statistics, sliced_wasserstein, standardised
from migaki.metrics.checkerboard import checkerboard
from migaki.metrics.distances import nearest
from migaki.metrics.observer import Observer

_EVERY, _ASKED = 5, 20  # steps between two looks, and between two judgements of the observer
_BANDS = 6
_DIRECTIONS = 64  # random projections of the statistics in a step
_SETS = ("photos", "given", "refined")


class LooksWatch(nn.Module):
    """Measures a refiner's pictures against what it was given and against photographs, every few steps.

    `grain/SET` is the mean log power of brightness in the finest of six bands of the spectrum, of photographs, of given
    and of refined pictures; `checkerboard/peak` is that of the change (`metrics.checkerboard`). `told/given` and
    `told/refined` are the shares that a linear observer tells from photographs rightly, on pictures that it has not
    learned from; `apart/...` are the deviations between the sets as it sees them. Buffers keep the observer's pictures,
    as rows of statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.observer = Observer(statistics_of(torch.zeros(1, channels, 8, 8, device="cpu")).shape[1])

    @torch.no_grad()
    def see(self, photos: Tensor, given: Tensor, refined: Tensor, step: int) -> Scalars:
        """Look at pictures (B, C, H, W) in [0, 1]; returns scalars to log, none in most steps."""
        if step % _EVERY:
            return {}
        sets = [pictures.float() for pictures in (photos, given, refined)]
        grey = [pictures.mean(1, keepdim=True) for pictures in sets]
        self.observer.add(*map(statistics_of, sets))
        scalars = {f"grain/{name}": band_energies(plane, _BANDS)[..., -1].mean()
                   for name, plane in zip(_SETS, grey, strict=True)}
        pattern = checkerboard(sets[2] - sets[1])
        if pattern is not None:
            scalars["checkerboard/peak"] = pattern
        if step % _ASKED == 0:
            for name, (share, gap) in zip(_SETS[1:], self.observer.told(), strict=True):
                scalars |= {f"told/{name}": share, f"apart/{name}": gap}
        return scalars


def looks_distance(refined: Tensor, photos: Tensor) -> Tensor:
    """The sliced Wasserstein distance between `picture_statistics` of two batches of images (B, C, H, W) in [-1, 1].

    A scalar with gradients; directions are drawn from the global generator. Statistics count in units of their
    deviation over photographs. Where two batches differ in size, the larger is cut.
    """
    count = min(len(refined), len(photos))
    made = statistics_of((refined[:count] + 1) / 2)
    with torch.no_grad():
        wanted = statistics_of((photos[:count] + 1) / 2)
        directions = torch.randn(wanted.shape[1], _DIRECTIONS, device=wanted.device)
    return sliced_wasserstein(standardised(made, wanted), standardised(wanted, wanted), directions)


def statistics_of(images: Tensor) -> Tensor:
    """`picture_statistics` (B, F) of images (B, C, H, W) in [0, 1]; of the mean channel where there are not 1 or 3."""
    images = images.float()
    return picture_statistics(images if images.shape[1] in (1, 3) else images.mean(1, keepdim=True))


def spread(images: Tensor) -> Tensor:
    """The mean over pixels of the standard deviation over a batch; a small number, not NaN, for one image."""
    return images.std(dim=0, unbiased=False).mean() + 1e-6


def refiner_sheet(images: Tensor, given: Tensor, refined: Tensor, photos: Tensor, *, is_matched: bool) -> Sheet:
    """Rows of synthetic, matched and refined images, their nearest photographs, changes (grey = none), photographs."""
    given, refined = given.float(), refined.float()
    found = torch.as_tensor(nearest(photos.cpu().float().numpy(), refined.cpu().numpy())).view(-1)
    return [("synthetic", images), *([("matched to a random photograph", given)] if is_matched else []),
            ("refined", refined), ("nearest real (by pixels)", photos[found]),
            ("refined - what it was given, x2", ((refined - given) + 0.5).clamp(0, 1)),
            ("real, unpaired", photos[: len(images)])]
