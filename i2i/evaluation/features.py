"""How much a discriminator has learnt without labels: a linear classifier on its pooled features.

Radford, Metz, Chintala 2016 (DCGAN, arXiv:1511.06434), section 5: the maps of every convolutional stage are max-pooled
to a 4x4 grid, flattened and joined, and a regularised linear L2-SVM reads them; the paper has 100 training pictures of
each label (section 5.2). The yardsticks are the same classifier on raw pixels, and on the features of the same network
before training: random convolutions alone tell much.

As in the code that the authors released, batch norm takes its statistics from real training pictures. Differs from it:
inputs are standardised, and C is chosen by cross-validation on the training pictures; for all alike.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from i2i.build import build_method
from i2i.data.batches import to_unit
from i2i.data.collection import Collection, Part, find_collection
from i2i.data.one_domain import read_pictures
from i2i.data.store import PictureStore
from i2i.data.training_set import centre
from i2i.data.transforms import stack
from i2i.errors import ConfigError, DataError
from i2i.files import write_atomically
from i2i.inference.sampler import Sampler
from i2i.methods.generative import GenerativeMethod
from i2i.networks.base import Discriminator
from i2i.seeding import derive_seed, generator

Inputs = NDArray[np.float32]
Labels = NDArray[np.int64]
GRID = 4
BATCH = 128
FOLDS = 5
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The values of C that cross-validation chooses from, for inputs whose squares sum to 1 on average."""


@dataclass(frozen=True)
class Reading:
    """How well a linear classifier reads the labels of held-out pictures.

    Attributes:
        inputs: how many numbers it gets of each picture.
        c: the C that cross-validation chose.
        accuracy: the share that it reads right.
    """

    inputs: int
    c: float
    accuracy: float


@dataclass(frozen=True)
class FeatureReport:
    """The readings of features and pixels, and what they were measured on.

    Attributes:
        arch: the recipe of the model.
        step: how long it was trained.
        data: the labelled set.
        stages: where the features come from; none for those of the trunk.
        trained_with_labels: whether the model's own training used labels.
        labels: how many labels there are.
        per_label: how many training pictures of each were drawn; None for all.
        seed: what drew them.
        training: how many training pictures that is.
        held_out: how many held-out pictures were read.
        features: the classifier of the features.
        untrained: that of the features of an untrained network.
        pixels: that of the raw pixels.
        skipped: pictures that cannot be opened.
    """

    arch: str
    step: int
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
        """What was measured on what, in words."""
        drawn = "all there are" if self.per_label is None else f"{self.per_label:,} of each label, seed {self.seed}"
        layers = f"{self.stages[0]} to {self.stages[-1]}" if self.stages else "trunk"
        used = " trained with labels" if self.trained_with_labels else ""
        return [
            f"measured    {self.arch} ({self.step:,} steps){used}, on {self.data}: {self.labels} labels, a linear SVM "
            f"of {self.training:,} training pictures ({drawn}), tried on {self.held_out:,} held-out pictures",
            f"features    {self.features.accuracy:.2%} right, from {self.features.inputs:,} numbers of the "
            f"discriminator's {layers} (C {self.features.c:g})",
            f"untrained   {self.untrained.accuracy:.2%} right, from as many of the same network before training "
            f"(C {self.untrained.c:g})",
            f"raw pixels  {self.pixels.accuracy:.2%} right, from {self.pixels.inputs:,} numbers (C {self.pixels.c:g})",
        ]

    def write(self, path: Path) -> None:
        """Writes the report as JSON.

        Raises:
            DataError: the file cannot be written.
        """
        write_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode())


def measure_features(sampler: Sampler, data: str, *, per_label: int | None = 100, seed: int = 0) -> FeatureReport:
    """Reads the labels of held-out pictures from the discriminator's features, from untrained ones, and from pixels.

    Args:
        sampler: the trained model.
        data: a labelled set with held-out pictures, as ``find_collection`` takes it.
        per_label: training pictures of each label; all for None.
        seed: decides which, the folds of the cross-validation, and the untrained weights.

    Raises:
        ConfigError: scikit-learn is missing, or the discriminator is given labels beside the pictures.
        DataError: no labels, no held-out pictures, or too few of a label.
    """
    _require_scikit_learn()
    if takes_labels(sampler):
        raise ConfigError(
            f"the discriminator of this {sampler.config.arch} is given the label beside the picture, and its features "
            "would repeat it: measure a model trained without labels, or with networks.discriminator.labels=project"
        )
    collection = collection_for(sampler, data)
    chosen = _draw(_with_labels(collection), per_label, seed)
    store, tests = read_pictures([chosen, collection.test], sampler.config)
    require_readable(collection.root, store)
    require_readable(collection.root, tests)
    labels, truths = _labels_of(chosen, store), _labels_of(collection.test, tests)
    kinds: list[Callable[[Tensor], Tensor]] = [
        partial(pooled_features, with_statistics_of(network, sampler, store))
        for network in (sampler.method.discriminator, untrained(sampler, seed))
    ]
    readings = [_read_labels(kind, sampler, store, labels, tests, truths, seed) for kind in (*kinds, _pixels)]
    return FeatureReport(
        arch=sampler.config.arch,
        step=sampler.step,
        data=data,
        stages=tuple(name for name, _ in sampler.method.discriminator.stages()),
        trained_with_labels=bool(sampler.labels),
        labels=len(set(labels.tolist())),
        per_label=per_label,
        seed=seed,
        training=len(store),
        held_out=len(tests),
        features=readings[0],
        untrained=readings[1],
        pixels=readings[2],
        skipped=tuple(str(error) for error in store.skipped + tests.skipped),
    )


