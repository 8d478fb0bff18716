"""The base of translators: methods whose generators map pictures to pictures in one or two directions."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from i2i.batch import Batch
from i2i.methods.base import Method, side_by_side
from i2i.networks.base import Translator


class TranslationMethod(Method):
    """A method that can ``translate``.

    Attributes:
        directions: what ``translate`` understands; the first is the default.
    """

    directions: tuple[str, ...] = ("AtoB",)

    @abstractmethod
    def generator_for(self, direction: str) -> Translator:
        """The network that translates in ``direction``, one of ``directions``."""

    def translate(self, images: Tensor, direction: str) -> Tensor:
        """Translates images: (N, C, H, W) in [-1, 1] to (N, C', H, W) in [-1, 1]."""
        translated: Tensor = self.generator_for(direction)(images)
        return translated.float()

    def averaged(self) -> dict[str, nn.Module]:
        return {direction: self.generator_for(direction) for direction in self.directions}

    def kept_for_inference(self) -> list[nn.Module]:
        return list(self.averaged().values())


class TwoWayTranslation(TranslationMethod):
    """A method with a generator in each direction."""

    directions = ("AtoB", "BtoA")

    def __init__(self, to_b: Translator, to_a: Translator) -> None:
        super().__init__()
        self.generator_AtoB, self.generator_BtoA = to_b, to_a

    def generator_for(self, direction: str) -> Translator:
        return self.generator_AtoB if direction == "AtoB" else self.generator_BtoA

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of input | translated | cycled for both directions."""
        real_a, real_b = batch.a, batch.other()
        fake_b, fake_a = self.generator_AtoB(real_a), self.generator_BtoA(real_b)
        return {
            "AtoB": side_by_side(real_a, fake_b, self.generator_BtoA(fake_b)),
            "BtoA": side_by_side(real_b, fake_a, self.generator_AtoB(fake_a)),
        }
