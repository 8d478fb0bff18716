"""Drops feature maps of a generator, given by index or found from boxes, by setting them to zero.

Radford, Metz, Chintala 2016 (DCGAN, arXiv:1511.06434), section 6.3.1: boxes are drawn by hand around the windows in
samples. A logistic regression separates activations inside the boxes from random ones of the same samples; maps with a
weight above zero are dropped at every location, and new samples are generated with and without them.

The paper uses "the second highest convolution layer"; it drops 200 maps, more than the last hidden layer has, so it
means the layer before: ``up2`` of i2i's dcgan at 64 pixels. Where the paper is silent: negatives lie outside all boxes,
as many in each sample as positives; activations are standardised, because scikit-learn's regression has an L2 penalty
(C = 1). The accuracy is measured on samples that the regression was not fitted to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from torch import Tensor

from i2i.bounds import read_regular
from i2i.config import yaml_text
from i2i.config.resolve import LARGEST_FILE
from i2i.data.images import Pixels
from i2i.errors import ConfigError, DataError
from i2i.inference.sampler import BATCH, Sampler
from i2i.needs import require_packages
from i2i.networks.stages import changed_stage, stage_outputs
from i2i.probes.linear import MapWeights
from i2i.seeding import numpy_rng

Coordinate = Annotated[FiniteFloat, Field(strict=True)]
Mask = NDArray[np.bool_]


class Box(BaseModel):
    """A rectangle x0 <= x < x1, y0 <= y < y1 in the numbered sample, in pixels from its upper left corner."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: Annotated[int, Field(ge=0, strict=True)]
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate]


@dataclass(frozen=True)
class Dropped:
    """Samples with and without feature maps of the generator.

    Attributes:
        stage: the stage of the maps.
        maps: the indices of the dropped maps.
        whole: samples of the whole generator.
        without: the same samples without the maps.
        lines: how the maps were found, in words; empty if they were given.
    """

    stage: str
    maps: tuple[int, ...]
    whole: list[Pixels]
    without: list[Pixels]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class FoundMaps:
    """The maps of a stage that draw the content of the boxes.

    Attributes:
        stage: the stage.
        maps: the indices of the maps with a weight above zero.
        count: number of maps of the stage.
        boxes: number of boxes.
        samples: number of samples with boxes.
        inside: number of locations inside the boxes.
        outside: number of locations drawn outside the boxes.
        accuracy: the fraction of locations that the regression classifies correctly on samples that it was not fitted
            to; None if all boxes are on one sample.
    """

    stage: str
    maps: tuple[int, ...]
    count: int
    boxes: int
    samples: int
    inside: int
    outside: int
    accuracy: float | None

    def lines(self) -> tuple[str, ...]:
        """The fit and the dropped maps in words."""
        chance = max(self.inside, self.outside) / (self.inside + self.outside)
        told = "not measured: this needs boxes on two samples"
        if self.accuracy is not None:
            told = f"{self.accuracy:.1%} correct on samples that it was not fitted to ({chance:.1%} by chance)"
        return (
            f"boxes       {self.boxes} on {self.samples} samples: {self.inside:,} locations of {self.stage} inside, "
            f"{self.outside:,} drawn outside",
            f"regression  {told}",
            f"dropped     {len(self.maps)} of {self.count} maps, those with a weight above zero: "
            f"{self.stage}:{','.join(map(str, self.maps))}",
        )


def drop_features(sampler: Sampler, chosen: str, *, count: int, label: str | int | None, seed: int) -> Dropped:
    """Samples with and without feature maps of the generator.

    Args:
        sampler: the model.
        chosen: a stage and the indices of its maps, "up2:0,5,17", or a file of boxes (see ``read_boxes``) around what
            to drop, "up2:windows.yaml". With boxes, the samples are those after the last one with a box.
        count: number of samples.
        label: as in ``Sampler.sample``.
        seed: as in ``Sampler.sample``; boxes are on samples of the same seed and label.

    Raises:
        ConfigError: no such stage or map, or boxes without scikit-learn installed.
        DataError: the boxes cannot be used.
    """
    stage, _, what = chosen.partition(":")
    stages = sampler.method.generator.stages()
    if stage not in stages or not what:
        known = ", ".join(stages) or "none"
        raise ConfigError(f"feature {chosen[:80]!r}: write STAGE:3,17 or STAGE:BOXES.yaml with a stage of {known}")
    first, maps = 0, tuple(map(int, re.findall(r"\d{1,9}", what)))
    lines: tuple[str, ...] = ()
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", what):
        require_packages("--drop-feature with boxes", "sklearn")
        boxes = read_boxes(Path(what), sampler.config.image_size)
        found = find_maps(sampler, stage, boxes, label=label, seed=seed)
        first, maps, lines = max(box.sample for box in boxes) + 1, found.maps, found.lines()
    numbers = range(first, first + count)
    whole = list(sampler.sample_numbers(numbers, label=label, seed=seed))
    with changed_stage(sampler.method.generator, stage, _zeroing(maps)):
        without = list(sampler.sample_numbers(numbers, label=label, seed=seed))
    return Dropped(stage, maps, whole, without, lines)


