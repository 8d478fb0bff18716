"""Signs in what a generator makes: figures of a few images (N, C, H, W) in [-1, 1], on the host, in float32.

Each compares with real images, of which some have all that an output may have: white ground, black dots, fine lines.
None is given where a figure would mean nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NOISE = 0.02
"""Standard deviation of the noise that nobody sees: two and a half of 255 levels."""
BLOCK = 8
"""Side of the blocks in which frequencies are told apart: period 2 and period 4 are whole ones."""
FAINT = BLOCK**2 * 0.01**2
"""Power of noise with standard deviation 0.01 in a block, which is no pattern."""
EXTREME = 0.98
"""A value that is as good as at the end of its range."""


def luminance(images: Tensor) -> Tensor:
    """How bright (N, C, H, W) are: (N, H, W). Alpha is left out."""
    if images.shape[1] < 3:
        return images[:, 0]
    weights = torch.tensor([0.299, 0.587, 0.114])
    return torch.einsum("nchw,c->nhw", images[:, :3], weights)


def diversity(outputs: Tensor, real: Tensor, label: Tensor | None = None) -> float | None:
    """The mean distance between two outputs over that between two real images.

    ``label`` (N,) of both: images of one label are compared, where there are such.
    """
    ours, theirs = (_mean_distance(images, label) for images in (outputs, real))
    return ours / theirs if ours is not None and theirs else None


def _mean_distance(images: Tensor, label: Tensor | None) -> float | None:
    flat = images.flatten(1)
    pairs = torch.ones(len(flat), len(flat), dtype=torch.bool).triu(1)
    if label is not None:
        alike = pairs & (label[:, None] == label)
        pairs = alike if alike.any() else pairs
    return float(torch.cdist(flat, flat)[pairs].mean()) if pairs.any() else None


def change(inputs: Tensor, outputs: Tensor) -> float | None:
    """The mean difference between input and output over the contrast (standard deviation) of the inputs."""
    if inputs.shape[1] != outputs.shape[1]:
        inputs, outputs = luminance(inputs), luminance(outputs)
    contrast = float(inputs.std())
    return float((outputs - inputs).abs().mean()) / contrast if contrast else None


def tones(inputs: Tensor, outputs: Tensor, real: Tensor, *, paired: bool) -> float | None:
    """The correlation of brightness between input and output; below zero where light and dark are exchanged.

    Some translations have to exchange them: pairs say so, and without pairs so do domains of which one is light and the
    other is dark. The sign is turned there.
    """
    x, y, r = luminance(inputs), luminance(outputs), luminance(real)
    found = _correlation(x, y)
    if found is None:
        return None
    if paired:
        wanted = _correlation(x, r)
        return None if wanted is None or abs(wanted) < 0.2 else found * (1 if wanted > 0 else -1)
    light, other = float(x.mean()), float(r.mean())
    opposite = light * other < 0 and min(abs(light), abs(other)) > 0.25
    return -found if opposite else found


def _correlation(x: Tensor, y: Tensor) -> float | None:
    """Of two sets (N, H, W), image by image, and the mean of those that are not flat."""
    x, y = (each.flatten(1) - each.flatten(1).mean(1, keepdim=True) for each in (x, y))
    size = x.norm(dim=1) * y.norm(dim=1)
    shown = size > 1e-3 * x.shape[1]  # either image is almost flat below it
    return float(((x * y).sum(1) / size)[shown].mean()) if shown.any() else None


def checkerboard(outputs: Tensor, real: Tensor) -> float | None:
    """How far the power at periods of 2 and 4 pixels stands out, over the same of real images.

    These are the periods of layers that double the size (Odena et al. 2016, doi:10.23915/distill.00003). Power falls
    steadily with frequency in images, and a pattern is a step up from the frequencies beside it.
    """
    ours, theirs = _steps_up(luminance(outputs)), _steps_up(luminance(real))
    return max(a / b for a, b in zip(ours, theirs, strict=True)) if ours and theirs else None


def _steps_up(images: Tensor) -> list[float]:
    """The power at period 2 over that beside it, and at period 4 over those on both sides; none of small images."""
    rows, columns = (side // BLOCK for side in images.shape[1:])
    if not rows or not columns:
        return []
    cut = images[:, : rows * BLOCK, : columns * BLOCK]
    blocks = cut.reshape(len(images), rows, BLOCK, columns, BLOCK)
    power = torch.fft.fft2(blocks, dim=(2, 4)).abs().square().mean((0, 1, 3)) + FAINT
    turns = torch.minimum(torch.arange(BLOCK), BLOCK - torch.arange(BLOCK))
    ring = torch.maximum(turns[:, None], turns)
    level = [float(power[ring == k].mean()) for k in range(BLOCK // 2 + 1)]
    return [level[4] / level[3], level[2] / (level[1] * level[3]) ** 0.5]


def spots(outputs: Tensor, *real: Tensor) -> float | None:
    """The fraction of pixels in small spots of white or black, beyond that of the real images that have most.

    A spot stands out against what is around it on all sides; a line does not.
    """
    found = _in_spots(luminance(outputs))
    others = [_in_spots(luminance(images)) for images in real]
    return None if found is None else found - max(other or 0.0 for other in others)


def _in_spots(images: Tensor) -> float | None:
    reach = max(2, min(images.shape[1:]) // 16)
    if min(images.shape[1:]) < 4 * reach:
        return None
    height, width = (side - 2 * reach for side in images.shape[1:])
    offsets = [(i * reach, j * reach) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    around = torch.stack([images[:, i : i + height, j : j + width] for i, j in offsets])
    inner = images[:, reach : reach + height, reach : reach + width]
    white = (inner > 0.9) & (inner - around.amax(0) > 0.5)
    black = (inner < -0.9) & (around.amin(0) - inner > 0.5)
    return float((white | black).float().mean())


def blobs(outputs: Tensor, *real: Tensor) -> float:
    """The fraction of values at an end of their range, beyond that of the real images that have most of them."""
    ours, *others = (float((images.abs() > EXTREME).float().mean()) for images in (outputs, *real))
    return ours - max(others)


def as_from_a_file(images: Tensor, random: torch.Generator) -> Tensor:
    """The images with noise that nobody sees, in 8 bits."""
    noisy = (images + NOISE * torch.randn(images.shape, generator=random)).clamp(-1, 1)
    return (noisy.add(1).mul(127.5).round() / 127.5) - 1


def hidden_signal(inputs: Tensor, exact: Tensor, from_file: Tensor) -> float:
    """How much worse a reconstruction gets where the output in between had noise that nobody sees.

    Generators can hide an input in an output (Chu, Zhmoginov, Sandler 2017, arXiv:1712.02950). A reconstruction that
    passes the noise on is no sign of it, and counts as 1.

    Args:
        inputs: the inputs.
        exact: their reconstructions from the outputs as they are.
        from_file: those from ``as_from_a_file``.
    """
    passed_on = NOISE * math.sqrt(2 / math.pi)
    error, again = (float((images - inputs).abs().mean()) for images in (exact, from_file))
    return again / (error + passed_on)
