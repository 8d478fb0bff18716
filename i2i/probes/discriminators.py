"""Loads the discriminators that the probes inspect: trained and untrained, of every method that has one.

The weight file of a noise-to-image model contains its discriminator. That of a translator contains only generators, so
its discriminator is read from the run's newest readable checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from i2i.batch import Domain
from i2i.build import build_method, without_memory
from i2i.config.schema import Device, ModelConfig
from i2i.data.store import Loading
from i2i.errors import ConfigError, WeightsError
from i2i.inference.load import load
from i2i.inference.sampler import Sampler
from i2i.methods.base import Judge, Method
from i2i.methods.translation import TranslationMethod
from i2i.networks.base import Discriminator, Network
from i2i.seeding import derive_seed
from i2i.storage.runs import RunFolder, weight_file
from i2i.storage.weights import load_newest


@dataclass(frozen=True)
class Probed:
    """A trained discriminator, ready to be probed.

    Attributes:
        name: its name in the method.
        network: the discriminator, in evaluation mode.
        domains: the domains of its input images; several are joined along channels in this order.
        config: the configuration of its model.
        step: number of training steps.
        device: where it computes.
    """

    name: str
    network: Network
    domains: tuple[Domain, ...]
    config: ModelConfig
    step: int
    device: torch.device

    @property
    def method(self) -> type[Method]:
        """The class of the method that trained it."""
        return Method.named(self.config.method["name"])

    @property
    def translates(self) -> bool:
        """Whether it belongs to a translator."""
        return issubclass(self.method, TranslationMethod)

    @property
    def paired(self) -> bool:
        """Whether it was trained on pairs."""
        return self.method.needs == "paired"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels that its model was trained with."""
        return self.config.images.labels

    @property
    def trained_on(self) -> str:
        """The name of the set that it was trained on."""
        return self.config.data

    @property
    def loadings(self) -> tuple[Loading, ...]:
        """How the images of each of its domains are decoded."""
        return tuple(Loading.of(self.config.images, domain, self.config.image_size) for domain in self.domains)

    @property
    def blank(self) -> Tensor:
        """A grey input (1, C, H, W)."""
        size = self.config.image_size
        return torch.zeros(1, sum(loading.channels for loading in self.loadings), size, size, device=self.device)


def load_discriminator(model: str | Path | None = None, *, name: str | None = None, device: Device = "auto") -> Probed:
    """Loads a discriminator.

    Args:
        model: a run folder; for noise-to-image models also a weight file. By default the newest run under runs/.
        name: the discriminator's name; by default the first.
        device: where to run.

    Raises:
        ConfigError: no discriminator (of that name), a translator's weight file without its run, or no such device.
        WeightsError: no weights that can be read.
        DataError: no run under runs/.
    """
    path = weight_file(model)
    loaded = load(path, device=device)
    if isinstance(loaded, Sampler):
        return discriminator_of(loaded, name)
    config = loaded.config
    if not config.images.is_plain:
        raise ConfigError(f"{path}: its images are not 8-bit, and only discriminators of 8-bit images can be probed")
    with without_memory():  # no memory and no random draws for the other networks
        judges = build_method(config).judges()
    name, judge = _choose(judges, name, config.arch)
    if model is not None and not Path(model).is_dir():
        raise ConfigError(
            f"{path} holds only the generators of a {config.arch}: give its run folder, whose checkpoints have the "
            "discriminators"
        )
    step = _restore(judge.network, name, RunFolder(path.parent))
    return Probed(name, judge.network.eval().to(loaded.device), judge.domains, config, step, loaded.device)


def discriminator_of(sampler: Sampler, name: str | None = None) -> Probed:
    """The discriminator of a noise-to-image model.

    Raises:
        ConfigError: it has no label of that name.
    """
    name, judge = _choose(sampler.method.judges(), name, sampler.config.arch)
    return Probed(name, judge.network, judge.domains, sampler.config, sampler.step, sampler.device)


def _choose(judges: dict[str, Judge], wanted: str | None, arch: str) -> tuple[str, Judge]:
    if not judges:
        raise ConfigError(f"{arch} models have no discriminator to probe: choose another with --model")
    name = wanted or next(iter(judges))
    if name not in judges:
        raise ConfigError(f"network {name!r}: {arch} has no discriminator of that name; it has {', '.join(judges)}")
    return name, judges[name]


def _restore(network: Network, name: str, run: RunFolder) -> int:
    """Loads the weights of ``name`` from the newest readable checkpoint into ``network``, and returns its step."""
    newest = load_newest(run.checkpoints(), kind="checkpoint")
    if newest is None:
        raise WeightsError(
            f"{run.root} has no checkpoint, which alone holds a translator's discriminators: give another run"
        )
    path, tree, _ = newest
    try:
        engine = tree["engine"]
        prefix, state = f"{name}.", engine["method"]
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        network.load_state_dict(own, assign=True)
        return int(engine["step"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit the weights of its run: {' '.join(str(error).split())}") from None


def untrained(probed: Probed, seed: int) -> Network:
    """The discriminator before training, with weights drawn from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "untrained"))
        method = build_method(probed.config)
    return method.judges()[probed.name].network.eval().to(probed.device)


@torch.no_grad()
def with_statistics_of(network: Network, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Network:
    """A copy of ``network`` whose batch norms have the mean statistics of these images (N, C, H, W) and labels (N,).

    The statistics from training are a mixture of those of real and generated images.
    """
    copied = deepcopy(network)
    update_bn(({"x": x, "label": label} for x, label in batches), _BatchNorms(copied))
    return copied.eval()


class _BatchNorms(nn.ModuleList):
    """For ``update_bn``, which sets its module to training mode: dropout and spectral norm must not be included."""

    def __init__(self, network: Network) -> None:
        super().__init__(module for module in network.modules() if isinstance(module, _BatchNorm))
        # In a tuple, so that it is no submodule. Only the trunk runs: the head may need labels.
        self._run = (network.trunk if isinstance(network, Discriminator) else network,)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        x, label = batch["x"], batch["label"]
        found: Tensor = self._run[0](x) if label is None else self._run[0](x, label)
        return found


@torch.no_grad()
def takes_labels(probed: Probed) -> bool:
    """Whether the discriminator's maps depend on labels that are given beside the images."""
    if not isinstance(probed.network, Discriminator):
        return False
    try:
        probed.network.trunk(probed.blank)
    except ValueError:  # how this family reports that it needs labels
        return True
    return False
