"""Measures what a discriminator has learnt without labels, with a linear classifier on its pooled features.

Radford, Metz, Chintala 2016 (DCGAN, arXiv:1511.06434), section 5: the maps of every convolutional stage are max-pooled
to a 4x4 grid, flattened and concatenated, and a regularised linear L2-SVM classifies them. The paper trains on one set
and classifies another (ImageNet-1k and CIFAR-10, section 5.1), also with 100 training images per label (SVHN, section
5.2). Here too the labelled set may be any other, converted to the model's size and channels. The baselines are the same
classifier on raw pixels and on the features of the same network before training, since random convolutions alone
already help.

As in the authors' released code, batch norm uses the statistics of real training images. Differs from it: inputs are
standardised, and C is chosen by cross-validation on the training images, for features and baselines alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from i2i.bounds import MAX_PIXELS
from i2i.data.collection import Collection, Part
from i2i.display import counted
from i2i.errors import ConfigError, DataError
from i2i.inference.sampler import Sampler
from i2i.needs import require_packages
from i2i.networks.base import Discriminator, Network
from i2i.networks.stages import stage_outputs
from i2i.probes.discriminators import discriminator_of, takes_labels, untrained, with_statistics_of
from i2i.probes.images import Images, collection_for
from i2i.probes.linear import Labels, LinearSVM
from i2i.seeding import numpy_rng
from i2i.storage.files import write_atomically

GRID = 4


@dataclass(frozen=True)
class Reading:
    """The accuracy of a linear classifier on held-out images.

    Attributes:
        inputs: number of inputs per image.
        c: the C chosen by cross-validation.
        accuracy: the fraction of correct labels.
    """

    inputs: int
    c: float
    accuracy: float


@dataclass(frozen=True)
class FeatureReport:
    """The results on features and pixels, and the data that they were measured on.

    Attributes:
        arch: the recipe of the model.
        step: number of training steps.
        trained_on: the name of the model's training set.
        data: the labelled set that is evaluated.
        stages: the stages of the features; empty for features of the trunk.
        trained_with_labels: whether the model's own training used labels.
        labels: number of labels.
        per_label: number of training images per label; None for all.
        seed: the seed that chose them.
        training: number of training images.
        held_out: number of held-out images.
        features: the result on the features.
        untrained: the result on the features of an untrained network.
        pixels: the result on raw pixels.
        skipped: images that cannot be opened.
    """

    arch: str
    step: int
    trained_on: str
    data: str
    stages: tuple[str, ...]
    trained_with_labels: bool
    labels: int
    per_label: int | None
    seed: int
    training: int
    held_out: int
    features: Reading
    untrained: Reading
    pixels: Reading
    skipped: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report in words."""
        drawn = "all of them" if self.per_label is None else f"{self.per_label:,} of each label, seed {self.seed}"
        layers = f"{self.stages[0]} to {self.stages[-1]}" if self.stages else "trunk"
        used = ", with labels" if self.trained_with_labels else ""
        return [
            f"trained on  {self.trained_on}: {self.arch} ({counted(self.step, 'step')}){used}",
            f"evaluated   on {self.data}: {self.labels} labels, a linear SVM of {self.training:,} training images "
            f"({drawn}), tested on {self.held_out:,} held-out images",
            f"features    {self.features.accuracy:.2%} correct, from {self.features.inputs:,} numbers of the "
            f"discriminator's {layers} (C {self.features.c:g})",
            f"untrained   {self.untrained.accuracy:.2%} correct, from as many of the same network before training "
            f"(C {self.untrained.c:g})",
            f"raw pixels  {self.pixels.accuracy:.2%} correct, from {self.pixels.inputs:,} numbers "
            f"(C {self.pixels.c:g})",
        ]

    def write(self, path: Path) -> None:
        """Writes the report as JSON.

        Raises:
            DataError: the file cannot be written.
        """
        write_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode())