def read_boxes(path: Path, side: int) -> list[Box]:
    """The boxes of a YAML or JSON file, a list of entries ``{sample: 3, box: [x0, y0, x1, y1]}``.

    Args:
        path: the file.
        side: height and width of the samples.

    Raises:
        DataError: not such a file, no boxes, or a box that is not inside its sample; names the entry.
    """
    try:
        entries = yaml_text.parse(read_regular(path, LARGEST_FILE).decode())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; give a file of boxes or indices of maps") from None
    except ValueError as error:
        raise DataError(f"{path} is no YAML file ({error})") from None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} holds no list of boxes: write entries like - {{sample: 3, box: [10, 4, 26, 20]}}")
    boxes = []
    for number, entry in enumerate(entries, 1):
        try:
            box = TypeAdapter(Box).validate_python(entry)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the entry"
            raise DataError(
                f"{path}: box {number} is not like {{sample: 3, box: [10, 4, 26, 20]}} ({where}: {first['msg']})"
            ) from None
        x0, y0, x1, y1 = box.box
        if not (0 <= x0 < x1 <= side and 0 <= y0 < y1 <= side):
            raise DataError(
                f"{path}: box {number}, {list(box.box)}, is not inside a sample of {side}x{side} pixels: "
                f"[x0, y0, x1, y1] with 0 <= x0 < x1 <= {side}, and the same for y0, y1"
            )
        boxes.append(box)
    return boxes


def find_maps(
    sampler: Sampler, stage: str, boxes: Sequence[Box], *, label: str | int | None = None, seed: int = 0
) -> FoundMaps:
    """The maps of the generator's ``stage`` whose activations indicate the inside of the boxes.

    Args:
        sampler: the model.
        stage: the name of a stage of its generator.
        boxes: boxes around what to find.
        label: the label of the samples, as in ``Sampler.sample``.
        seed: the seed of the samples and of the negatives.

    Raises:
        DataError: a box without a location of the stage, a sample covered by boxes, or no map with a weight above
            zero.
    """
    numbers = sorted({box.sample for box in boxes})
    maps = _activations(sampler, stage, numbers, label, seed)
    inside = _locations_inside(boxes, numbers, sampler.config.image_size, maps.shape[2:])
    features, positive, origin = [], [], []
    for number, own, mask in zip(numbers, maps, inside, strict=True):
        flat, places = own.reshape(len(own), -1).T, np.flatnonzero(mask)
        outside = np.flatnonzero(~mask)
        if not len(outside):
            raise DataError(f"the boxes on sample {number} leave nothing outside to compare with: make them smaller")
        drawn = numpy_rng(seed, "forget", number).choice(outside, min(len(places), len(outside)), replace=False)
        features.append(flat[np.concatenate([places, drawn])])
        positive += [True] * len(places) + [False] * len(drawn)
        origin += [number] * (len(places) + len(drawn))
    fitted = MapWeights(np.concatenate(features), np.array(positive), np.array(origin))
    chosen = tuple(np.flatnonzero(fitted.weights > 0).tolist())
    if not chosen:
        raise DataError(f"no map of {stage} has a weight above zero: it draws nothing that these boxes have in common")
    return FoundMaps(
        stage=stage,
        maps=chosen,
        count=maps.shape[1],
        boxes=len(boxes),
        samples=len(numbers),
        inside=sum(positive),
        outside=len(positive) - sum(positive),
        accuracy=fitted.accuracy,
    )


@torch.no_grad()
def _activations(
    sampler: Sampler, stage: str, numbers: Sequence[int], label: str | int | None, seed: int
) -> NDArray[np.float32]:
    """The stage's output (N, maps, H, W) for these samples: in a DCGAN, after batch norm and ReLU."""
    # Sampling once makes a generator with standing statistics compute them.
    list(sampler.sample_numbers(numbers[:1], label=label, seed=seed))
    own = None if label is None else sampler.label_number(label)
    found = []
    for start in range(0, len(numbers), BATCH):
        some = numbers[start : start + BATCH]
        inputs = [sampler.latents(some, seed).to(sampler.device)]
        if (labels := sampler.labels_for(some, own)) is not None:
            inputs.append(labels.to(sampler.device))
        output = stage_outputs(sampler.method.generator, *inputs, stages=[stage])[stage]
        found.append(output.float().cpu())
    maps: NDArray[np.float32] = torch.cat(found).numpy()
    return maps


def _locations_inside(boxes: Sequence[Box], numbers: Sequence[int], side: int, shape: tuple[int, ...]) -> Mask:
    """Which locations of the maps (N, H, W) have their centre inside a box of their sample."""
    height, width = shape
    y, x = (np.arange(height) + 0.5) * side / height, (np.arange(width) + 0.5) * side / width
    inside = np.zeros((len(numbers), height, width), np.bool_)
    for box in boxes:
        x0, y0, x1, y1 = box.box
        mask = ((y0 <= y) & (y < y1))[:, None] & ((x0 <= x) & (x < x1))
        if not mask.any():
            raise DataError(
                f"the box {list(box.box)} on sample {box.sample} holds no location of this stage, which has one every "
                f"{side / height:g} pixels: make it larger, or use a later stage"
            )
        inside[numbers.index(box.sample)] |= mask
    return inside


def _zeroing(maps: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Returns a function that sets these maps of an output to zero."""

    def zero(output: Tensor) -> Tensor:
        if max(maps) >= output.shape[1]:
            raise ConfigError(f"feature map {max(maps)}: this stage has {output.shape[1]}, numbered from 0")
        output = output.clone()
        output[:, list(maps)] = 0
        return output

    return zero
