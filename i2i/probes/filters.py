"""What the units of a discriminator respond to: guided backpropagation from the pictures that excite them most.

Springenberg, Dosovitskiy, Brox, Riedmiller 2015 (arXiv:1412.6806), section 3.4; DCGAN's figure 5 shows the same. On the
way back every rectifier passes what is positive where its own input was positive. LeakyReLU goes back by that rule too,
and forward with its slope: the rule is about what excites a unit, and a negative input never does.

As in DCGAN's figure 5, random filters on the left are the baseline of the trained ones on the right: the same units of
the same discriminator before training, each at the pictures that excite it most. The figure there shows six units of
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
from i2i.data.collection import Collection, Part
from i2i.data.images import SUFFIXES, Pixels, from_pil, is_image, to_pil, write_image
from i2i.data.one_domain import read_images
from i2i.data.store import PictureStore
from i2i.errors import ConfigError, DataError
from i2i.inference.sampler import Sampler
from i2i.networks.base import Discriminator
from i2i.probes.stages import (
    batches_of,
    blank,
    collection_for,
    pictures_at,
    require_readable,
    stage_outputs,
    takes_labels,
    untrained,
    with_statistics_of,
)
from i2i.storage.files import write_atomically
from i2i.tiles import tile

RELU = (relu, torch.relu, Tensor.relu)
COLUMNS, GAP, CELL, CAPTION = 8, 4, 64, 16
"""The sheet: pictures for each unit; then in pixels, between them, the least side of one, the height of a title."""


@dataclass(frozen=True)
class Excitation:
    """The pictures that excite each unit of a network most, strongest first, and what in them excites it.

    Attributes:
        responses: (U, K), each unit's largest response over the positions of a picture.
        pictures: (U, K, C, H, W) in [-1, 1].
        gradients: (U, K, C, H, W), the guided gradients of ``responses``.
    """

    responses: Tensor
    pictures: Tensor
    gradients: Tensor

    def sheet(self, *, pictures: bool = False) -> Pixels:
        """A row for each unit, its guided gradients in columns; with ``pictures``, each beside its picture.

        Every gradient is scaled by its own largest value; grey is zero.
        """
        largest = self.gradients.flatten(2).abs().amax(2)[..., None, None, None].clamp_min(1e-12)
        shown = self.gradients / largest
        cells = torch.cat([self.pictures, shown], dim=-1) if pictures else shown
        cells = cells[:, :, :3] if cells.shape[2] == 4 else cells
        return tile(
            to_pixels(cells.flatten(0, 1)), cells.shape[1], gap=GAP, frame=GAP, scale=max(1, CELL // shown.shape[-1])
        )


@dataclass(frozen=True)
class Filters:
    """What excites units of a discriminator, and the same units before training.

    Attributes:
        arch: the recipe of the model.
        step: how long it was trained.
        trained_on: the name of the set that it was trained on.
        data: the set whose pictures were searched.
        stage: where the units are.
        units: their numbers.
        searched: among how many pictures was looked.
        held_out: whether these were held-out pictures; else training pictures.
        seed: what drew the untrained weights.
        trained: what excites the units of the trained discriminator.
        untrained: the same of one with random weights.
        skipped: pictures that cannot be read.
    """

    arch: str
    step: int
    trained_on: str
    data: str
    stage: str
    units: tuple[int, ...]
    searched: int
    held_out: bool
    seed: int
    trained: Excitation
    untrained: Excitation
    skipped: tuple[str, ...]

    def sheet(self, *, pictures: bool = False) -> Pixels:
        """The sheets of the untrained discriminator (left) and the trained one (right), each under its title."""
        left = _titled(f"untrained, seed {self.seed}", self.untrained.sheet(pictures=pictures))
        right = _titled(f"trained, {self.step:,} steps", self.trained.sheet(pictures=pictures))
        return tile([left, right], 2)

    def line(self, path: Path) -> str:
        """What is shown, in words."""
        kind, columns = "held-out" if self.held_out else "training", self.trained.responses.shape[1]
        units = ", ".join(map(str, self.units[:20])) + (", ..." if len(self.units) > 20 else "")
        return (
            f"guided gradients of {self.stage}, units {units}, at the {columns} of {self.searched:,} {kind} pictures "
            f"that excite each most: {path}\n"
            f"left: untrained (seed {self.seed}); right: {self.arch} trained on {self.trained_on} ({self.step:,} steps)"
        )

    def write(self, path: Path) -> None:
        """Writes what the sheet shows as JSON, with the responses (U, K) on both sides.

        Raises:
            DataError: the file cannot be written.
        """
        report = {
            **{name: getattr(self, name) for name in ("arch", "step", "trained_on", "data", "stage", "units")},
            **{name: getattr(self, name) for name in ("searched", "held_out", "seed", "skipped")},
            "left": {"network": "untrained", "responses": self.untrained.responses.tolist()},
            "right": {"network": "trained", "responses": self.trained.responses.tolist()},
        }
        write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())


def require_picture_name(path: Path) -> None:
    """Raises DataError for a name that says no format."""
    if not is_image(path):
        raise DataError(f"{path} is no picture's name: end it with one of {', '.join(sorted(SUFFIXES))}")


def write_sheet(path: Path, filters: Filters, *, pictures: bool = False) -> None:
    """Writes the sheet of ``filters``.

    Raises:
        DataError: the file cannot be written.
    """
    require_picture_name(path)
    write_image(path, filters.sheet(pictures=pictures))


def find_filters(
    sampler: Sampler,
    data: str,
    *,
    stage: str | None = None,
    units: int | Sequence[int] = 6,
    columns: int = COLUMNS,
    seed: int = 0,
) -> Filters:
    """Searches the held-out pictures of ``data`` (all, where none are held out) for what excites units most.

    The units of the trained discriminator, and the same ones of an untrained discriminator of the same configuration.

    A discriminator that takes labels gets each picture's own.

    Args:
        sampler: the trained model.
        data: a folder or built-in set, as ``find_collection`` takes it.
        stage: a stage of the discriminator; the last by default.
        units: numbers of channels, or how many, from the first on.
        columns: how many pictures of each unit.
        seed: draws the untrained weights.

    Raises:
        ConfigError: no such stage or unit, or a model without stages.
        DataError: no pictures that can be read, or none with the model's labels.
    """
    stage, chosen = _check_units(sampler, stage, units)
    collection = collection_for(sampler, data)
    part = collection.test if collection.test.pictures else collection.train
    [store] = read_images([part], sampler.config.images, sampler.config.image_size)
    require_readable(collection.root, store)
    label = _labels_for(sampler, collection, part, store) if takes_labels(sampler) else None
    trained, random = (
        _most_exciting(
            with_statistics_of(network, sampler, store, label), sampler, store, label, stage, chosen, columns
        )
        for network in (sampler.method.discriminator, untrained(sampler, seed))
    )
    return Filters(
        arch=sampler.config.arch,
        step=sampler.step,
        trained_on=sampler.config.data,
        data=data,
        stage=stage,
        units=chosen,
        searched=len(store),
        held_out=part is collection.test,
        seed=seed,
        trained=trained,
        untrained=random,
        skipped=tuple(map(str, store.skipped)),
    )


def _most_exciting(
    network: Discriminator,
    sampler: Sampler,
    store: PictureStore,
    label: Tensor | None,
    stage: str,
    units: Sequence[int],
    columns: int,
) -> Excitation:
    """Searches all pictures of the store, and goes back from those that excite each unit most."""
    found = torch.cat([_strongest(network, stage, x, own) for x, own in batches_of(store, sampler, label)])
    rows = []
    for unit in units:
        places = found[:, unit].argsort(descending=True, stable=True)[:columns].cpu()
        x = pictures_at(places.tolist(), store, sampler)
        own = None if label is None else label[places]
        rows.append((x, *guided_gradients(network, stage, unit, x, own)))
    pictures, responses, gradients = (torch.stack(column).cpu() for column in zip(*rows, strict=True))
    return Excitation(responses, pictures, gradients)


def guided_gradients(
    network: Discriminator, stage: str, unit: int, x: Tensor, label: Tensor | None = None
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
        responses = stage_outputs(network, x, label, reduce=largest, only=stage)[stage]
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
def _strongest(network: Discriminator, stage: str, x: Tensor, label: Tensor | None) -> Tensor:
    """The largest response of every channel over positions, (N, channels)."""
    return stage_outputs(network, x, label, reduce=lambda maps: maps.flatten(2).amax(2), only=stage)[stage]


def _check_units(sampler: Sampler, stage: str | None, units: int | Sequence[int]) -> tuple[str, tuple[int, ...]]:
    label = torch.zeros(1, dtype=torch.long, device=sampler.device) if sampler.labels else None
    network = sampler.method.discriminator
    with torch.no_grad():
        counts = stage_outputs(network, blank(sampler), label, reduce=lambda maps: torch.tensor(maps.shape[1]))
    if not counts:
        kind = sampler.config.networks["discriminator"]["name"]
        raise ConfigError(f"the discriminator {kind} has no stages with maps: give a model with a convolutional one")
    stage = stage or list(counts)[-1]
    if stage not in counts:
        raise ConfigError(f"stage {stage!r}: this discriminator has none of that name; it has {', '.join(counts)}")
    count = int(counts[stage])
    chosen = range(units) if isinstance(units, int) else units
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        named = f"{units} units" if isinstance(units, int) else f"units {', '.join(map(str, units)) or 'none'}"
        raise ConfigError(f"{named}: stage {stage} has {count}, numbered from 0 to {count - 1}")
    return stage, tuple(chosen)


def _labels_for(sampler: Sampler, collection: Collection, part: Part, store: PictureStore) -> Tensor:
    """The model's own numbers (N,) of the pictures' labels, by their names."""
    if not collection.labels:
        raise DataError(f"{collection.root} has no labels, and the discriminator of this model takes them: add some")
    own = {number: sampler.label_number(collection.labels[number]) for number in set(part.labels)}
    return torch.tensor([own[part.labels[place]] for place in store.numbers], device=sampler.device)


def _titled(title: str, sheet: Pixels) -> Pixels:
    """A sheet (H, W, C) on white with a line of text above it."""
    image = Image.new(to_pil(sheet).mode, (sheet.shape[1], sheet.shape[0] + CAPTION), "white")
    image.paste(to_pil(sheet), (0, CAPTION))
    ImageDraw.Draw(image).text((GAP, GAP), title, "black", ImageFont.load_default())
    return from_pil(image, sheet.shape[2])
