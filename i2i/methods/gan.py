"""Generative adversarial networks: one algorithm for GAN, DCGAN, WGAN, WGAN-GP, conditional GAN, SAGAN and BigGAN.

Goodfellow et al. 2014, algorithm 1: k discriminator steps, each on a new batch, then one generator step. What the
papers change is the objective (``losses/adversarial.py``), what regularises the discriminator
(``losses/penalties.py``), the networks and the optimisers; every recipe is a YAML of such choices.

The discriminator sees real and generated images in separate batches, which matters under batch norm, as in the released
code of DCGAN's and WGAN's authors. Under spectral norm both batches use the same weights: there is one power iteration
for both. Generated images get the labels of the real batch, as in the conditional GAN's equation 2 (Mirza and Osindero
2014), or labels of their own, as in SAGAN's and BigGAN's released code.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from i2i.batch import Batch, DataSpec, Labels
from i2i.config.components import Count, Weight, Width
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective, compares, discriminator_loss, fooling_loss
from i2i.losses.penalties import clip_weights, dragan_penalty, gradient_penalty, orthogonal_penalty
from i2i.methods.base import Update
from i2i.methods.checks import refuse_batch_norm, require_lipschitz
from i2i.methods.generative import GenerativeMethod, Prior
from i2i.methods.zero_centred import ZeroCentred, idle_penalties
from i2i.networks.base import Discriminator, Generator
from i2i.world import drawn_for_all

FakeLabels = Literal["batch", "uniform"]


class GAN(GenerativeMethod, name="gan"):
    """A generator from latents, and a discriminator. A regulariser with weight 0 is off.

    Args:
        data: what the images are like, and the number of labels that are used.
        generator: builds the generator.
        discriminator: builds the discriminator.
        objective: the adversarial objective.
        latent: length of the latents.
        prior: distribution of the latents.
        labels: whether the labels of the data are used.
        fake_labels: the labels of generated images: those of the real batch, or drawn uniformly.
        discriminator_steps: discriminator updates, each on a new batch, for each generator update.
        clip: the discriminator's weights are clipped to [-clip, clip] (WGAN).
        gradient_penalty: weight of the penalty between real and generated images (WGAN-GP).
        dragan: weight of the penalty around real images (DRAGAN).
        r1: weight of the penalty at real images, gamma / 2 in the paper's terms (R1).
        r2: weight of the same at generated images (R2).
        penalty_every: r1 and r2 are computed in every so many steps, with so many times the weight.
        orthogonal: weight of the orthogonal regularisation of the generator (BigGAN).
    """

    replayable = True

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Generator],
        discriminator: Callable[..., Discriminator],
        objective: Objective = "non_saturating",
        latent: Width = 100,
        prior: Prior = "normal",
        labels: Labels = "ignored",
        fake_labels: FakeLabels = "batch",
        discriminator_steps: Count = 1,
        clip: Weight = 0.0,
        gradient_penalty: Weight = 0.0,
        dragan: Weight = 0.0,
        r1: Weight = 0.0,
        r2: Weight = 0.0,
        penalty_every: Count = 1,
        orthogonal: Weight = 0.0,
    ) -> None:
        super().__init__(data, generator(data, latent), discriminator(data), latent, prior)
        self.objective: Objective = objective
        self.fake_labels = fake_labels
        self.batches_per_step = discriminator_steps
        self.clip, self.orthogonal = clip, orthogonal
        self.gradient_penalty, self.dragan = gradient_penalty, dragan
        self.zero_centred = ZeroCentred(r1, r2, every=penalty_every)
        self.zero_centred.require_fit([self.discriminator])
        require_lipschitz(objective, [self.discriminator], controlled=bool(clip or gradient_penalty))
        for name, weight in (("gradient_penalty", gradient_penalty), ("dragan", dragan)):
            if weight:
                refuse_batch_norm(self.discriminator, name)
        if gradient_penalty and fake_labels == "uniform":
            raise ConfigError(
                "method.gradient_penalty mixes real images with generated ones of the same label: "
                "set method.fake_labels=batch"
            )
        if (compares(objective) or r2) and fake_labels == "uniform":
            raise ConfigError(
                "method.objective relativistic and method.r2 take generated images with the labels of real ones: "
                "set method.fake_labels=batch"
            )

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        ignored = {"fake_labels": "set method.labels=required"} if settings["labels"] == "ignored" else {}
        return ignored | idle_penalties(settings["r1"], settings["r2"])

    @classmethod
    def uses_labels(cls, settings: Mapping[str, Any]) -> Labels:
        used: Labels = settings.get("labels", "ignored")  # unrolled has no such setting
        return used

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def variant(self) -> Hashable:
        return self.zero_centred.due(self.progress.step)

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        for _ in range(self.batches_per_step):
            batch = next(batches)
            z, label = self.latents_for(batch), self._fake_labels_for(batch)
            with torch.no_grad():
                fake = self.generator(z, label)
            yield self._discriminator_update(batch, fake.float(), label)
            if self.clip:
                clip_weights([self.discriminator], self.clip)

        z, label = self.latents_for(batch), self._fake_labels_for(batch)
        fake = self.generator(z, label)

        def critic(x: Tensor) -> Tensor:
            return self.judge(self.discriminator, x, label)

        losses = {"gan": fooling_loss(critic, fake, batch.a, self.objective)}
        if self.orthogonal:
            losses["orthogonal"] = self.orthogonal * orthogonal_penalty([self.generator])
        yield Update("generator", losses)

    def _fake_labels_for(self, batch: Batch) -> Tensor | None:
        """The labels (N,) of generated images, or None; drawn for the whole batch, like latents."""
        if batch.label is None or self.fake_labels == "batch":
            return batch.label
        classes, device = self.data.classes, batch.a.device
        return drawn_for_all(lambda count: torch.randint(classes, (count,), device=device), len(batch.a))

    def _discriminator_update(self, batch: Batch, fake: Tensor, fake_label: Tensor | None) -> Update:
        real, label = batch.a, batch.label
        with parametrize.cached():
            score_real = self.judge(self.discriminator, real, label)
            score_fake = self.judge(self.discriminator, fake, fake_label)
        losses = {"gan": discriminator_loss(score_real, score_fake, self.objective)}

        def critic(x: Tensor) -> Tensor:
            return self.judge(self.discriminator, x, label)

        if self.gradient_penalty:
            losses["gradient_penalty"] = self.gradient_penalty * gradient_penalty(critic, real, fake)
        if self.dragan:
            losses["dragan"] = self.dragan * dragan_penalty(critic, real)
        losses |= self.zero_centred.losses(critic, real, fake, self.progress.step)
        scores = self.mean_scores(score_real, score_fake, self.objective)
        if self.objective == "wasserstein":  # the distance times the critic's slope
            scores["wasserstein"] = scores["real"] - scores["fake"]
        return Update("discriminator", losses, scores)
