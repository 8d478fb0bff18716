"""A trained noise-to-image model as a Python object: seeds and labels in, images out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from i2i.config.schema import ModelConfig
from i2i.data.batches import to_pixels
from i2i.data.images import Pixels
from i2i.errors import ConfigError
from i2i.inference.standing import take_standing_statistics
from i2i.methods.base import Method
from i2i.methods.generative import GenerativeMethod
from i2i.seeding import derive_seed

BATCH = 64
TRUNCATIONS = 0.001, 10.0
"""Below, all latents are nearly one; above, nothing is truncated."""


class Sampler:
    """Runs the generator of a method that is ready for inference.

    Image number i of a seed is a function of (seed, i) alone: not of the number of images or their batches.

    Attributes:
        method: of a weight file, or of a run that trains.
        config: what describes it.
        step: how many steps it has been trained for.
        device: where it computes.
    """

    def __init__(self, method: Method, config: ModelConfig, step: int, device: torch.device) -> None:
        """Raises ConfigError for a method that draws no images from noise."""
        if not isinstance(method, GenerativeMethod):
            raise ConfigError(
                f"{config.arch} translates images and does not generate them from noise: use i2i translate"
            )
        self.method, self.config, self.step, self.device = method, config, step, device
        self._standing_at: list[float | None] = []

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels that this model was trained with; none where it takes no labels."""
        return self.config.images.labels

    def label_number(self, label: str | int) -> int:
        """The number of a label given by its name.

        Raises:
            ConfigError: the model has no such label.
        """
        if str(label) not in self.labels:
            known = f"it has {', '.join(self.labels[:20])}" if self.labels else "it was trained without labels"
            raise ConfigError(f"label {label!r}: this model has no label of that name; {known}")
        return self.labels.index(str(label))

    def latents(self, numbers: Iterable[int], seed: int = 0, truncation: float | None = None) -> Tensor:
        """The latents (N, latent) of the images with these ``numbers``.

        Raises:
            ConfigError: truncation of a model whose latents are not normal, or outside of ``TRUNCATIONS``.
        """
        if truncation is not None:
            self._require_truncation(truncation)
        draws = [
            self.method.draw_latents(
                1, torch.Generator().manual_seed(derive_seed(seed, "sample", number)), truncation=truncation
            )
            for number in numbers
        ]
        return torch.cat(draws)

    def _require_truncation(self, truncation: float) -> None:
        smallest, largest = TRUNCATIONS
        if self.method.prior != "normal":
            prior = f"the latents of this model are {self.method.prior} and not normal"
            raise ConfigError(f"truncation {truncation}: {prior}; leave it out")
        if not smallest <= truncation <= largest:  # so that NaN is refused as well
            raise ConfigError(f"truncation {truncation}: give a number from {smallest:g} to {largest:g}")

    @torch.inference_mode()
    def generate(self, z: Tensor, label: Tensor | None = None, *, truncation: float | None = None) -> Tensor:
        """Draws images (N, C, H, W) in [-1, 1] from latents (N, latent), and labels (N,) where the model has them.

        Standing statistics are those of latents with this ``truncation``.
        """
        if self.config.inference.statistics == "standing" and self._standing_at != [truncation]:
            take_standing_statistics(self.method, seed=self.config.inference.seed, truncation=truncation)
            self._standing_at = [truncation]
        parts = []
        for start in range(0, len(z), BATCH):
            own = None if label is None else label[start : start + BATCH].to(self.device)
            parts.append(self.method.generate(z[start : start + BATCH].to(self.device), own))
        return torch.cat(parts)

    def sample(
        self, count: int, *, label: str | int | None = None, seed: int = 0, truncation: float | None = None
    ) -> Iterator[Pixels]:
        """Draws ``count`` images (H, W, C), uint8; without ``label``, a conditional model takes its labels in turn.

        Raises:
            ConfigError: a label or a truncation that this model does not know.
        """
        yield from self.sample_numbers(range(count), label=label, seed=seed, truncation=truncation)

    def sample_numbers(
        self,
        numbers: Sequence[int],
        *,
        label: str | int | None = None,
        seed: int = 0,
        truncation: float | None = None,
    ) -> Iterator[Pixels]:
        """The samples of these ``numbers``; arguments and errors otherwise as ``sample``."""
        own = None if label is None else self.label_number(label)
        for start in range(0, len(numbers), BATCH):
            some = numbers[start : start + BATCH]
            z = self.latents(some, seed, truncation)
            yield from to_pixels(self.generate(z, self.labels_for(some, own), truncation=truncation))

    def labels_for(self, numbers: Iterable[int], own: int | None = None) -> Tensor | None:
        """The labels (N,) of images: ``own``, or all in turn; None for a model without labels."""
        if not self.labels:
            return None
        return torch.tensor([number % len(self.labels) if own is None else own for number in numbers])
