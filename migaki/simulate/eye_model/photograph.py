"""The camera: from linear light to pixels, lens blur, exposure, noise, 8 bits, histogram equalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migaki.simulate.eye_model.jit import compiled, normal_at
from migaki.simulate.eye_model.parts import Bytes, Float

NOISE_STREAM = 100_000  # counters of the noise start at this value in an image's stream


@compiled
def shrink(fine: Float, factor: int, out: Float) -> None:
    """Average factor x factor blocks: fine (H*factor, W*factor, C) -> out (H, W, C)."""
    share = np.float32(1.0 / (factor * factor))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for c in range(out.shape[2]):
                total = np.float32(0.0)
                for dy in range(factor):
                    for dx in range(factor):
                        total += fine[y * factor + dy, x * factor + dx, c]
                out[y, x, c] = total * share


@compiled
def blur(image: Float, sigma: float, spare: Float) -> None:
    """Blur in place with a Gaussian, edges repeated. image, spare: (H, W, C)."""
    if sigma < 0.05:
        return
    height, width, channels = image.shape
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = np.empty(2 * radius + 1, np.float32)
    for k in range(2 * radius + 1):
        kernel[k] = math.exp(-0.5 * ((k - radius) / sigma) ** 2)
    kernel /= kernel.sum()
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                total = np.float32(0.0)
                for k in range(-radius, radius + 1):
                    total += kernel[k + radius] * image[y, min(max(x + k, 0), width - 1), c]
                spare[y, x, c] = total
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                total = np.float32(0.0)
                for k in range(-radius, radius + 1):
                    total += kernel[k + radius] * spare[min(max(y + k, 0), height - 1), x, c]
                image[y, x, c] = total


@compiled
def develop(image: Float, scene: Any) -> None:
    """Apply uneven light, exposure to a given mean, gamma, noise and 8 bits in place: linear light -> [0, 1]."""
    height, width, channels = image.shape
    for y in range(height):
        for x in range(width):
            ramp = scene.gradient_x * (2.0 * x / width - 1.0) + scene.gradient_y * (2.0 * y / height - 1.0)
            falloff = np.float32(math.exp(ramp))
            for c in range(channels):
                image[y, x, c] *= falloff
    gain = scene.exposure / max(image.mean(), 1e-6)
    counter = NOISE_STREAM
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                value = math.sqrt(max(image[y, x, c] * gain, 0.0))  # gamma 2, as in the textures
                value += scene.noise * normal_at(scene.stream, counter)
                counter += 1
                image[y, x, c] = math.floor(min(max(value, 0.0), 1.0) * 255.0 + 0.5) * np.float32(1.0 / 255.0)


@compiled
def equalise(image: Float) -> None:
    """Equalise the histogram in place of values k / 255: of the grey value, or of the luma with the same colours.

    As in OpenCV: level k maps to (N(<= k) - N(first)) / (N - N(first)), rounded to 8 bits.
    """
    height, width, channels = image.shape
    luma = np.empty((height, width), np.int32)
    counts = np.zeros(256, np.int64)
    for y in range(height):
        for x in range(width):
            grey = image[y, x, 0]
            if channels == 3:
                grey = np.float32(0.299) * grey + np.float32(0.587) * image[y, x, 1]
                grey += np.float32(0.114) * image[y, x, 2]
            level = int(grey * 255.0 + 0.5)
            luma[y, x] = level
            counts[level] += 1
    first = 0
    while counts[first] == 0:
        first += 1
    rest = height * width - counts[first]
    if rest == 0:
        return
    table = np.zeros(256, np.float32)
    seen = 0
    for level in range(first + 1, 256):
        seen += counts[level]
        table[level] = math.floor(seen * 255.0 / rest + 0.5) / 255.0
    for y in range(height):
        for x in range(width):
            target = table[luma[y, x]]
            if channels == 1:
                image[y, x, 0] = target
            else:
                scale = target / max(luma[y, x] / np.float32(255.0), np.float32(1 / 255))
                for c in range(3):
                    image[y, x, c] = min(image[y, x, c] * scale, np.float32(1.0))


@compiled
def shrink_mask(fine: Bytes, factor: int, out: NDArray[np.uint8]) -> None:
    """Set the most frequent region of each block; the eye's inner regions win ties."""
    votes = np.zeros(4, np.int64)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            votes[:] = 0
            for dy in range(factor):
                for dx in range(factor):
                    votes[fine[y * factor + dy, x * factor + dx]] += 1
            best = 3
            for region in (2, 1, 0):
                if votes[region] > votes[best]:
                    best = region
            out[y, x] = best