@torch.no_grad()
def pooled_features(discriminator: Discriminator, x: Tensor) -> Tensor:
    """Maps x: (N, C, H, W) to (N, 16 * the channels of all stages); to the trunk's features where there are no stages.

    Each stage's maps are max-pooled to 4x4; smaller maps are repeated to that size.
    """
    if not discriminator.stages():
        return discriminator.trunk(x)
    pooled = stage_outputs(discriminator, x, reduce=lambda maps: adaptive_max_pool2d(maps, GRID).flatten(1))
    return torch.cat(list(pooled.values()), dim=1)


def stage_outputs(
    discriminator: Discriminator,
    x: Tensor,
    label: Tensor | None = None,
    *,
    reduce: Callable[[Tensor], Tensor],
    only: str | None = None,
) -> dict[str, Tensor]:
    """``reduce`` of the maps of every stage, or of one, for x: (N, C, H, W).

    It is applied at once, before a layer that works in place can change the maps.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = reduce(output)

        return hook

    stages = [(name, stage) for name, stage in discriminator.stages() if only in (None, name)]
    handles = [stage.register_forward_hook(keep(name)) for name, stage in stages]
    try:
        discriminator.trunk(x, label)
    finally:
        for handle in handles:
            handle.remove()
    return found


def untrained(sampler: Sampler, seed: int) -> Discriminator:
    """The discriminator as it is before training, drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "untrained"))
        method = build_method(sampler.config)
    assert isinstance(method, GenerativeMethod)
    return method.discriminator.eval().to(sampler.device)


