"""The history of refined images (SimGAN sec. 2.3): the discriminator must not forget what it has seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageHistory(nn.Module):
    """A buffer of at most `capacity` images (C, H, W), kept in the state dict and so in every checkpoint.

    `images` hold what was pushed, `born` the step at which each was pushed.
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
        self._filled: int | None = 0  # `count` on the host: reading the buffer would wait for a GPU; None = not read
        self.register_load_state_dict_post_hook(self._forget)  # type: ignore[no-untyped-call]

    def _forget(self, *_: object) -> None:
        """The buffer was loaded: read it again."""
        self._filled = None

    @property
    def filled(self) -> int:
        """How many images are stored."""
        if self._filled is None:
            self._filled = int(self.count)
        return self._filled

    def mix(self, refined: Tensor, step: int) -> Tensor:
        """A discriminator batch: half from the current refiner, half from the buffer; then the buffer is renewed.

        `refined` (b, C, H, W) are images of the current refiner. As long as the buffer is not full, all of them are
        stored, and once it holds b/2 images, b/2 drawn from it stand in the returned batch; then b/2 of them replace
        b/2 random entries, whose old contents stand there. Draws from the global generator.
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
        """Share of the buffer that is in use, in [0, 1]."""
        return self.count / max(self.capacity, 1)

    def mean_age(self, step: int) -> Tensor:
        """Mean number of steps since the stored images were pushed."""
        return step - self.born[: max(self.filled, 1)].float().mean()
