"""DualGAN: unpaired translation with dual critics and noise (Yi, Zhang, Tan, Gong 2017, arXiv:1704.02510).

Algorithm 1: several critic steps with weight clipping, each on a new batch, then one step of both generators, on a
further batch, on the Wasserstein terms and the L1 reconstruction of both cycles. Unlike CycleGAN, generators receive
noise: dropout in their decoders, in training and at inference (``inference`` in the recipe), and optionally channels of
noise beside the image. (The further batch follows algorithm 1 from memory; the authors' released code reuses the
critics' batch.)
Differs from the paper only by an option: ``gradient_penalty`` bounds the critics instead of clipping (WGAN-GP).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from i2i.batch import Batch, DataSpec
from i2i.config.components import Count, Weight
from i2i.errors import ConfigError
from i2i.losses.adversarial import discriminator_loss, generator_loss
from i2i.losses.consistency import cycle_consistency
from i2i.losses.penalties import clip_weights, gradient_penalty
from i2i.methods.base import Judge, Update
from i2i.methods.checks import refuse_batch_norm
from i2i.methods.translation import TwoWayTranslation
from i2i.networks.base import PatchDiscriminator, Translator
from i2i.networks.layers import NoiseInput

NoiseChannels = Annotated[int, Field(ge=0, le=64, strict=True)]


class WithNoise(Translator):
    """A translator whose input has extra channels of noise."""

    def __init__(self, translator: Callable[..., Translator], in_channels: int, out_channels: int, noise: int) -> None:
        super().__init__()
        self.noise = NoiseInput(noise)
        self.translator = translator(in_channels + noise, out_channels)
        self.multiple, self.minimum = self.translator.multiple, self.translator.minimum

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to (N, C', H, W)."""
        translated: Tensor = self.translator(self.noise(x))
        return translated

    def stages(self) -> dict[str, nn.Module]:
        return self.translator.stages()


class DualGAN(TwoWayTranslation, name="dualgan"):
    """Two generators with noise, and a Wasserstein critic in each domain.

    Args:
        data: what the images are like.
        generator: builds both generators.
        discriminator: builds both critics.
        critic_steps: updates of both critics, each on a new batch, for each generator update.
        clip: the critics' weights are clipped to [-clip, clip]; 0 turns clipping off.
        gradient_penalty: weight of the penalty; 0 turns it off.
        reconstruction_a: weight of the reconstruction of domain A (the paper's lambda_U, 100 to 1000).
        reconstruction_b: weight of that of domain B (lambda_V).
        noise_channels: channels of noise beside each image.
    """

    replayable = True

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Translator],
        discriminator: Callable[..., PatchDiscriminator],
        critic_steps: Count = 3,
        clip: Weight = 0.01,
        gradient_penalty: Weight = 0.0,
        reconstruction_a: Weight = 500.0,
        reconstruction_b: Weight = 500.0,
        noise_channels: NoiseChannels = 0,
    ) -> None:
        def make(entering: int, leaving: int) -> Translator:
            if noise_channels:
                return WithNoise(generator, entering, leaving, noise_channels)
            return generator(entering, leaving)

        super().__init__(data, make(data.channels_a, data.channels_b), make(data.channels_b, data.channels_a))
        self.critic_A, self.critic_B = discriminator(data.channels_a), discriminator(data.channels_b)
        self.critic_steps, self.batches_per_step = critic_steps, critic_steps + 1
        self.clip, self.gradient_penalty = clip, gradient_penalty
        self.reconstruction_a, self.reconstruction_b = reconstruction_a, reconstruction_b
        if not clip and not gradient_penalty:
            raise ConfigError("dualgan's critics need a bounded slope: set method.clip or method.gradient_penalty")
        if gradient_penalty:
            refuse_batch_norm(self.critic_A, "gradient_penalty")

    def players(self) -> dict[str, list[nn.Module]]:
        return {
            "generator": [self.generator_AtoB, self.generator_BtoA],
            "discriminator": [self.critic_A, self.critic_B],
        }

    def judges(self) -> dict[str, Judge]:
        return {
            "critic_A": Judge(self.critic_A, ("A",), "wasserstein"),
            "critic_B": Judge(self.critic_B, ("B",), "wasserstein"),
        }

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        for _ in range(self.critic_steps):
            batch = next(batches)
            with torch.no_grad():
                fake_b, fake_a = self.generator_AtoB(batch.a), self.generator_BtoA(batch.other())
            yield self._critic_update(batch.a, batch.other(), fake_a.float(), fake_b.float())
            if self.clip:
                clip_weights([self.critic_A, self.critic_B], self.clip)

        batch = next(batches)
        real_a, real_b = batch.a, batch.other()
        # Both generators act twice in this graph, where accumulated gradients need more memory than activations.
        fake_b = self.recomputable(self.generator_AtoB, self.generator_AtoB, real_a)
        fake_a = self.recomputable(self.generator_BtoA, self.generator_BtoA, real_b)
        yield Update(
            "generator",
            {
                "gan_A": generator_loss(self.judge(self.critic_A, fake_a), "wasserstein"),
                "gan_B": generator_loss(self.judge(self.critic_B, fake_b), "wasserstein"),
                "cycle_A": self.reconstruction_a * cycle_consistency(self.generator_BtoA(fake_b), real_a),
                "cycle_B": self.reconstruction_b * cycle_consistency(self.generator_AtoB(fake_a), real_b),
            },
        )

    def _critic_update(self, real_a: Tensor, real_b: Tensor, fake_a: Tensor, fake_b: Tensor) -> Update:
        losses: dict[str, Any] = {}
        scores: dict[str, Tensor] = {}
        for domain, critic, real, fake in (
            ("A", self.critic_A, real_a, fake_a),
            ("B", self.critic_B, real_b, fake_b),
        ):
            judge = partial(self.judge, critic)
            score_real, score_fake = judge(real), judge(fake)
            losses[f"gan_{domain}"] = discriminator_loss(score_real, score_fake, "wasserstein")
            if self.gradient_penalty:
                penalty = gradient_penalty(judge, real, fake)
                losses[f"gradient_penalty_{domain}"] = self.gradient_penalty * penalty
            scores |= self.mean_scores(score_real, score_fake, "wasserstein", f"_{domain}")
        return Update("discriminator", losses, scores)