@torch.no_grad()
def with_statistics_of(
    network: Discriminator, sampler: Sampler, store: PictureStore, label: Tensor | None = None
) -> Discriminator:
    """A copy of ``network`` whose batch norms have the mean statistics of batches of these pictures.

    The statistics that training leaves are a mixture of those of real and of generated pictures.
    """
    discriminator = deepcopy(network)
    norms = [module for module in discriminator.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    count = math.ceil(len(store) / BATCH) if norms else 0
    for start in range(count):  # every batch has pictures from everywhere: folders come label by label
        places = list(range(start, len(store), count))
        discriminator.trunk(pictures_at(places, store, sampler), None if label is None else label[places])
    return discriminator.eval()


def batches_of(
    store: PictureStore, sampler: Sampler, label: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The pictures in order, in batches, with their part of ``label``."""
    for start in range(0, len(store), BATCH):
        places = list(range(start, min(len(store), start + BATCH)))
        yield pictures_at(places, store, sampler), None if label is None else label[places]


def pictures_at(indices: Sequence[int], store: PictureStore, sampler: Sampler) -> Tensor:
    """These pictures as the model takes them: (N, C, H, W) in [-1, 1], the central square."""
    pixels = stack([centre(store[i], sampler.config.image_size) for i in indices])
    return to_unit(torch.from_numpy(pixels), sampler.device)


@torch.no_grad()
def takes_labels(sampler: Sampler) -> bool:
    """Whether the discriminator's maps depend on labels that come beside the pictures."""
    try:
        sampler.method.discriminator.trunk(blank(sampler))
    except ValueError:  # as the family says that it needs labels
        return True
    return False


def blank(sampler: Sampler) -> Tensor:
    """A grey picture (1, C, H, W) of the size that the model takes."""
    size = sampler.config.image_size
    return torch.zeros(1, sampler.config.data.channels("A"), size, size, device=sampler.device)


def collection_for(sampler: Sampler, data: str) -> Collection:
    """The pictures of ``data``, for a model that was trained on pictures.

    Raises:
        ConfigError: it was trained on points.
        DataError: as ``find_collection``.
    """
    if sampler.config.image_size == 1:
        raise ConfigError("this model was trained on points and sees no pictures: give --model another one")
    return find_collection(data, size=sampler.config.data.load_size)


def require_readable(root: Path, store: PictureStore) -> None:
    """Raises DataError for fewer than two readable pictures: there is nothing to compare."""
    if len(store) < 2:
        first = f"; first: {store.skipped[0]}" if store.skipped else ""
        raise DataError(f"{root}: {len(store)} pictures of a part can be read, and two are needed{first}")


def _with_labels(collection: Collection) -> Collection:
    root = collection.root
    if not collection.labels:
        raise DataError(
            f"{root} has no labels: give a folder with train/<label>/ and test/<label>/, IDX files, or the built-in "
            "set digits"
        )
    if not collection.test.pictures:
        raise DataError(f"{root} has no held-out pictures: give test/<label>/ folders, or the t10k files of IDX sets")
    return collection


def _draw(collection: Collection, per_label: int | None, seed: int) -> Part:
    """``per_label`` training pictures of each label, or all."""
    train, places = collection.train, np.array([], np.int64)
    for label in sorted(set(train.labels)):
        own, name = np.flatnonzero(np.array(train.labels) == label), collection.labels[label]
        if per_label is not None:
            if len(own) < per_label:
                raise DataError(
                    f"label {name!r} of {collection.root} has {len(own)} training pictures, and {per_label} of each "
                    "are asked for: ask for fewer with --per-label, or add some"
                )
            own = generator(seed, "features", name).choice(own, per_label, replace=False)
        places = np.concatenate([places, own])
    return Part([train.pictures[i] for i in places], [train.labels[i] for i in places])


def _labels_of(part: Part, store: PictureStore) -> Labels:
    return np.array([part.labels[number] for number in store.numbers], np.int64)


def _pixels(x: Tensor) -> Tensor:
    return x.flatten(1)


def _read_labels(
    kind: Callable[[Tensor], Tensor],
    sampler: Sampler,
    store: PictureStore,
    labels: Labels,
    tests: PictureStore,
    truths: Labels,
    seed: int,
) -> Reading:
    """Fits the classifier to what ``kind`` makes of the training pictures, and tries it on the held-out ones."""
    inputs = np.concatenate([kind(x).cpu().numpy() for x, _ in batches_of(store, sampler)])
    classifier = LinearSVM(inputs, labels, seed)
    guesses = [classifier.predict(kind(x).cpu().numpy()) for x, _ in batches_of(tests, sampler)]
    return Reading(classifier.inputs, classifier.c, float(np.mean(np.concatenate(guesses) == truths)))


class LinearSVM:
    """scikit-learn's linear L2-SVM on standardised inputs; C has the best cross-validated accuracy, the smallest first.

    Args:
        inputs: (N, F).
        labels: (N,).
        seed: decides the folds.

    Raises:
        DataError: fewer than two labels, or fewer than two pictures of one.
    """

    def __init__(self, inputs: Inputs, labels: Labels, seed: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import LinearSVC

        counts = np.unique(labels, return_counts=True)[1]
        if len(counts) < 2 or counts.min() < 2:
            raise DataError("a classifier needs two labels with two readable training pictures each: add pictures")
        self.inputs = inputs.shape[1]
        self._scaler = StandardScaler().fit(inputs)
        scaled = self._scale(inputs)
        # The solution lies in the span of the pictures: in coordinates of it the same fit takes a fraction of the time.
        self._span = np.linalg.qr(scaled.T)[0] if self.inputs > len(inputs) else None
        chance = derive_seed(seed, "folds") % 2**32
        folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=chance)
        search = GridSearchCV(LinearSVC(dual=False), {"C": STRENGTHS}, cv=folds)
        with warnings.catch_warnings():
            # A C too large for the solver to finish is judged like the others, by its accuracy.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._search = search.fit(self._turn(scaled), labels)
        self.c = float(self._search.best_params_["C"])

    def predict(self, inputs: Inputs) -> Labels:
        """The labels (N,) read from (N, F)."""
        labels: Labels = self._search.predict(self._turn(self._scale(inputs)))
        return labels

    def _scale(self, inputs: Inputs) -> Inputs:
        """Mean 0 and variance 1 of each input, over sqrt(F): so C means the same however many inputs there are."""
        scaled: Inputs = self._scaler.transform(inputs) / math.sqrt(self.inputs)
        return scaled

    def _turn(self, scaled: Inputs) -> Inputs:
        return scaled if self._span is None else scaled @ self._span


def _require_scikit_learn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ConfigError("the linear classifier needs scikit-learn: pip install 'i2i[demo]'") from None
