"""What the units of a discriminator respond to: guided backpropagation from the images that excite them most.

Springenberg, Dosovitskiy, Brox, Riedmiller 2015 (arXiv:1412.6806), section 3.4; DCGAN's figure 5 shows the same. On the
way back every rectifier passes what is positive where its own input was positive. LeakyReLU goes back by that rule too,
and forward with its slope: the rule is about what excites a unit, and a negative input never does.

As in DCGAN's figure 5, random filters on the left are the baseline of the trained ones on the right: the same units of
the same discriminator before training, each at the images that excite it most. The figure there shows six units of
the last convolutional layer; stage and units can be chosen here.
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

from i2i.data.batches import to_pixels
from i2i.data.bounds import MAX_PIXELS
from i2i.data.images import SUFFIXES, Pixels, from_pil, is_image, to_pil, write_image
from i2i.errors import ConfigError, DataError
from i2i.networks.base import Network
from i2i.networks.stages import stage_outputs
from i2i.probes.discriminators import Probed, takes_labels, untrained, with_statistics_of
from i2i.probes.images import Images, Source, find_source
from i2i.storage.files import write_atomically
from i2i.tiles import tile

RELU = (relu, torch.relu, Tensor.relu)
COLUMNS, GAP, CELL, CAPTION = 8, 4, 64, 16
"""The sheet: images for each unit; then in pixels, between them, the least side of one, the height of a title."""


@dataclass(frozen=True)
class Excitation:
    """The images that excite each unit of a network most, strongest first, and what in them excites it.

    Attributes:
        responses: (U, K), each unit's largest response over the positions of an image.
        images: (U, K, C, H, W) in [-1, 1].
        gradients: (U, K, C, H, W), the guided gradients of ``responses``.
        channels: those of each domain, which are joined to C.
    """

    responses: Tensor
    images: Tensor
    gradients: Tensor
    channels: tuple[int, ...]

    def sheet(self, *, images: bool = False) -> Pixels:
        """A row for each unit, its guided gradients in columns; with ``images``, each beside its image.

        Every gradient is scaled by its own largest value; grey is zero. What is judged as a pair is shown side by side.
        """
        largest = self.gradients.flatten(2).abs().amax(2)[..., None, None, None].clamp_min(1e-12)
        shown = [self.images, self.gradients / largest] if images else [self.gradients / largest]
        parts = [part[:, :, :3] for joined in shown for part in torch.split(joined, list(self.channels), dim=2)]
        if len(self.channels) > 1:  # one of a pair may be grey
            parts = [part.expand(-1, -1, 3, -1, -1) for part in parts]
        cells, scale = torch.cat(parts, dim=-1), max(1, CELL // self.gradients.shape[-1])
        return tile(to_pixels(cells.flatten(0, 1)), cells.shape[1], gap=GAP, frame=GAP, scale=scale)


@dataclass(frozen=True)
class Filters:
    """What excites units of a discriminator, and the same units before training.

    Attributes:
        arch: the recipe of the model.
        step: how long it was trained.
        trained_on: the name of the set that it was trained on.
        data: the set whose images were searched.
        discriminator: which of the method's discriminators was looked into.
        domains: those of the images that it judges, one or a pair.
        stage: where the units are.
        units: their numbers.
        searched: among how many images was looked.
        held_out: whether these were held-out images; else training images.
        seed: what drew the untrained weights.
        trained: what excites the units of the trained discriminator.
        untrained: the same of one with random weights.
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
        right = _titled(f"trained, {self.step:,} steps", self.trained.sheet(images=images))
        return tile([left, right], 2)

    def line(self, path: Path) -> str:
        """What is shown, in words."""
        kind, columns = "held-out" if self.held_out else "training", self.trained.responses.shape[1]
        units = ", ".join(map(str, self.units[:20])) + (", ..." if len(self.units) > 20 else "")
        judged = "images" if len(self.domains) == 1 else f"pairs of {' and '.join(self.domains)}"
        return (
            f"guided gradients of {self.discriminator}'s {self.stage}, units {units}, at the {columns} of "
            f"{self.searched:,} {kind} {judged} that excite each most: {path}\n"
            f"left: untrained (seed {self.seed}); right: {self.arch} trained on {self.trained_on} ({self.step:,} steps)"
        )

    def write(self, path: Path) -> None:
        """Writes what the sheet shows as JSON, with the responses (U, K) on both sides.

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
    """Raises DataError for a name that says no format."""
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
    """Searches the held-out images of ``data`` (all, where none are held out) for what excites units most.

    The units of the trained discriminator, and the same ones of an untrained discriminator of the same configuration.

    A discriminator that takes labels gets each image's own.

    Args:
        probed: the trained discriminator.
        data: a folder or built-in set, as ``find_source`` takes it.
        stage: a stage of the discriminator; the last by default.
        units: numbers of channels, or how many, from the first on.
        columns: how many images of each unit.
        seed: draws the untrained weights.
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
    """Searches all images, and goes back from those that excite each unit most."""
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
    """The largest response (N,) of a channel of ``stage`` over positions, and its guided gradient (N, C, H, W) at x.

    Args:
        network: the discriminator.
        stage: the name of a stage.
        unit: the number of the channel.
        x: (N, C, H, W) in [-1, 1].
        label: (N,), for a network that takes labels.
    """
    x = x.detach().requires_grad_()

    def largest(maps: Tensor) -> Tensor:  # by its place, and not amax: that would share the gradient among equal ones
        return maps[:, unit].flatten(1).max(1).values

    with GuidedRectifiers():
        responses = _output(network, stage, x, label, largest)
    [gradients] = torch.autograd.grad(responses.sum(), x)
    return responses.detach(), gradients


