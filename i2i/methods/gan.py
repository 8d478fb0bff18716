"""Generative adversarial networks: one algorithm for GAN, DCGAN, WGAN, WGAN-GP, conditional GAN, SAGAN and BigGAN.

Goodfellow et al. 2014, algorithm 1: k discriminator steps, each on a new batch, then one generator step. What the
papers change is the objective (``losses/adversarial.py``), what regularises the discriminator
(``losses/penalties.py``), the networks and the optimisers; every recipe is a YAML of such choices.

The discriminator sees real and generated pictures in separate batches, which matters under batch norm: as in the
training that DCGAN's and WGAN's authors released. Generated pictures get the labels of the real batch, as in the
conditional GAN's equation 2 (Mirza and Osindero 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from i2i.batch import Batch, DataSpec
from i2i.components import Count, Weight
from i2i.losses.adversarial import Objective, discriminator_loss, generator_loss
from i2i.losses.penalties import clip_weights, dragan_penalty, gradient_penalty, orthogonal_penalty, r1_penalty
from i2i.methods.base import Update
from i2i.methods.generative import GenerativeMethod, Labels, Prior
from i2i.methods.lipschitz import refuse_batch_norm, require_lipschitz
from i2i.networks.base import Discriminator, Generator


class GAN(GenerativeMethod, name="gan"):
    """A generator from latents and a discriminator; a regulariser of weight 0 is off.

    Args:
        data: the shape of the pictures, and the number of labels that are used.
        generator: builds the generator.
        discriminator: builds the discriminator.
        objective: what both minimise.
        latent: length of the latents.
        prior: distribution of the latents.
        labels: whether the labels of the data are used.
        discriminator_steps: updates of the discriminator, each on a new batch, for one of the generator.
        clip: the discriminator's weights stay in [-clip, clip] (WGAN).
        gradient_penalty: weight of the penalty between real and generated pictures (WGAN-GP).
        dragan: weight of the penalty around real pictures (DRAGAN).
        r1: weight of the penalty at real pictures, gamma / 2 in the paper's terms (R1).
        orthogonal: weight of the orthogonal regularisation of the generator (BigGAN).
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Generator],
        discriminator: Callable[..., Discriminator],
        objective: Objective = "non_saturating",
        latent: Count = 100,
        prior: Prior = "normal",
        labels: Labels = "ignored",
        discriminator_steps: Count = 1,
        clip: Weight = 0.0,
        gradient_penalty: Weight = 0.0,
        dragan: Weight = 0.0,
        r1: Weight = 0.0,
        orthogonal: Weight = 0.0,
    ) -> None:
        super().__init__(data, generator(data, latent), discriminator(data), latent, prior)
        self.objective: Objective = objective
        self.batches_per_step = discriminator_steps
        self.clip, self.orthogonal = clip, orthogonal
        self.gradient_penalty, self.dragan, self.r1 = gradient_penalty, dragan, r1
        require_lipschitz(objective, [self.discriminator], controlled=bool(clip or gradient_penalty))
        for name, weight in (("gradient_penalty", gradient_penalty), ("dragan", dragan), ("r1", r1)):
            if weight:
                refuse_batch_norm(self.discriminator, name)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        for _ in range(self.batches_per_step):
            batch = next(batches)
            with torch.no_grad():
                fake = self.generator(self.latents_for(batch), batch.label)
            yield self._discriminator_update(batch.a, fake.float(), batch.label)
            if self.clip:
                clip_weights([self.discriminator], self.clip)

        fake = self.generator(self.latents_for(batch), batch.label)
        losses = {"gan": generator_loss(self.discriminator(fake, batch.label), self.objective)}
        if self.orthogonal:
            losses["orthogonal"] = self.orthogonal * orthogonal_penalty([self.generator])
        yield Update("generator", losses)

    def _discriminator_update(self, real: Tensor, fake: Tensor, label: Tensor | None) -> Update:
        score_real, score_fake = self.discriminator(real, label), self.discriminator(fake, label)
        losses = {"gan": discriminator_loss(score_real, score_fake, self.objective)}

        def critic(x: Tensor) -> Tensor:
            scores: Tensor = self.discriminator(x, label)
            return scores

        if self.gradient_penalty:
            losses["gradient_penalty"] = self.gradient_penalty * gradient_penalty(critic, real, fake)
        if self.dragan:
            losses["dragan"] = self.dragan * dragan_penalty(critic, real)
        if self.r1:
            losses["r1"] = self.r1 * r1_penalty(critic, real)
        scores = {"real": score_real.detach().float().mean(), "fake": score_fake.detach().float().mean()}
        if self.objective == "wasserstein":  # the distance times the critic's slope
            scores["wasserstein"] = scores["real"] - scores["fake"]
        return Update("discriminator", losses, scores)
