"""What batch norm, dropout and noise do at inference: set by the recipe, independent of ``train`` and ``eval`` mode.

pix2pix keeps dropout on and uses the statistics of the test image (Isola et al. 2017, section 3.3); DualGAN keeps its
dropout noise. Here both depend only on the image and a seed: images of one batch do not affect each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm

from i2i.networks.layers import LatentInput, NoiseInput, with_latent
from i2i.networks.recompute import frozen_statistics
from i2i.seeding import derive_seed

Statistics = Literal["running", "image", "standing"]
"""Batch norm statistics: running ones from training, those of each image alone, or standing ones, which replace the
running ones before sampling (``inference/standing.py``)."""


class ImageNorm(nn.Module):
    """Batch norm as on a batch of one: normalises each image by its own mean and variance."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to the same shape; H * W is at least 2."""
        return instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class SeededLayer(nn.Module):
    """A random layer whose draw depends only on a seed and its place in the network: the same for every image.

    Attributes:
        seed: may be changed between two calls.
        path: its place.
        everywhere: whether one draw (C, 1, 1) is for all places of an image, whatever its size.
    """

    everywhere: ClassVar[bool] = False

    def __init__(self, seed: int, path: str) -> None:
        super().__init__()
        self.seed, self.path = seed, path

    def random(self) -> torch.Generator:
        """A new random generator for each call."""
        return torch.Generator().manual_seed(derive_seed(self.seed, "inference", self.path))

    def draw(self, shape: Sequence[int]) -> Tensor:
        """What is drawn for images of this shape (C, H, W), on the CPU."""
        raise NotImplementedError

    def use(self, x: Tensor, drawn: Tensor) -> Tensor:
        """The output for x: (N, C, H, W) and what was drawn for it."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Draws, and uses it for x: (N, C, H, W)."""
        return self.use(x, self.draw(x.shape[1:]).to(x.device, x.dtype))


class SeededDropout(SeededLayer):
    """Dropout with the same mask for all images of a size."""

    def __init__(self, rate: float, seed: int, path: str) -> None:
        super().__init__(seed, path)
        self.rate = rate

    def draw(self, shape: Sequence[int]) -> Tensor:
        return torch.rand(*shape, generator=self.random()) >= self.rate

    def use(self, x: Tensor, drawn: Tensor) -> Tensor:
        return x * drawn / (1 - self.rate)


class SeededNoise(SeededLayer):
    """Noise channels beside those of the input, the same for all images of a size."""

    def __init__(self, channels: int, seed: int, path: str) -> None:
        super().__init__(seed, path)
        self.channels = channels

    def draw(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(self.channels, *shape[1:], generator=self.random())

    def use(self, x: Tensor, drawn: Tensor) -> Tensor:
        return torch.cat([x, drawn.expand(x.shape[0], -1, -1, -1)], dim=1)


class SeededLatent(SeededLayer):
    """A latent beside the input's channels, the same for all images of any size."""

    everywhere = True

    def __init__(self, length: int, seed: int, path: str) -> None:
        super().__init__(seed, path)
        self.length = length

    def draw(self, shape: Sequence[int]) -> Tensor:
        # PyTorch draws fewer than 16 in another way, which ``i2i/runtime.py`` does not have.
        return torch.randn(max(16, self.length), generator=self.random())[: self.length, None, None]

    def use(self, x: Tensor, drawn: Tensor) -> Tensor:
        return with_latent(x, drawn)


@contextmanager
def drawn_from(module: nn.Module, seed: int | None) -> Iterator[None]:
    """Within the context the random layers of ``module`` draw from ``seed``; with None, each keeps its own seed."""
    if seed is None:
        yield
        return
    layers = [layer for layer in module.modules() if isinstance(layer, SeededLayer)]
    own = [layer.seed for layer in layers]
    try:
        for layer in layers:
            layer.seed = seed
        yield
    finally:
        for layer, kept in zip(layers, own, strict=True):
            layer.seed = kept


def prepare_for_inference(module: nn.Module, *, statistics: Statistics, dropout: bool, seed: int) -> None:
    """Puts ``module`` into evaluation mode and replaces its layers as the recipe requires at inference.

    Args:
        module: changed in place.
        statistics: the statistics that batch norm uses.
        dropout: whether dropout stays on.
        seed: determines dropout masks and noise.
    """
    module.eval()
    for parent, name, layer, path in _layers(module):
        parent.register_module(name, _replacement(layer, statistics, dropout, seed, path))


@contextmanager
def as_at_inference(
    modules: Iterable[nn.Module], *, statistics: Statistics, dropout: bool, seed: int
) -> Iterator[None]:
    """``prepare_for_inference`` within the context only."""
    kept = [(parent, name, layer) for module in modules for parent, name, layer, _ in _layers(module)]
    modes = [(layer, layer.training) for module in modules for layer in module.modules()]
    try:
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(frozen_statistics(module))
                prepare_for_inference(module, statistics=statistics, dropout=dropout, seed=seed)
            yield
    finally:
        for parent, name, layer in kept:
            parent.register_module(name, layer)
        for layer, training in modes:
            layer.training = training


def _layers(module: nn.Module) -> list[tuple[nn.Module, str, nn.Module, str]]:
    """Every layer below ``module``: its parent, its name there, itself, and its path."""
    return [
        (parent, name, layer, f"{path}.{name}")
        for path, parent in module.named_modules()
        for name, layer in parent._modules.items()  # with a layer that is used twice, which named_children lists once
        if layer is not None
    ]


def _replacement(layer: nn.Module, statistics: Statistics, dropout: bool, seed: int, path: str) -> nn.Module:
    if isinstance(layer, nn.BatchNorm2d) and statistics == "image":
        return ImageNorm(layer)
    if isinstance(layer, nn.Dropout) and dropout:
        return SeededDropout(layer.p, seed, path)
    if isinstance(layer, NoiseInput):
        return SeededNoise(layer.channels, seed, path)
    if isinstance(layer, LatentInput):
        return SeededLatent(layer.length, seed, path)
    return layer
