"""The base class of methods: a method owns networks and writes its paper's algorithm as a generator of updates.

The trainer owns everything else: optimisers, backward, precision, schedules, averaging, logging and checkpoints.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor, nn

from i2i.batch import Batch, Domain, Labels, Needs
from i2i.config.components import Component
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective, sign_of_real
from i2i.networks.base import Network
from i2i.networks.recompute import recomputed

Output = TypeVar("Output")
SIGN_OF_REAL = "sign_of_real"
"""The name, or its beginning, of a mean sign among the scores of an update."""


def as_they_are(images: Tensor, discriminator: Callable[..., Tensor]) -> Tensor:
    """No augmentation."""
    return images


class Update(NamedTuple):
    """One optimiser step of one player.

    Attributes:
        player: the player whose optimiser steps.
        losses: weighted scalars by name; their sum is minimised, and each is plotted.
        scores: detached scalars that are only plotted.
    """

    player: str
    losses: dict[str, Tensor]
    scores: Mapping[str, Tensor] = MappingProxyType({})


class Judge(NamedTuple):
    """A discriminator, and the domains of its input.

    Attributes:
        network: the discriminator.
        domains: the domains of its images; several are joined along channels in this order, item by item. The last is
            that of the images which are real or generated.
        objective: what it minimises, which says what its scores mean; None for one that is not in losses/adversarial.
    """

    network: Network
    domains: tuple[Domain, ...]
    objective: Objective | None = None


@dataclass(frozen=True)
class Progress:
    """The position of a run when a step begins; the same for all micro-batches of the step, and after a resume.

    Attributes:
        step: number of completed steps.
        images: number of images of the source domain that they used, over all processes.
        fraction: the completed fraction of the run, in [0, 1], as measured by the learning rate schedule.
    """

    step: int = 0
    images: int = 0
    fraction: float = 0.0


class Method(Component, nn.Module, family="method"):
    """A training algorithm and its networks. The constructor takes a ``DataSpec`` and keyword-only settings.

    Keyword-only parameters annotated ``Callable[..., Family]`` are the networks that a recipe must configure.

    Attributes:
        needs: the kind of data that it learns from.
        few_images: with fewer training images than this (of the smaller domain where there are two), discriminators
            learn them by heart before generators have learnt anything.
        batches_per_step: number of batches that one call of ``updates`` uses.
        replayable: whether a step may be recorded and replayed (``i2i/training/replay.py``): steps of one ``variant``
            do the same operations, the host draws by ``decided`` alone, and what they change stays at its address.
            Each class says so itself, since a subclass may do other things.
        recomputes: whether ``recomputable`` saves memory; set by the engine while it accumulates gradients.
        progress: the position of the run; set by the engine before each step.
        follows_signs: whether ``mean_scores`` has the mean sign of real images too; set by the engine where
            augmentation adapts to it.
        judged_channels: how many of the last channels of what a discriminator sees are the image that is real or
            generated; None: all.
        augmentation: applied to all images (N, C, H, W) before a discriminator sees them: a function of the images, of
            that discriminator and of torch's global generator, differentiable in the images.
    """

    needs: ClassVar[Needs] = "unpaired"
    few_images: ClassVar[int] = 200
    batches_per_step: int = 1
    replayable: bool = False
    recomputes: bool = False
    progress: Progress = Progress()
    follows_signs: bool = False
    judged_channels: int | None = None
    augmentation: Callable[[Tensor, Callable[..., Tensor]], Tensor] = staticmethod(as_they_are)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.needs not in get_args(Needs):
            raise ConfigError(f"{cls.__qualname__}.needs is {cls.needs!r}, and has to be one of {get_args(Needs)}")

    @classmethod
    def uses_labels(cls, settings: Mapping[str, Any]) -> Labels:
        """Whether a method of these ``settings`` uses the labels of its data."""
        return "ignored"

    @classmethod
    def uses_masks(cls, settings: Mapping[str, Any]) -> bool:
        """Whether a method of these ``settings``, which learns from pairs, uses masks of them."""
        return False

    @classmethod
    def uses_pairs(cls, settings: Mapping[str, Any]) -> bool:
        """Whether a method of these ``settings``, which learns from unpaired images, uses the pairs among them."""
        return False

    @classmethod
    def input_domain(cls, settings: Mapping[str, Any]) -> Domain:
        """The domain that a method of these ``settings`` translates, where it learns one direction from pairs."""
        return "A"

    @abstractmethod
    def players(self) -> dict[str, list[nn.Module]]:
        """The modules that each player trains; every trained parameter is in exactly one player."""

    @abstractmethod
    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """One training step: uses the batches it needs and yields one update after the other.

        After each ``yield``, the player's optimiser has stepped.
        """

    def variant(self) -> Hashable:
        """What distinguishes the operations of the next step from those of others, by ``progress``."""
        return ()

    @abstractmethod
    def averaged(self) -> dict[str, nn.Module]:
        """The modules whose weights are averaged, by fixed names."""

    @abstractmethod
    def kept_for_inference(self) -> list[nn.Module]:
        """The modules that a weight file contains."""

    def judges(self) -> dict[str, Judge]:
        """The discriminators that probes can inspect, by the names of their attributes; the first is the default.

        Of several, each has an augmentation of its own strength, and its scores have the ``ending`` of its name.
        """
        return {}

    @abstractmethod
    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Named images (rows, 3, H, W') in [-1, 1] for TensorBoard."""

    def judge(self, discriminator: Callable[..., Tensor], images: Tensor, *condition: Tensor | None) -> Tensor:
        """A discriminator's scores of images (N, C, H, W); every call of a discriminator goes through here."""
        return discriminator(self.augmentation(images, discriminator), *condition)

    def judge_together(self, discriminator: Callable[..., Tensor], *images: Tensor) -> tuple[Tensor, ...]:
        """The scores of several batches of images from one call; batch norm treats them as one batch."""
        return torch.split(self.judge(discriminator, torch.cat(images)), [len(each) for each in images])

    def mean_scores(self, real: Tensor, fake: Tensor, objective: Objective, domain: str = "") -> dict[str, Tensor]:
        """What is plotted of a discriminator's scores of any shape; ``domain`` is the ``ending`` of its name."""
        scores = {f"real{domain}": mean_score(real), f"fake{domain}": mean_score(fake)}
        sign = sign_of_real(real.detach(), fake.detach(), objective) if self.follows_signs else None
        return scores if sign is None else scores | {f"{SIGN_OF_REAL}{domain}": sign}

    def recomputable(self, network: nn.Module, compute: Callable[[Tensor], Output], x: Tensor) -> Output:
        """``compute(x)``, a call of ``network`` whose activations need not be kept for the backward pass.

        During gradient accumulation they are recomputed instead, with the same result. Use it for graphs that must wait
        for another player's update: otherwise one graph per micro-batch would be in memory at once.
        """
        return recomputed(network, compute, x) if self.recomputes else compute(x)

    def inference_state(self) -> dict[str, Any]:
        """The part of the state dict that a weight file contains."""
        kept = {id(module) for module in self.kept_for_inference()}
        names = [name for name, module in self.named_children() if id(module) in kept]
        return {key: value for key, value in self.state_dict().items() if key.partition(".")[0] in names}


def ending(discriminator: str) -> str:
    """What tells the curves of a discriminator from those of others: "_A" of "discriminator_A"."""
    return "".join(discriminator.partition("_")[1:])


def mean_score(scores: Tensor) -> Tensor:
    """The mean of scores of any shape as a detached scalar, to be plotted."""
    return scores.detach().float().mean()


def side_by_side(*columns: Tensor) -> Tensor:
    """Joins batches of images (N, C, H, W) into rows (N, 3, H, sum of W).

    Grey becomes RGB. Of more than three channels the first three are shown, and of two the first.
    """
    return torch.cat([c[:, :3] if c.shape[1] >= 3 else c[:, :1].expand(-1, 3, -1, -1) for c in columns], dim=3).float()