class GuidedRectifiers(TorchFunctionMode):
    """While this context is entered, ReLU and LeakyReLU get the guided rule, as layers and as functions.

    Those that work in place make a new tensor, or the way back would not know their input. No network is changed.
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
    """The largest response of every channel over positions, (N, channels)."""
    return _output(network, stage, x, label, lambda maps: maps.flatten(2).amax(2))


def _output(
    network: Network, stage: str, x: Tensor, label: Tensor | None, reduce: Callable[[Tensor], Tensor]
) -> Tensor:
    """What ``reduce`` makes of a stage's maps; discriminators of patches take no labels."""
    inputs = (x,) if label is None else (x, label)
    return stage_outputs(network, *inputs, stages=[stage], reduce=reduce)[stage]


def _check_units(probed: Probed, stage: str | None, units: int | Sequence[int]) -> tuple[str, tuple[int, ...]]:
    known = list(probed.network.stages())
    if not known:
        kind = probed.config.networks["discriminator"]["name"]
        raise ConfigError(f"the discriminator {kind} has no stages with maps: give a model with a convolutional one")
    stage = stage or known[-1]
    if stage not in known:
        raise ConfigError(f"stage {stage!r}: this discriminator has none of that name; it has {', '.join(known)}")
    label = torch.zeros(1, dtype=torch.long, device=probed.device) if probed.labels else None
    count = _strongest(probed.network, stage, probed.blank, label).shape[1]
    chosen = range(units) if isinstance(units, int) else units
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        named = f"{units} units" if isinstance(units, int) else f"units {', '.join(map(str, units)) or 'none'}"
        raise ConfigError(f"{named}: stage {stage} has {count}, numbered from 0 to {count - 1}")
    return stage, tuple(chosen)


def _labels_for(probed: Probed, source: Source, images: Images) -> Tensor:
    """The model's own numbers (N,) of the images' labels, by their names."""
    if not source.labels:
        raise DataError(f"{source.root} has no labels, and the discriminator of this model takes them: add some")
    numbers = {name: number for number, name in enumerate(probed.labels)}
    if unknown := sorted(set(source.labels) - numbers.keys()):
        known = ", ".join(probed.labels[:20])
        raise ConfigError(f"label {unknown[0]!r}: this model has none of that name; it knows {known}")
    return torch.tensor([numbers[source.labels[place]] for place in images.numbers], device=probed.device)


def _titled(title: str, sheet: Pixels) -> Pixels:
    """A sheet (H, W, C) on white with a line of text above it."""
    image = Image.new(to_pil(sheet).mode, (sheet.shape[1], sheet.shape[0] + CAPTION), "white")
    image.paste(to_pil(sheet), (0, CAPTION))
    ImageDraw.Draw(image).text((GAP, GAP), title, "black", ImageFont.load_default())
    return from_pil(image, sheet.shape[2])
