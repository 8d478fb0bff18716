"""Shows what the units of a discriminator respond to: guided backpropagation on the images that activate them most.

Springenberg, Dosovitskiy, Brox, Riedmiller 2015 (arXiv:1412.6806), section 3.4; DCGAN's figure 5 shows the same. In the
backward pass every rectifier passes only positive gradients, and only where its input was positive. LeakyReLU follows
that rule too, but keeps its slope in the forward pass: the rule is about what activates a unit, and a negative input
never does.

As in DCGAN's figure 5, random filters on the left are the baseline for the trained ones on the right: the same units of
the same discriminator before training, each with the images that activate it most. That figure shows six units of the
last convolutional layer; here stage and units can be chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import leaky_relu, relu
from torch.overrides import TorchFunctionMode

from i2i.bounds import MAX_PIXELS
from i2i.data.batches import to_pixels
from i2i.data.images import SUFFIXES, Pixels, from_pil, is_image, to_pil, write_image
from i2i.display import counted
from i2i.errors import ConfigError, DataError
from i2i.networks.base import Network
from i2i.networks.stages import stage_outputs
from i2i.probes.discriminators import Probed, takes_labels, untrained, with_statistics_of
from i2i.probes.images import Images, Source, find_source
from i2i.storage.files import write_atomically
from i2i.tiles import tile

RELU = (relu, torch.relu, Tensor.relu)
COLUMNS, GAP, CELL, CAPTION = 8, 4, 64, 16
"""The sheet: number of images per unit; in pixels, the gap, the minimum side of an image, and a title's height."""


@dataclass(frozen=True)
class Excitation:
    """The images that activate each unit of a network most, strongest first, and their guided gradients.

    Attributes:
        responses: (U, K), each unit's largest response over the locations of an image.
        images: (U, K, C, H, W) in [-1, 1].
        gradients: (U, K, C, H, W), the guided gradients of ``responses``.
        channels: the channels of each domain, which add up to C.
    """

    responses: Tensor
    images: Tensor
    gradients: Tensor
    channels: tuple[int, ...]

    def sheet(self, *, images: bool = False) -> Pixels:
        """A row for each unit, its guided gradients in columns; with ``images``, each beside its image.

        Every gradient is scaled by its own largest value; grey is zero. The images of a pair are side by side.
        """
        largest = self.gradients.flatten(2).abs().amax(2)[..., None, None, None].clamp_min(1e-12)
        shown = [self.images, self.gradients / largest] if images else [self.gradients / largest]
        parts = [part[:, :, :3] for joined in shown for part in torch.split(joined, list(self.channels), dim=2)]
        if len(self.channels) > 1:  # one image of a pair may be grey
            parts = [part.expand(-1, -1, 3, -1, -1) for part in parts]
        cells, scale = torch.cat(parts, dim=-1), max(1, CELL // self.gradients.shape[-1])
        return tile(to_pixels(cells.flatten(0, 1)), cells.shape[1], gap=GAP, frame=GAP, scale=scale)


@dataclass(frozen=True)
class Filters:
    """What activates units of a discriminator, and the same units before training.

    Attributes:
        arch: the recipe of the model.
        step: number of training steps.
        trained_on: the name of the model's training set.
        data: the set whose images were searched.
        discriminator: the name of the discriminator.
        domains: the domains of its input images, one or a pair.
        stage: the stage of the units.
        units: their indices.
        searched: number of images searched.
        held_out: whether these were held-out images; otherwise training images.
        seed: the seed of the untrained weights.
        trained: the result for the trained discriminator.
        untrained: the result for the untrained discriminator.
        skipped: images that cannot be read.
    """

    arch: str
    step: int
    trained_on: str
    data: str
    discriminator: str
    domains: tuple[str, ...]
    stage: str
    units: tuple[int, ...]
    searched: int
    held_out: bool
    seed: int
    trained: Excitation
    untrained: Excitation
    skipped: tuple[str, ...]

    def sheet(self, *, images: bool = False) -> Pixels:
        """The sheets of the untrained discriminator (left) and the trained one (right), each under its title."""
        left = _titled(f"untrained, seed {self.seed}", self.untrained.sheet(images=images))
        right = _titled(f"trained, {counted(self.step, 'step')}", self.trained.sheet(images=images))
        return tile([left, right], 2)

    def line(self, path: Path) -> str:
        """The sheet's content in words."""
        kind, columns = "held-out" if self.held_out else "training", self.trained.responses.shape[1]
        units = ", ".join(map(str, self.units[:20])) + (", ..." if len(self.units) > 20 else "")
        judged = "images" if len(self.domains) == 1 else f"pairs of {' and '.join(self.domains)}"
        return (
            f"guided gradients of {self.discriminator}'s {self.stage}, units {units}, at the {columns} of "
            f"{self.searched:,} {kind} {judged} that activate each most: {path}\n"
            f"left: untrained (seed {self.seed}); "
            f"right: {self.arch} trained on {self.trained_on} ({counted(self.step, 'step')})"
        )

    def write(self, path: Path) -> None:
        """Writes the sheet's content as JSON, with the responses (U, K) of both sides.

        Raises:
            DataError: the file cannot be written.
        """
        report = {
            **{name: getattr(self, name) for name in ("arch", "step", "trained_on", "data", "discriminator")},
            **{name: getattr(self, name) for name in ("domains", "stage", "units")},
            **{name: getattr(self, name) for name in ("searched", "held_out", "seed", "skipped")},
            "left": {"network": "untrained", "responses": self.untrained.responses.tolist()},
            "right": {"network": "trained", "responses": self.trained.responses.tolist()},
        }
        write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())


