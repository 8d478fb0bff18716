"""The base class of noise-to-image methods: latents, and images generated from them."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.init import trunc_normal_

from i2i.batch import Batch, DataSpec, Needs
from i2i.losses.adversarial import Objective
from i2i.methods.base import Judge, Method, side_by_side
from i2i.methods.scatter import scatter
from i2i.networks.base import Discriminator, Generator
from i2i.world import drawn_for_all

Prior = Literal["normal", "uniform"]

PREVIEW_COLUMNS, PREVIEW_ROWS, PREVIEW_POINTS = 10, 8, 2000


class GenerativeMethod(Method):
    """A method with one generator and one discriminator that can ``generate``.

    Attributes:
        latent: the length of latents.
        noise: the number of leading latent entries that are plain noise, not codes.
    """

    needs: ClassVar[Needs] = "one domain"
    few_images: ClassVar[int] = 1000
    objective: Objective

    def __init__(self, data: DataSpec, generator: Generator, discriminator: Discriminator, latent: int, prior: Prior):
        super().__init__()
        self.data, self.prior = data, prior
        self.latent = self.noise = latent
        self.generator, self.discriminator = generator, discriminator

    def draw_latents(
        self, count: int, random: torch.Generator | None = None, *, truncation: float | None = None
    ) -> Tensor:
        """Latents (count, latent): N(0, 1), or uniform in [-1, 1].

        Args:
            count: number of latents.
            random: the random generator; by default torch's global one of this device.
            truncation: normal values beyond +-truncation are redrawn (Brock et al. 2019, section 3.1).
        """
        z = torch.empty(count, self.latent, device=self._device if random is None else random.device)
        if self.prior == "uniform":
            return z.uniform_(-1, 1, generator=random)
        if truncation is not None:
            return trunc_normal_(z, 0, 1, -truncation, truncation, generator=random)
        return z.normal_(generator=random)

    def latents_for(self, batch: Batch) -> Tensor:
        """This process's part of the latents of the whole batch."""
        return drawn_for_all(self.draw_latents, len(batch.a))

    def generate(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Generates images (N, C, H, W) in [-1, 1] from latents (N, latent) and labels (N,)."""
        images: Tensor = self.generator(z, label)
        return images.float()

    def averaged(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def kept_for_inference(self) -> list[nn.Module]:
        return [self.generator, self.discriminator]

    def judges(self) -> dict[str, Judge]:
        return {"discriminator": Judge(self.discriminator, ("A",), self.objective)}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Images of fixed latents; with labels, a row for each label and a column for each latent."""
        if self.data.image_size == 1:
            return {"samples": scatter(batch.a.flatten(1), self._fixed(PREVIEW_POINTS, None).flatten(1))}
        if not self.data.classes:
            rows = [self._fixed(PREVIEW_ROWS, None, first=column) for column in range(PREVIEW_COLUMNS)]
            return {"samples": side_by_side(*rows)}
        shown = torch.arange(min(self.data.classes, PREVIEW_COLUMNS))
        rows = [self._fixed(len(shown), shown, first=column, same=True) for column in range(PREVIEW_COLUMNS)]
        return {"samples": side_by_side(*rows)}

    def _fixed(self, count: int, label: Tensor | None, *, first: int = 0, same: bool = False) -> Tensor:
        """Images of fixed latents; with ``same``, all have the same latent."""
        z = self.draw_latents(1 if same else count, torch.Generator().manual_seed(first)).expand(count, -1)
        return self.generate(z.to(self._device), None if label is None else label.to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device
