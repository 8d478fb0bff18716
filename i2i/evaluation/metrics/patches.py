"""Sliced Wasserstein distance of patches on a Laplacian pyramid (Karras et al. 2018, arXiv:1710.10196, section 5).

No network: this judge needs no weights, and no training can have used it. As in the paper: patches of 7x7, 128 of each
image and level, levels down to 16 pixels, 512 directions, times 1,000. Other than in the paper both sets of patches are
normalised by the mean and deviation of the real one; each by its own would hide that all outputs are too dark. The
positions of patches are the same in both sets, so that a set has no distance to itself.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from i2i.data.heads import spread
from i2i.data.training_set import centre
from i2i.data.transforms import stack
from i2i.evaluation.evaluated import Evaluated, Figure, standard_error
from i2i.evaluation.images import ImageSet, as_rgb, in_chunks, smallest_side
from i2i.evaluation.metrics.base import Metric
from i2i.seeding import numpy_rng

Patches = NDArray[np.float32]
PATCH, PER_IMAGE, SMALLEST, DIRECTIONS, REPEATS = 7, 128, 16, 128, 4
PARTS = 8
"""The spread is that of the distances of this many disjoint parts of both sets."""


class SlicedWasserstein(Metric, name="swd"):
    """The mean over levels of the distance of patches; smaller sets have larger ones, so it compares equal n only."""

    lower_is_better = True
    of_sets = True

    def lacking(self, images: Evaluated) -> str | None:
        smallest = smallest_side(images.outputs, images.target)
        return f"it needs images from {PATCH} px up, and these have {smallest}" if smallest < PATCH else None

    def measure(self, images: Evaluated) -> Figure:
        side = smallest_side(images.outputs, images.target)
        count = min(len(images.outputs), len(images.target))
        outputs, target = (
            each.once(("patches", side, count, images.seed), lambda own: patches_of(own, side, count, images.seed))
            for each in (images.outputs, images.target)
        )
        levels = [_distance(o, t, images.seed) for o, t in zip(outputs, target, strict=True)]
        details = {f"level_{side >> level}": value for level, value in enumerate(levels)}
        return Figure(float(np.mean(levels)), count, _spread(outputs, target, images.seed), details=details)


def patches_of(images: ImageSet, side: int, count: int, seed: int) -> list[Patches]:
    """Patches of ``count`` images at every level, finest first: (count, PER_IMAGE, 3, 49) each."""
    chosen = spread(images, count)
    levels: list[list[Tensor]] = []
    for number, chunk in enumerate(in_chunks(chosen, 64)):
        x = torch.from_numpy(stack([centre(as_rgb(pixels), side) for pixels in chunk])).float()
        for level, band in enumerate(laplacian_pyramid(x)):
            if len(levels) <= level:
                levels.append([])
            levels[level].append(_cut(band, numpy_rng(seed, "patches", level, number)))
    return [torch.cat(parts).numpy() for parts in levels]


def laplacian_pyramid(x: Tensor) -> list[Tensor]:
    """The bands of images (N, C, H, W), finest first; the last is what is left, blurred and small."""
    bands = [x]
    while min(bands[-1].shape[2:]) // 2 >= SMALLEST:
        fine = bands[-1]
        coarse = _blurred(fine)[..., ::2, ::2]
        spaced = torch.zeros_like(fine)
        spaced[..., ::2, ::2] = coarse
        bands[-1] = fine - 4 * _blurred(spaced)
        bands.append(coarse)
    return bands


def _blurred(x: Tensor) -> Tensor:
    """(N, C, H, W) under the filter (1, 4, 6, 4, 1) / 16 in both directions, mirrored at the edges."""
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    channels = x.shape[1]
    kernel = torch.outer(weights, weights).expand(channels, 1, 5, 5)
    return conv2d(pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def _cut(band: Tensor, random: np.random.Generator) -> Tensor:
    """Patches of (N, C, H, W) at random places: (N, PER_IMAGE, C, 49)."""
    n, _, height, width = band.shape
    y = torch.from_numpy(random.integers(0, height - PATCH + 1, (n, PER_IMAGE)))
    x = torch.from_numpy(random.integers(0, width - PATCH + 1, (n, PER_IMAGE)))
    windows = band.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # a view: (N, C, H', W', 7, 7)
    return windows[torch.arange(n)[:, None], :, y, x].flatten(3)


def _distance(outputs: Patches, target: Patches, seed: int) -> float:
    """The distance of patches (n, PER_IMAGE, C, 49) of two sets, times 1,000."""
    mean, deviation = target.mean((0, 1, 3), keepdims=True), target.std((0, 1, 3), keepdims=True)
    scale = np.where(deviation > 0, deviation, 1)
    a, b = (((each - mean) / scale).reshape(-1, each.shape[2] * each.shape[3]) for each in (outputs, target))
    found = []
    for repeat in range(REPEATS):
        directions = numpy_rng(seed, "directions", repeat).standard_normal((a.shape[1], DIRECTIONS))
        directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
        one, other = (np.sort(np.ascontiguousarray((each @ directions).T), axis=1) for each in (a, b))
        found.append(np.abs(one - other).mean(dtype=np.float64))
    return 1000 * float(np.mean(found))


def _spread(outputs: list[Patches], target: list[Patches], seed: int) -> float | None:
    """The standard error of the mean distance of disjoint parts."""
    if len(outputs[0]) < 2 * PARTS:
        return None
    parts = [
        np.mean([_distance(o[part::PARTS], t[part::PARTS], seed) for o, t in zip(outputs, target, strict=True)])
        for part in range(PARTS)
    ]
    return standard_error(np.array(parts))
