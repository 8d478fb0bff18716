"""What the probes of a discriminator share: its stages' outputs on pictures of a data set, trained and untrained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from i2i.build import build_method
from i2i.data.batches import to_unit
from i2i.data.collection import Collection, find_collection
from i2i.data.store import PictureStore
from i2i.data.training_set import centre
from i2i.data.transforms import stack
from i2i.errors import ConfigError, DataError
from i2i.inference.sampler import Sampler
from i2i.methods.generative import GenerativeMethod
from i2i.networks.base import Discriminator
from i2i.seeding import derive_seed

BATCH = 128


class Inputs(TypedDict):
    """A batch of pictures (N, C, H, W), and their labels (N,) where the discriminator takes them."""

    x: Tensor
    label: Tensor | None


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
    update_bn(_mixed_batches(store, sampler, label), _BatchNorms(discriminator))
    return discriminator.eval()


class _BatchNorms(nn.ModuleList):
    """For ``update_bn``, which sets what it is given to training mode: dropout and spectral norm stay out of that."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__(module for module in discriminator.modules() if isinstance(module, _BatchNorm))
        self._trunk = discriminator.trunk  # a bound method, and so no submodule

    def forward(self, batch: Inputs) -> Tensor:
        return self._trunk(**batch)


def _mixed_batches(store: PictureStore, sampler: Sampler, label: Tensor | None) -> Iterator[Inputs]:
    """Batches in which every part of the set takes part: folders come label by label."""
    count = math.ceil(len(store) / BATCH)
    for start in range(count):
        places = list(range(start, len(store), count))
        yield {"x": pictures_at(places, store, sampler), "label": None if label is None else label[places]}


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
    return torch.zeros(1, sampler.config.images.channels_a, size, size, device=sampler.device)


def collection_for(sampler: Sampler, data: str) -> Collection:
    """The pictures of ``data``, for a model that was trained on pictures.

    Raises:
        ConfigError: it was trained on points.
        DataError: as ``find_collection``.
    """
    if sampler.config.image_size == 1:
        raise ConfigError("this model was trained on points and sees no pictures: give --model another one")
    return find_collection(data, size=sampler.config.image_size)


def require_readable(root: Path, store: PictureStore) -> None:
    """Raises DataError for fewer than two readable pictures: there is nothing to compare."""
    if len(store) < 2:
        first = f"; first: {store.skipped[0]}" if store.skipped else ""
        raise DataError(f"{root}: {len(store)} pictures of a part can be read, and two are needed{first}")
