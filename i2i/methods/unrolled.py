"""Unrolled GAN: the generator anticipates the discriminator's next steps (Metz et al. 2017, arXiv:1611.02163).

The generator minimises both terms of the game's value at the discriminator's parameters after K further gradient steps
on the same batch; its gradient goes through these steps (equations 7 and 9). The term of real images matters: through
the unrolled steps it depends on the generator. The discriminator itself learns as in any GAN.
Differs from the paper's experiments: the unrolled steps are plain gradient steps with their own rate, not Adam's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from i2i.batch import Batch, DataSpec
from i2i.compiling import uncompiled
from i2i.config.components import Width
from i2i.losses.adversarial import discriminator_loss
from i2i.methods.base import Update
from i2i.methods.gan import GAN
from i2i.methods.generative import Prior
from i2i.networks.base import Discriminator, Generator
from i2i.world import means_over_ranks

Unrolling = Annotated[int, Field(ge=0, le=100, strict=True)]
StepSize = Annotated[float, Field(gt=0, le=1e3)]


class UnrolledGAN(GAN, name="unrolled"):
    """Minimax GAN whose generator looks some steps of the discriminator ahead.

    Args:
        data: what the images are like.
        generator: builds the generator.
        discriminator: builds the discriminator.
        latent: length of the latents.
        prior: distribution of the latents.
        unrolled_steps: how many steps ahead; 0 is a plain GAN.
        unrolled_rate: the size of these steps.
    """

    replayable = True

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Generator],
        discriminator: Callable[..., Discriminator],
        latent: Width = 256,
        prior: Prior = "normal",
        unrolled_steps: Unrolling = 10,
        unrolled_rate: StepSize = 0.02,
    ) -> None:
        super().__init__(
            data,
            generator=generator,
            discriminator=discriminator,
            objective="minimax",
            latent=latent,
            prior=prior,
        )
        self.unrolled_steps, self.unrolled_rate = unrolled_steps, unrolled_rate

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        return {} if settings["unrolled_steps"] else {"unrolled_rate": "set unrolled_steps above 0"}

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        batch = next(batches)
        with torch.no_grad():
            fake = self.generator(self.latents_for(batch))
        yield self._discriminator_update(batch, fake.float(), None)

        fake = self.generator(self.latents_for(batch))
        answering = self._unrolled(batch.a, fake)
        yield Update("generator", {"gan": -self._loss_under(answering, batch.a, fake)})

    def _unrolled(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The discriminator's parameters after K steps, as a function of ``fake``."""
        parameters: dict[str, Tensor] = dict(self.discriminator.named_parameters())
        for _ in range(self.unrolled_steps):
            loss = self._loss_under(parameters, real, fake)
            own = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
            gradients = means_over_ranks(own)
            parameters = {
                name: parameter - self.unrolled_rate * gradient
                for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
            }
        return parameters

    def _loss_under(self, parameters: dict[str, Tensor], real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss with these ``parameters``."""

        def discriminator(points: Tensor) -> Tensor:
            with uncompiled():
                scores: Tensor = functional_call(self.discriminator, parameters, (points,))
            return scores

        score_real, score_fake = self.judge(discriminator, real), self.judge(discriminator, fake)
        return discriminator_loss(score_real, score_fake, self.objective)
