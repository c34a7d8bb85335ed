"""The history of refined images (SimGAN sec. 2.3), which keeps the discriminator from forgetting earlier images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageHistory(nn.Module):
    """A buffer of at most `capacity` images (C, H, W), stored in the state dict and therefore in every checkpoint.

    `images` holds the stored images; `born` holds the step at which each one was stored.
    """

    images: Tensor
    born: Tensor
    count: Tensor

    def __init__(self, capacity: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_buffer("images", torch.zeros(capacity, *shape))
        self.register_buffer("born", torch.zeros(capacity, dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._filled: int | None = 0  # `count` on the host: reading the buffer waits for the GPU; None = unknown
        self.register_load_state_dict_post_hook(self._forget)  # type: ignore[no-untyped-call]

    def _forget(self, *_: object) -> None:
        """Discard the host's copy of `count` after the buffer was loaded."""
        self._filled = None

    @property
    def filled(self) -> int:
        """Returns the number of stored images."""
        if self._filled is None:
            self._filled = int(self.count)
        return self._filled

    def mix(self, refined: Tensor, step: int) -> Tensor:
        """Returns a discriminator batch, half from the current refiner and half from the buffer; updates the buffer.

        `refined` (b, C, H, W) are images of the current refiner. While the buffer is not full, all of them are stored;
        the returned batch contains b/2 images drawn from the buffer as soon as it holds b/2. When the buffer is full,
        b/2 of `refined` replace b/2 random entries, and the returned batch contains the replaced images. Draws from
        the global random generator.
        """
        refined = refined.detach()
        half = min(refined.shape[0] // 2, self.capacity)
        filled = self.filled
        if half == 0:
            return refined
        places = torch.randperm(filled)[:half]
        if self.images.is_cuda:  # pinned, so that the host does not wait for the copy
            places = places.pin_memory().to(self.images.device, non_blocking=True)
        old = self.images[places].clone()
        if filled < self.capacity:
            free = min(self.capacity - filled, refined.shape[0])
            self.images[filled : filled + free] = refined[:free].to(self.images.dtype)
            self.born[filled : filled + free] = step
            self.count += free
            self._filled = filled + free
        else:
            self.images[places] = refined[:half].to(self.images.dtype)
            self.born[places] = step
        if len(old) < half:
            return refined
        return torch.cat([refined[: refined.shape[0] - half], old.to(refined.dtype)])

    def fullness(self) -> Tensor:
        """Returns the fraction of the buffer that is in use, in [0, 1]."""
        return self.count / max(self.capacity, 1)

    def mean_age(self, step: int) -> Tensor:
        """Returns the mean number of steps since the stored images were added."""
        return step - self.born[: max(self.filled, 1)].float().mean()
