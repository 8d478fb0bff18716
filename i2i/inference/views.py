"""The outputs of ``i2i sample``: images, sheets, walks between latents, latent arithmetic and code traversals.

A sheet has ten columns, so that the two digits of an image's number, as used in arithmetic, are its row and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from i2i.data.batches import to_pixels
from i2i.data.images import Pixels, to_pil, write_image
from i2i.display import tracked
from i2i.errors import ConfigError, DataError
from i2i.inference.sampler import Sampler
from i2i.kinds import AnyPixels
from i2i.methods.infogan import InfoGAN
from i2i.storage.files import write_atomically
from i2i.tiles import tile

COLUMNS = 10
WALK_STEPS = 8
NEIGHBOURS, NEIGHBOUR_NOISE = 8, 0.25
TERM = re.compile(r"\s*([+-]?)\s*(\d{1,18}(?:\s*,\s*\d{1,18})*)\s*")


def require_images(sampler: Sampler) -> None:
    """Raises ConfigError for a model of points, which has no images to write."""
    if sampler.config.image_size == 1:
        raise ConfigError(f"{sampler.config.arch} was trained on points; see the run's samples/ and TensorBoard")


def require_empty(folder: Path, *, overwrite: bool = False) -> None:
    """Refuses a folder that is not empty.

    Raises:
        DataError: it is not empty and ``overwrite`` is off, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not overwrite)):
        raise DataError(f"{folder} exists and is not empty: choose another with -o, or replace files with --overwrite")


def write_images(folder: Path, images: Iterable[AnyPixels], numbers: Sequence[int], *, suffix: str = ".png") -> None:
    """Writes images as files named by these ``numbers``.

    Raises:
        DataError: a file cannot be written.
    """
    for number, pixels in zip(numbers, tracked("sampling", len(numbers))(images), strict=True):
        write_image(folder / f"{number:05}{suffix}", pixels, flush=False)


def sheet(images: Iterable[Pixels], columns: int = COLUMNS) -> Pixels:
    """Joins equally large images (H, W, C) into rows of ``columns``; the last row is filled with white."""
    return tile(list(images), columns)


def walk(sampler: Sampler, stops: int, *, label: str | int | None, seed: int) -> list[Pixels]:
    """Images between the first ``stops`` samples of ``seed``, by spherical interpolation (White 2016).

    Only the noise is interpolated: codes stay those of the first stop, and a conditional model keeps one label.
    """
    z = sampler.latents(range(stops), seed)
    ways = [z[:1]]
    for start, end in pairwise(z):
        shares = torch.arange(1, WALK_STEPS + 1) / WALK_STEPS
        ways.append(torch.stack([_between(start, end, share.item()) for share in shares]))
    path = torch.cat(ways)
    path[:, sampler.method.noise :] = z[0, sampler.method.noise :]
    return to_pixels(sampler.generate(path, _one_label(sampler, label, len(path))))


def write_walk(path: Path, images: Sequence[Pixels]) -> Path:
    """Writes the images as a strip at ``path`` and as a GIF beside it, whose path is returned.

    Raises:
        DataError: a file cannot be written.
    """
    write_image(path, sheet(images, columns=WALK_STEPS + 1 if len(images) > WALK_STEPS + 1 else len(images)))
    write_atomically(path.with_suffix(".gif"), gif(images))
    return path.with_suffix(".gif")


def gif(images: Sequence[Pixels]) -> bytes:
    """The content of a GIF that shows the images forth and back without an end."""
    encoded, frames = BytesIO(), [to_pil(pixels) for pixels in images]
    frames[0].save(encoded, "GIF", save_all=True, append_images=frames[1:] + frames[-2:0:-1], duration=80, loop=0)
    return encoded.getvalue()


def arithmetic(sampler: Sampler, expression: str, *, label: str | int | None, seed: int) -> list[Pixels]:
    """The images of each averaged term, of the result, and of eight latents around it (DCGAN, section 6.3.2).

    Args:
        sampler: the model.
        expression: terms joined by + and -; each is one or more image numbers on the sheet of ``seed``, whose latents
            are averaged: "3,17,40 - 5,8 + 2".
        label: the label of all images, for a conditional model; by default its first.
        seed: the sheet's seed.

    Raises:
        ConfigError: the expression is invalid.
    """
    terms = parse_arithmetic(expression)
    means = [sampler.latents(numbers, seed).mean(0) for _, numbers in terms]
    result = torch.stack([sign * mean for (sign, _), mean in zip(terms, means, strict=True)]).sum(0)
    noise = torch.rand(NEIGHBOURS, len(result), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    z = torch.cat([torch.stack([*means, result]), result + NEIGHBOUR_NOISE * noise])
    return to_pixels(sampler.generate(z, _one_label(sampler, label, len(z))))


def parse_arithmetic(expression: str) -> list[tuple[int, list[int]]]:
    """The sign and the image numbers of every term.

    Raises:
        ConfigError: the expression is invalid.
    """
    terms: list[tuple[int, list[int]]] = []
    position = 0
    while position < len(expression):
        match = TERM.match(expression, position)
        if match is None or (terms and not match[1]):
            break
        terms.append((-1 if match[1] == "-" else 1, [int(number) for number in match[2].split(",")]))
        position = match.end()
    if not terms or position < len(expression):
        raise ConfigError(f'arithmetic {expression[:80]!r}: write numbers of the sheet like "3,17,40 - 5,8 + 2"')
    return terms


def traverse(sampler: Sampler, code: str, *, rows: int, seed: int) -> Pixels:
    """A sheet of an InfoGAN: along a row only ``code`` changes; rows differ in everything else.

    Raises:
        ConfigError: the model has no codes, or not this one.
    """
    method = sampler.method
    if not isinstance(method, InfoGAN):
        raise ConfigError(f"{sampler.config.arch} has no codes; only InfoGAN has them")
    if code not in method.code_names():
        raise ConfigError(f"code {code!r}: this model has {', '.join(method.code_names())}")
    z = sampler.latents(range(rows), seed)
    columns = [to_pixels(sampler.generate(method.with_code(z, code, i, COLUMNS))) for i in range(COLUMNS)]
    return sheet([columns[i][row] for row in range(rows) for i in range(COLUMNS)])


def _between(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Spherical interpolation of two vectors; linear if they are parallel."""
    cosine = torch.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if torch.sin(angle) < 1e-6:
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)


def _one_label(sampler: Sampler, label: str | int | None, count: int) -> Tensor | None:
    return sampler.labels_for(range(count), 0 if label is None else sampler.label_number(label))