def require_image_name(path: Path) -> None:
    """Raises DataError for a name without a known image suffix."""
    if not is_image(path):
        raise DataError(f"{path} is no image's name: end it with one of {', '.join(sorted(SUFFIXES))}")


def write_sheet(path: Path, filters: Filters, *, images: bool = False) -> None:
    """Writes the sheet of ``filters``.

    Raises:
        DataError: the file cannot be written.
    """
    require_image_name(path)
    write_image(path, filters.sheet(images=images))


def find_filters(
    probed: Probed,
    data: str,
    *,
    stage: str | None = None,
    units: int | Sequence[int] = 6,
    columns: int = COLUMNS,
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Filters:
    """Searches the held-out images of ``data`` (all images if none are held out) for those that activate units most.

    Searches for units of the trained discriminator and for the same units of an untrained one. A discriminator that
    takes labels gets those of the images.

    Args:
        probed: the trained discriminator.
        data: a folder or built-in set, as ``find_source`` takes it.
        stage: a stage of the discriminator; the last by default.
        units: indices of channels, or the number of channels, from the first on.
        columns: number of images per unit.
        seed: seed of the untrained weights.
        max_pixels: of an image that is read.

    Raises:
        ConfigError: no such stage or unit, or a model without stages.
        DataError: no images that can be read, or none with the model's labels.
    """
    stage, chosen = _check_units(probed, stage, units)
    source = find_source(probed, data, max_pixels)
    images = Images(source.root, source.images, probed)
    label = _labels_for(probed, source, images) if takes_labels(probed) else None
    trained, random = (
        _most_exciting(
            with_statistics_of(network, images.mixed_batches(label)), probed, images, label, stage, chosen, columns
        )
        for network in (probed.network, untrained(probed, seed))
    )
    return Filters(
        arch=probed.config.arch,
        step=probed.step,
        trained_on=probed.trained_on,
        data=data,
        discriminator=probed.name,
        domains=probed.domains,
        stage=stage,
        units=chosen,
        searched=len(images),
        held_out=source.held_out,
        seed=seed,
        trained=trained,
        untrained=random,
        skipped=tuple(map(str, images.skipped)),
    )


def _most_exciting(
    network: Network,
    probed: Probed,
    images: Images,
    label: Tensor | None,
    stage: str,
    units: Sequence[int],
    columns: int,
) -> Excitation:
    """Searches all images, and backpropagates from those that activate each unit most."""
    found = torch.cat([_strongest(network, stage, x, own) for x, own in images.batches(label)])
    rows = []
    for unit in units:
        places = found[:, unit].argsort(descending=True, stable=True)[:columns].cpu()
        x = images.at(places.tolist())
        own = None if label is None else label[places]
        rows.append((x, *guided_gradients(network, stage, unit, x, own)))
    shown, responses, gradients = (torch.stack(column).cpu() for column in zip(*rows, strict=True))
    return Excitation(responses, shown, gradients, tuple(loading.channels for loading in probed.loadings))


def guided_gradients(
    network: Network, stage: str, unit: int, x: Tensor, label: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The largest response (N,) of a channel of ``stage`` over locations, and its guided gradient (N, C, H, W) at x.

    Args:
        network: the discriminator.
        stage: the name of a stage.
        unit: the index of the channel.
        x: (N, C, H, W) in [-1, 1].
        label: (N,), for a network that takes labels.
    """
    x = x.detach().requires_grad_()

    def largest(maps: Tensor) -> Tensor:  # not amax, which would split the gradient among equal values
        return maps[:, unit].flatten(1).max(1).values

    with GuidedRectifiers():
        responses = _output(network, stage, x, label, largest)
    [gradients] = torch.autograd.grad(responses.sum(), x)
    return responses.detach(), gradients


class GuidedRectifiers(TorchFunctionMode):
    """Within the context, ReLU and LeakyReLU follow the guided rule, as layers and as functions.

    In-place ones return a new tensor, because the backward pass needs their input. No network is changed.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in RELU:
            return _Guided.apply(args[0], 0.0)
        if func is leaky_relu:
            return _Guided.apply(args[0], kwargs["negative_slope"])
        return func(*args, **kwargs)


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        return leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        [x] = ctx.saved_tensors
        return gradient.clamp_min(0) * (x > 0), None


@torch.no_grad()
def _strongest(network: Network, stage: str, x: Tensor, label: Tensor | None) -> Tensor:
    """The largest response of every channel over locations, (N, channels)."""
    return _output(network, stage, x, label, lambda maps: maps.flatten(2).amax(2))


def _output(
    network: Network, stage: str, x: Tensor, label: Tensor | None, reduce: Callable[[Tensor], Tensor]
) -> Tensor:
    """``reduce`` of a stage's maps; patch discriminators take no labels."""
    inputs = (x,) if label is None else (x, label)
    return stage_outputs(network, *inputs, stages=[stage], reduce=reduce)[stage]


def _check_units(probed: Probed, stage: str | None, units: int | Sequence[int]) -> tuple[str, tuple[int, ...]]:
    known = list(probed.network.stages())
    if not known:
        kind = probed.config.networks["discriminator"]["name"]
        raise ConfigError(
            f"the discriminator {kind} has no stages with maps: use a model with a convolutional discriminator"
        )
    stage = stage or known[-1]
    if stage not in known:
        raise ConfigError(f"stage {stage!r}: this discriminator has no stage of that name; it has {', '.join(known)}")
    label = torch.zeros(1, dtype=torch.long, device=probed.device) if probed.labels else None
    count = _strongest(probed.network, stage, probed.blank, label).shape[1]
    chosen = range(units) if isinstance(units, int) else units
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        named = f"{units} units" if isinstance(units, int) else f"units {', '.join(map(str, units)) or 'none'}"
        raise ConfigError(f"{named}: stage {stage} has {count}, numbered from 0 to {count - 1}")
    return stage, tuple(chosen)


def _labels_for(probed: Probed, source: Source, images: Images) -> Tensor:
    """The model's own indices (N,) of the images' labels, matched by name."""
    if not source.labels:
        raise DataError(
            f"{source.root} has no labels, but the discriminator of this model needs them: use labelled data"
        )
    numbers = {name: number for number, name in enumerate(probed.labels)}
    if unknown := sorted(set(source.labels) - numbers.keys()):
        known = ", ".join(probed.labels[:20])
        raise ConfigError(f"label {unknown[0]!r}: this model has no label of that name; it has {known}")
    return torch.tensor([numbers[source.labels[place]] for place in images.numbers], device=probed.device)


def _titled(title: str, sheet: Pixels) -> Pixels:
    """A sheet (H, W, C) on white with a line of text above it."""
    image = Image.new(to_pil(sheet).mode, (sheet.shape[1], sheet.shape[0] + CAPTION), "white")
    image.paste(to_pil(sheet), (0, CAPTION))
    ImageDraw.Draw(image).text((GAP, GAP), title, "black", ImageFont.load_default())
    return from_pil(image, sheet.shape[2])
