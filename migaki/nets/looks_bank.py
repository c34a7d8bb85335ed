"""Colour statistics of photographs, kept in a model, so that pictures can be matched where no photograph is at hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migaki.ops.appearance import match_mean_deviation, mean_deviation
from migaki.ops.full_precision import full_precision

_BLANK = 2 / 255  # deviation: a photograph of one tone would wipe out whatever takes its contrast


class LooksBank(nn.Module):
    """Means and deviations of the channels of up to `capacity` photographs; the oldest make room for new ones."""

    means: Tensor
    deviations: Tensor
    count: Tensor

    def __init__(self, capacity: int, channels: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("means", torch.zeros(capacity, channels))
        self.register_buffer("deviations", torch.zeros(capacity, channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, photos: Tensor, step: int) -> None:
        """Store the statistics of photographs (B, C, H, W), seen in step `step` of batches of one size."""
        photos = photos[: self.capacity]
        mean, deviation = self.looks(photos)
        places = (torch.arange(len(photos), device=photos.device) + step * len(photos)) % self.capacity
        self.means[places], self.deviations[places] = mean, deviation
        self.count.fill_(min(self.capacity, (step + 1) * len(photos)))

    @staticmethod
    @torch.no_grad()
    def looks(photos: Tensor) -> tuple[Tensor, Tensor]:
        """The means and the deviations (B, C) of photographs (B, C, H, W)."""
        return mean_deviation(photos)

    def visit(self, images: Tensor, photos: Tensor, step: int) -> Tensor:
        """Store the looks of a step's photographs (P, C, H, W), and match pictures (B, C, H, W) to them by turns.

        Pictures and photographs are shuffled independently, so a picture meets another photograph at each visit.
        """
        self.add(photos, step)
        turns = torch.arange(len(images), device=images.device) % len(photos)
        mean, deviation = self.looks(photos)
        return self.match(images.float(), mean[turns], deviation[turns])

    @full_precision
    def match(self, images: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Give pictures (B, C, H, W) these means and deviations (B, C), clipped to [0, 1]; blank ones are passed over.

        A blank photograph's place is taken by the first that is not blank; where all are, pictures stay as they are.
        """
        usable = deviation.amax(1) >= _BLANK
        order = torch.arange(len(images), device=images.device)
        chosen = torch.where(usable, order, usable.float().argmax())
        matched = match_mean_deviation(images, mean[chosen], deviation[chosen]).clamp(0, 1)
        return torch.where(usable[chosen].view(-1, 1, 1, 1), matched, images)

    @full_precision
    def match_drawn(self, images: Tensor, share: Tensor, own: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Match each picture to the photograph at a share (B,) in [0, 1] of those stored; to none if none is.

        `own` are the means and deviations (B, C) of the pictures, where they are not those of each picture by itself.
        """
        place = (share * self.count).floor().long().clamp_min(0)
        place = torch.minimum(place, (self.count - 1).clamp_min(0))
        mean, deviation = self.means[place], self.deviations[place]
        # Each picture by itself: what it is matched to must not depend on the batch.
        usable = (deviation.amax(1) >= _BLANK).view(-1, 1, 1, 1)
        return torch.where(usable, match_mean_deviation(images, mean, deviation, own).clamp(0, 1), images)
