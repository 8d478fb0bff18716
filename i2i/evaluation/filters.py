"""What the units of a discriminator respond to: guided backpropagation from the pictures that excite them most.

Springenberg, Dosovitskiy, Brox, Riedmiller 2015 (arXiv:1412.6806), section 3.4; DCGAN's figure 5 shows the same. On the
way back every rectifier passes what is positive where its own input was positive. LeakyReLU goes back by that rule too,
and forward with its slope: the rule is about what excites a unit, and a negative input never does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, relu
from torch.overrides import TorchFunctionMode

from i2i.data.batches import from_unit
from i2i.data.collection import Collection, Part
from i2i.data.images import SUFFIXES, Pixels, is_image, write_image
from i2i.data.one_domain import read_pictures
from i2i.data.store import PictureStore
from i2i.errors import ConfigError, DataError
from i2i.evaluation.stages import (
    batches_of,
    blank,
    collection_for,
    pictures_at,
    require_readable,
    stage_outputs,
    takes_labels,
    with_statistics_of,
)
from i2i.inference.sampler import Sampler
from i2i.networks.base import Discriminator

RELU = (relu, torch.relu, Tensor.relu)
COLUMNS, GAP, CELL = 8, 4, 64
"""The sheet: pictures for each unit, pixels between them, and the side that small pictures are enlarged to."""


@dataclass(frozen=True)
class Filters:
    """The most exciting pictures of each unit, strongest first, and what in them excites it.

    Attributes:
        stage: where the units are.
        units: their numbers.
        searched: among how many pictures was looked.
        held_out: whether these were held-out pictures; else training pictures.
        responses: (U, K), each unit's largest response over the positions of a picture.
        pictures: (U, K, C, H, W) in [-1, 1].
        gradients: (U, K, C, H, W), the guided gradients of ``responses``.
        skipped: pictures that cannot be read.
    """

    stage: str
    units: tuple[int, ...]
    searched: int
    held_out: bool
    responses: Tensor
    pictures: Tensor
    gradients: Tensor
    skipped: tuple[str, ...]

    def sheet(self, *, pictures: bool = False) -> Pixels:
        """A row for each unit, its guided gradients in columns; with ``pictures``, each beside its picture.

        Every gradient is scaled by its own largest value; grey is zero.
        """
        largest = self.gradients.flatten(2).abs().amax(2)[..., None, None, None].clamp_min(1e-12)
        shown = self.gradients / largest
        cells = torch.cat([self.pictures, shown], dim=-1) if pictures else shown
        cells = cells[:, :, :3] if cells.shape[2] == 4 else cells
        return _tiled(from_unit(cells).permute(0, 1, 3, 4, 2).cpu().numpy(), max(1, CELL // shown.shape[-1]))

    def line(self, path: Path) -> str:
        """What is shown, in words."""
        kind, columns = "held-out" if self.held_out else "training", self.responses.shape[1]
        units = ", ".join(map(str, self.units[:20])) + (", ..." if len(self.units) > 20 else "")
        return (
            f"guided gradients of {self.stage}, units {units}, at the {columns} of {self.searched:,} {kind} pictures "
            f"that excite each most: {path}"
        )


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
) -> Filters:
    """Searches the held-out pictures of ``data`` (all, where none are held out) for what excites units most.

    A discriminator that takes labels gets each picture's own.

    Args:
        sampler: the trained model.
        data: a folder or built-in set, as ``find_collection`` takes it.
        stage: a stage of the discriminator; the last by default.
        units: numbers of channels, or how many, from the first on.
        columns: how many pictures of each unit.

    Raises:
        ConfigError: no such stage or unit, or a model without stages.
        DataError: no pictures that can be read, or none with the model's labels.
    """
    stage, chosen = _check_units(sampler, stage, units)
    collection = collection_for(sampler, data)
    part = collection.test if collection.test.pictures else collection.train
    [store] = read_pictures([part], sampler.config)
    require_readable(collection.root, store)
    label = _labels_for(sampler, collection, part, store) if takes_labels(sampler) else None
    network = with_statistics_of(sampler.method.discriminator, sampler, store, label)
    found = torch.cat([_strongest(network, stage, x, own) for x, own in batches_of(store, sampler, label)])
    rows = []
    for unit in chosen:
        places = found[:, unit].argsort(descending=True, stable=True)[:columns].cpu()
        x = pictures_at(places.tolist(), store, sampler)
        own = None if label is None else label[places]
        rows.append((x, *guided_gradients(network, stage, unit, x, own)))
    pictures, responses, gradients = (torch.stack(column).cpu() for column in zip(*rows, strict=True))
    return Filters(
        stage=stage,
        units=chosen,
        searched=len(store),
        held_out=part is collection.test,
        responses=responses,
        pictures=pictures,
        gradients=gradients,
        skipped=tuple(map(str, store.skipped)),
    )


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


def _tiled(cells: Pixels, enlarged: int) -> Pixels:
    """Joins cells (rows, columns, H, W, C) to a sheet on white, each pixel ``enlarged`` times."""
    cells = cells.repeat(enlarged, axis=2).repeat(enlarged, axis=3)
    padded = np.pad(cells, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    rows = [np.concatenate(list(row), axis=1) for row in padded]
    sheet: Pixels = np.pad(np.concatenate(rows), ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255)
    return sheet