def measure_features(
    sampler: Sampler, data: str, *, per_label: int | None = 100, seed: int = 0, max_pixels: int = MAX_PIXELS
) -> FeatureReport:
    """Classifies held-out images by the discriminator's features, by untrained ones, and by pixels.

    Args:
        sampler: the trained model.
        data: a labelled set with held-out images, as ``find_collection`` takes it.
        per_label: number of training images per label; None for all.
        seed: determines the choice of images, the folds of the cross-validation, and the untrained weights.
        max_pixels: of an image that is read.

    Raises:
        ConfigError: scikit-learn is missing, or the discriminator gets labels beside the images.
        DataError: no labels, no held-out images, or too few images of a label.
    """
    require_packages("i2i features", "sklearn")
    probed = discriminator_of(sampler)
    if takes_labels(probed):
        raise ConfigError(
            f"the discriminator of this {sampler.config.arch} gets the label beside the image, so its features would "
            "reveal it: measure a model trained without labels, or with networks.discriminator.labels=project"
        )
    collection = collection_for(probed, data, max_pixels)
    chosen = draw_training_images(_with_labels(collection), per_label, seed)
    images, tests = (Images(collection.root, [part.images], probed) for part in (chosen, collection.test))
    labels, truths = _labels_of(chosen, images), _labels_of(collection.test, tests)
    kinds: list[Callable[[Tensor], Tensor]] = [
        partial(pooled_features, with_statistics_of(network, images.mixed_batches()))
        for network in (probed.network, untrained(probed, seed))
    ]
    readings = [_read_labels(kind, images, labels, tests, truths, seed) for kind in (*kinds, _pixels)]
    return FeatureReport(
        arch=sampler.config.arch,
        step=sampler.step,
        trained_on=probed.trained_on,
        data=data,
        stages=tuple(probed.network.stages()),
        trained_with_labels=bool(sampler.labels),
        labels=len(set(labels.tolist())),
        per_label=per_label,
        seed=seed,
        training=len(images),
        held_out=len(tests),
        features=readings[0],
        untrained=readings[1],
        pixels=readings[2],
        skipped=tuple(str(error) for error in images.skipped + tests.skipped),
    )


@torch.no_grad()
def pooled_features(discriminator: Network, x: Tensor) -> Tensor:
    """Maps x: (N, C, H, W) to (N, 16 * the channels of all stages); to the trunk's features where there are no stages.

    Each stage's maps are max-pooled to 4x4; smaller maps are repeated to that size.
    """
    if isinstance(discriminator, Discriminator) and not discriminator.stages():
        return discriminator.trunk(x)
    pooled = stage_outputs(discriminator, x, reduce=lambda maps: adaptive_max_pool2d(maps, GRID).flatten(1))
    return torch.cat(list(pooled.values()), dim=1)


def _with_labels(collection: Collection) -> Collection:
    root = collection.root
    if not collection.labels:
        raise DataError(
            f"{root} has no labels: give a folder with train/<label>/ and test/<label>/, IDX files, or the built-in "
            "set digits"
        )
    if not collection.test.images:
        raise DataError(f"{root} has no held-out images: give test/<label>/ folders, or the t10k files of IDX sets")
    return collection


def draw_training_images(collection: Collection, per_label: int | None, seed: int) -> Part:
    """``per_label`` training images of each label, or all.

    Raises:
        DataError: a label has fewer.
    """
    train, places = collection.train, np.array([], np.int64)
    for label in sorted(set(train.labels)):
        own, name = np.flatnonzero(np.array(train.labels) == label), collection.labels[label]
        if per_label is not None:
            if len(own) < per_label:
                raise DataError(
                    f"label {name!r} of {collection.root} has {len(own)} training images, but {per_label} "
                    "per label are needed: lower --per-label, or add images"
                )
            own = numpy_rng(seed, "features", name).choice(own, per_label, replace=False)
        places = np.concatenate([places, own])
    return Part([train.images[i] for i in places], [train.labels[i] for i in places])


def _labels_of(part: Part, images: Images) -> Labels:
    return np.array([part.labels[number] for number in images.numbers], np.int64)


def _pixels(x: Tensor) -> Tensor:
    return x.flatten(1)


def _read_labels(
    kind: Callable[[Tensor], Tensor],
    images: Images,
    labels: Labels,
    tests: Images,
    truths: Labels,
    seed: int,
) -> Reading:
    """Fits the classifier to the ``kind`` of inputs of the training images, and tests it on the held-out ones."""
    inputs = np.concatenate([kind(x).cpu().numpy() for x, _ in images.batches()])
    classifier = LinearSVM(inputs, labels, seed)
    guesses = [classifier.predict(kind(x).cpu().numpy()) for x, _ in tests.batches()]
    return Reading(classifier.inputs, classifier.c, float(np.mean(np.concatenate(guesses) == truths)))
