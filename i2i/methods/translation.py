"""The base of translators: methods whose generators map pictures to pictures in one or two directions."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from i2i.methods.base import Method
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
