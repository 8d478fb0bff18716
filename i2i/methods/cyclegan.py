"""CycleGAN: unpaired translation with cycle consistency (Zhu, Park, Isola, Efros 2017, arXiv:1703.10593).

Follows the paper and its released code: least squares, both discriminators' losses halved for every objective, a
history of 50 generated images.
Differs in how it computes, not in what: each generator is called once on its concatenated inputs and each
discriminator once on real and fake, which is the same under instance norm (not under batch norm).

``cycle_gradient="last"`` is beyond the paper: a reconstruction F(G(x)) moves F alone, and takes G(x) as given. In the
paper's cycle, G gains by hiding in its output what F needs (Chu et al. 2017, arXiv:1712.02950), and F by reading what
is hidden instead of learning from what is seen. It is the back-translation by which languages are translated without
pairs (Lample et al. 2018, arXiv:1711.00043).

``paired_weight`` is beyond the paper: where some images have a partner, L1 to it is one loss more, as in pix2pix.
Pairs are judged as all images are. Tripathy, Kannala and Rahtu 2018 (arXiv:1805.03189) also learn from both kinds of
images at once; this is not their model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from i2i.batch import Batch, DataSpec
from i2i.config.components import Count, Weight
from i2i.losses.adversarial import Objective, discriminator_loss, fooling_loss
from i2i.losses.consistency import cycle_consistency, identity, reconstruction
from i2i.methods.base import Judge, Update
from i2i.methods.checks import require_equal_channels, require_lipschitz
from i2i.methods.history import ImageHistory
from i2i.methods.translation import TwoWayTranslation
from i2i.methods.zero_centred import ZeroCentred, idle_penalties
from i2i.networks.base import PatchDiscriminator, Translator

CycleGradient = Literal["both", "last"]
Capacity = Annotated[int, Field(ge=0, le=100_000, strict=True)]


class CycleGAN(TwoWayTranslation, name="cyclegan"):
    """Two generators A -> B and B -> A, and a discriminator in each domain.

    Args:
        data: what the images are like.
        generator: builds both generators.
        discriminator: builds both discriminators.
        objective: the adversarial part.
        cycle_weight: weight of the cycle consistency.
        cycle_gradient: which generators the cycle consistency moves: "both", or the "last", which reconstructs.
        identity_weight: relative to ``cycle_weight``, as in the paper; it needs equal channels in A and B.
        paired_weight: weight of L1 between a translation and its true partner, for those images that have one; above 0,
            files of equal names in A and B are pairs.
        history: how many generated images are kept for each discriminator.
        r1: weight of the zero-centred gradient penalty of the discriminators at real images.
        r2: that at generated images.
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
        objective: Objective = "lsgan",
        cycle_weight: Weight = 10.0,
        cycle_gradient: CycleGradient = "both",
        identity_weight: Weight = 0.5,
        paired_weight: Weight = 0.0,
        history: Capacity = 50,
        r1: Weight = 0.0,
        r2: Weight = 0.0,
        mixed_penalty: Weight = 0.0,
        penalty_every: Count = 1,
    ) -> None:
        require_equal_channels(data, identity_weight)
        super().__init__(data, generator(data.channels_a, data.channels_b), generator(data.channels_b, data.channels_a))
        self.discriminator_A = discriminator(data.channels_a)
        self.discriminator_B = discriminator(data.channels_b)
        require_lipschitz(objective, [self.discriminator_A, self.discriminator_B])
        self.penalties = ZeroCentred(r1, r2, mixed_penalty, penalty_every)
        self.penalties.require_fit([self.discriminator_A, self.discriminator_B])
        self.history_A = ImageHistory(history, data.channels_a, data.image_size)
        self.history_B = ImageHistory(history, data.channels_b, data.image_size)
        self.objective: Objective = objective
        self.cycle_gradient: CycleGradient = cycle_gradient
        self.cycle_weight, self.identity_weight, self.paired_weight = cycle_weight, identity_weight, paired_weight

    @classmethod
    def uses_pairs(cls, settings: Mapping[str, Any]) -> bool:
        return bool(settings["paired_weight"])

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        return idle_penalties(settings["r1"], settings["r2"], settings["mixed_penalty"])

    def players(self) -> dict[str, list[nn.Module]]:
        return {
            "generator": [self.generator_AtoB, self.generator_BtoA],
            "discriminator": [self.discriminator_A, self.discriminator_B],
        }

    def judges(self) -> dict[str, Judge]:
        return {
            "discriminator_A": Judge(self.discriminator_A, ("A",), self.objective),
            "discriminator_B": Judge(self.discriminator_B, ("B",), self.objective),
        }

    def variant(self) -> Hashable:
        return self.penalties.due(self.progress.step)

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        batch = next(batches)
        real_a, real_b = batch.a, batch.other()
        fake_b, same_b = self._translate_and_keep(self.generator_AtoB, real_a, real_b)
        fake_a, same_a = self._translate_and_keep(self.generator_BtoA, real_b, real_a)
        weight = self.cycle_weight
        losses = {
            "gan_A": fooling_loss(partial(self.judge, self.discriminator_A), fake_a, real_a, self.objective),
            "gan_B": fooling_loss(partial(self.judge, self.discriminator_B), fake_b, real_b, self.objective),
            "cycle_A": weight * cycle_consistency(self.generator_BtoA(self._given(fake_b)), real_a),
            "cycle_B": weight * cycle_consistency(self.generator_AtoB(self._given(fake_a)), real_b),
        }
        if same_a is not None and same_b is not None:
            losses["identity_A"] = weight * self.identity_weight * identity(same_a, real_a)
            losses["identity_B"] = weight * self.identity_weight * identity(same_b, real_b)
        if self.paired_weight:  # a mean over all items, so that it does not depend on how a batch is divided
            known = None if batch.paired is None else batch.paired[:, None, None, None]
            losses["paired_A"] = self.paired_weight * reconstruction(fake_a, real_a, mask=known)
            losses["paired_B"] = self.paired_weight * reconstruction(fake_b, real_b, mask=known)
        yield Update("generator", losses)

        losses = {}
        scores: dict[str, Tensor] = {}
        for domain, discriminator, real, fake in (
            ("A", self.discriminator_A, real_a, self.history_A.exchange(fake_a)),
            ("B", self.discriminator_B, real_b, self.history_B.exchange(fake_b)),
        ):
            score_real, score_fake = self.judge_together(discriminator, real, fake)
            losses[f"gan_{domain}"] = 0.5 * discriminator_loss(score_real, score_fake, self.objective)
            critic = partial(self.judge, discriminator)
            losses |= self.penalties.losses(critic, real, fake, self.progress.step, f"_{domain}")
            scores |= self.mean_scores(score_real, score_fake, self.objective, f"_{domain}")
        yield Update("discriminator", losses, scores)

    def _given(self, fake: Tensor) -> Tensor:
        """A translation as the generator that reconstructs gets it."""
        return fake if self.cycle_gradient == "both" else fake.detach()

    def _translate_and_keep(self, generator: nn.Module, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """G(source), and G(target) if there is an identity loss; one call."""
        if not self.identity_weight:
            return generator(source), None
        translated, kept = generator(torch.cat([source, target])).chunk(2)
        return translated, kept
