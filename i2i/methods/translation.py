"""The base classes of translation methods: they map images to images, in one or several named directions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from i2i.batch import Batch, DataSpec, Domain, Needs
from i2i.errors import ConfigError
from i2i.methods.base import Method, side_by_side
from i2i.networks.base import Translator

A_TO_B, B_TO_A = "AtoB", "BtoA"
"""The directions between two domains."""


@dataclass(frozen=True)
class Direction:
    """A translation that a method offers.

    Attributes:
        generator: the network that translates.
        in_channels: channels of its inputs.
        out_channels: channels of its outputs.
        source: the domain of its inputs.
        target: the domain whose images its outputs should look like.
    """

    generator: Translator
    in_channels: int
    out_channels: int
    source: Domain = "A"
    target: Domain = "B"


class TranslationMethod(Method):
    """A method that can ``translate``."""

    @abstractmethod
    def directions(self) -> dict[str, Direction]:
        """The translations that this method offers, by name; the first is the default."""

    def choose_direction(self, wanted: str | None) -> str:
        """``wanted``, or the default for None.

        Raises:
            ConfigError: a direction that this method does not offer.
        """
        offered = self.directions()
        if wanted is None:
            return next(iter(offered))
        if wanted not in offered:
            raise ConfigError(f"direction {wanted}: this model has {', '.join(offered)}")
        return wanted

    def translate(self, images: Tensor, direction: str) -> Tensor:
        """Translates images: (N, C, H, W) in [-1, 1] to (N, C', H, W) in [-1, 1]."""
        translated: Tensor = self.directions()[direction].generator(images)
        return translated.float().clamp(-1, 1)

    def averaged(self) -> dict[str, nn.Module]:
        generators: dict[str, nn.Module] = {}
        for name, direction in self.directions().items():
            if all(direction.generator is not other for other in generators.values()):
                generators[name] = direction.generator
        return generators

    def kept_for_inference(self) -> list[nn.Module]:
        return list(self.averaged().values())


class PairedTranslation(TranslationMethod):
    """A method that learns one direction from pairs, with one ``generator``.

    Attributes:
        direction: which domain is translated to the other.
        channels: those of its inputs and of its outputs.
        conditional: whether discriminators see the input beside the output.
    """

    needs: ClassVar[Needs] = "paired"
    few_images: ClassVar[int] = 100  # pix2pix's paper learns from 400 facades
    generator: Translator

    def __init__(self, data: DataSpec, direction: Literal["AtoB", "BtoA"], *, conditional: bool) -> None:
        super().__init__()
        channels = (data.channels_a, data.channels_b)
        self.direction = direction
        self.channels = channels if direction == A_TO_B else channels[::-1]
        self.conditional = conditional
        self.judged_channels = self.channels[1]

    @classmethod
    def input_domain(cls, settings: Mapping[str, Any]) -> Domain:
        return "B" if settings.get("direction") == B_TO_A else "A"

    @property
    def domains(self) -> tuple[Domain, Domain]:
        """Those of its inputs and of its outputs."""
        return ("A", "B") if self.direction == A_TO_B else ("B", "A")

    @property
    def seen_domains(self) -> tuple[Domain, ...]:
        """Those of what discriminators see."""
        return self.domains if self.conditional else self.domains[1:]

    @property
    def seen_channels(self) -> int:
        """The channels of what discriminators see."""
        return sum(self.channels) if self.conditional else self.channels[1]

    def seen(self, source: Tensor, output: Tensor) -> Tensor:
        """What discriminators see of a pair: (N, seen_channels, H, W)."""
        return torch.cat([source, output], dim=1) if self.conditional else output

    def sides(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The inputs of a batch, and their true partners."""
        return (batch.a, batch.other()) if self.direction == A_TO_B else (batch.other(), batch.a)

    def directions(self) -> dict[str, Direction]:
        return {self.direction: Direction(self.generator, *self.channels, *self.domains)}


class TwoWayTranslation(TranslationMethod):
    """A method with a generator in each direction between two domains."""

    def __init__(self, data: DataSpec, to_b: Translator, to_a: Translator) -> None:
        super().__init__()
        self.data = data
        self.generator_AtoB, self.generator_BtoA = to_b, to_a

    def directions(self) -> dict[str, Direction]:
        a, b = self.data.channels_a, self.data.channels_b
        return {A_TO_B: Direction(self.generator_AtoB, a, b), B_TO_A: Direction(self.generator_BtoA, b, a, "B", "A")}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of input | translated | cycled for both directions."""
        real_a, real_b = batch.a, batch.other()
        fake_b, fake_a = self.generator_AtoB(real_a), self.generator_BtoA(real_b)
        return {
            A_TO_B: side_by_side(real_a, fake_b, self.generator_BtoA(fake_b)),
            B_TO_A: side_by_side(real_b, fake_a, self.generator_AtoB(fake_a)),
        }
