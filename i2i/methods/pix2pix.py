"""pix2pix: paired translation with a conditional GAN (Isola, Zhu, Zhou, Efros 2017, arXiv:1611.07004).

The discriminator sees the input and the output together; the generator also minimises L1 to the true partner. As in the
paper, the discriminator steps first, its loss is halved, and the only noise is dropout in the generator, which stays on
at inference (sections 3.1 and 3.3; ``inference`` in the recipe).

Beyond the paper, data may have masks: L1 is weighted by them, and what has weight 0 in them is hidden from the
discriminator, in true and generated images alike, so that nothing is learnt from it. Other weights are of L1 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from i2i.batch import Batch, DataSpec
from i2i.config.components import Count, Weight
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective, discriminator_loss, fooling_loss
from i2i.losses.consistency import reconstruction
from i2i.methods.base import Judge, Update, side_by_side
from i2i.methods.checks import require_lipschitz
from i2i.methods.translation import PairedTranslation
from i2i.methods.zero_centred import ZeroCentred, idle_penalties
from i2i.networks.base import PatchDiscriminator, Translator


class Pix2Pix(PairedTranslation, name="pix2pix"):
    """One generator and one discriminator of pairs.

    The rows of the paper's table 1: L1 is ``adversarial_weight=0`` (the discriminator still trains, without effect),
    cGAN is ``l1_weight=0``, GAN is ``l1_weight=0`` and ``conditional=false`` (the discriminator does not see the input,
    equation 2), L1+GAN is ``conditional=false``, and L1+cGAN is the default.

    Args:
        data: what the images are like.
        generator: builds the generator.
        discriminator: builds the discriminator.
        objective: the adversarial part.
        direction: which domain is translated to the other.
        conditional: whether the discriminator sees the input beside the output.
        adversarial_weight: weight of the adversarial part.
        l1_weight: lambda, of L1 to the true partner.
        l1_pooling: L1 compares means of squares of so many pixels a side instead of pixels, for pairs that are not
            quite aligned.
        r1: weight of the zero-centred gradient penalty of the discriminator at true partners, by the image alone that
            is judged.
        r2: that at outputs.
        mixed_penalty: that between both.
        penalty_every: these are computed in every so many steps, with so many times the weight.
    """

    replayable = True

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Translator],
        discriminator: Callable[..., PatchDiscriminator],
        objective: Objective = "non_saturating",
        direction: Literal["AtoB", "BtoA"] = "AtoB",
        conditional: bool = True,
        adversarial_weight: Weight = 1.0,
        l1_weight: Weight = 100.0,
        l1_pooling: Count = 1,
        r1: Weight = 0.0,
        r2: Weight = 0.0,
        mixed_penalty: Weight = 0.0,
        penalty_every: Count = 1,
    ) -> None:
        super().__init__(data, direction, conditional=conditional)
        if not (adversarial_weight or l1_weight):
            raise ConfigError("method.adversarial_weight and method.l1_weight are both 0: nothing would be learnt")
        self.generator = generator(*self.channels)
        self.discriminator = discriminator(self.seen_channels)
        require_lipschitz(objective, [self.discriminator])
        self.penalties = ZeroCentred(r1, r2, mixed_penalty, penalty_every)
        self.penalties.require_fit([self.discriminator])
        self.objective: Objective = objective
        if l1_pooling > data.image_size:
            raise ConfigError(f"method.l1_pooling {l1_pooling} is larger than the image ({data.image_size} pixels)")
        self.adversarial_weight, self.l1_weight, self.l1_pooling = adversarial_weight, l1_weight, l1_pooling

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        idle = idle_penalties(settings["r1"], settings["r2"], settings["mixed_penalty"])
        if not settings["l1_weight"]:
            idle["l1_pooling"] = "set l1_weight above 0"
        return idle if settings["adversarial_weight"] else idle | {"conditional": "set adversarial_weight above 0"}

    @classmethod
    def uses_masks(cls, settings: Mapping[str, Any]) -> bool:
        return True

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def judges(self) -> dict[str, Judge]:
        return {"discriminator": Judge(self.discriminator, self.seen_domains, self.objective)}

    def variant(self) -> Hashable:
        return self.penalties.due(self.progress.step)

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        batch = next(batches)
        source, target = self.sides(batch)
        fake = self.recomputable(self.generator, self.generator, source)
        critic = partial(self._score, source, None if batch.mask is None else batch.mask > 0)
        score_real, score_fake = critic(target), critic(fake.detach())
        loss = 0.5 * discriminator_loss(score_real, score_fake, self.objective)
        penalties = self.penalties.losses(critic, target, fake, self.progress.step)
        scores = self.mean_scores(score_real, score_fake, self.objective)
        yield Update("discriminator", {"gan": loss} | penalties, scores)

        losses = {}
        if self.adversarial_weight:
            losses["gan"] = self.adversarial_weight * fooling_loss(critic, fake, target, self.objective)
        if self.l1_weight:
            losses["l1"] = self.l1_weight * reconstruction(fake, target, self.l1_pooling, batch.mask)
        yield Update("generator", losses)

    def _score(self, source: Tensor, visible: Tensor | None, output: Tensor) -> Tensor:
        output = output if visible is None else output * visible
        return self.judge(self.discriminator, self.seen(source, output))

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of input | translated | truth."""
        source, target = self.sides(batch)
        return {self.direction: side_by_side(source, self.generator(source), target)}
