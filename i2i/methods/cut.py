"""CUT and FastCUT: one-sided unpaired translation (Park, Efros, Zhang, Zhu 2020, arXiv:2007.15651).

A patch of the output should be closer to the input's patch at the same place than to the input's other patches, in the
features of the generator's own encoder. CUT adds the same loss on images of the target domain (equation 5); FastCUT
uses a larger weight instead, and flips its input in half of the steps, with features flipped back (appendix C.1).

The projection heads are built with the networks, where the released code builds them on its first batch; they step with
the generator and share its optimiser settings, as there. As in that code, the discriminator steps first, its loss is
halved for every objective, and the weights of CUT's two contrastive terms are halved.

Differs in how it computes, not in what: the keys are features of the pass that made the outputs (except for a mirrored
input), both terms are encoded in one call, and the discriminator scores real and fake images in one call. Under
instance norm the result is the same; batch norm and dropout would see other batches and masks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from i2i.batch import Batch, DataSpec
from i2i.config.components import Count, Weight, Width
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective, discriminator_loss, fooling_loss
from i2i.losses.contrastive import patch_nce
from i2i.methods.base import Judge, Update, side_by_side
from i2i.methods.checks import require_lipschitz
from i2i.methods.translation import A_TO_B, Direction, TranslationMethod
from i2i.methods.zero_centred import ZeroCentred, idle_penalties
from i2i.networks.base import PatchDiscriminator, Translator
from i2i.networks.layers import initialize
from i2i.networks.stages import recorded, stage_outputs

Stages = Annotated[tuple[str, ...], Field(min_length=1)] | None
Temperature = Annotated[float, Field(gt=0, le=10)]
Patches = Annotated[int, Field(ge=2, le=1_000_000, strict=True)]
"""A single patch would have no negatives."""
PIXELS = "pixels"
"""The name of the stage before all others: the image itself."""
Features = dict[str, Tensor]
"""By stage: maps (N, C, H, W), or their projections (N, P, features)."""
Places = dict[str, Tensor]
"""By stage: numbers (P,) of places in its maps."""


class ProjectionHeads(nn.Module):
    """A two-layer perceptron for each stage, with outputs of norm 1 (section 3)."""

    def __init__(self, channels: dict[str, int], features: int) -> None:
        super().__init__()
        for stage, count in channels.items():
            head = nn.Sequential(nn.Linear(count, features), nn.ReLU(), nn.Linear(features, features))
            self.add_module(stage, head)
        initialize(self, "xavier", 0.02)

    def forward(self, maps: dict[str, Tensor], places: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps (N, C, H, W) of each stage, at places (P,) of H * W, to (N, P, features)."""
        return {
            stage: normalize(self.get_submodule(stage)(x.flatten(2)[:, :, places[stage]].mT).float(), dim=2)
            for stage, x in maps.items()
        }


class CUT(TranslationMethod, name="cut"):
    """One generator A -> B, one discriminator in B, and projection heads.

    Args:
        data: what the images are like.
        generator: builds the generator, whose named stages are the encoder.
        discriminator: builds the discriminator.
        objective: the adversarial part.
        contrastive_weight: lambda_X, of the contrastive term between inputs and outputs.
        identity_weight: lambda_Y, of the contrastive term between images of B and their translations.
        flip_equivariance: translate the mirrored input in half of the steps (FastCUT).
        stages: where features are compared; "pixels" is the image itself. By default the paper's for ResNet: pixels,
            both downsampling convolutions, the first residual block, and the fifth (or the last of fewer).
        patches: number of places compared in each stage.
        features: length of the projections.
        temperature: tau.
        r1: weight of the zero-centred gradient penalty of the discriminator at real images.
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
        contrastive_weight: Weight = 1.0,
        identity_weight: Weight = 1.0,
        flip_equivariance: bool = False,
        stages: Stages = None,
        patches: Patches = 256,
        features: Width = 256,
        temperature: Temperature = 0.07,
        r1: Weight = 0.0,
        r2: Weight = 0.0,
        mixed_penalty: Weight = 0.0,
        penalty_every: Count = 1,
    ) -> None:
        super().__init__()
        self.data = data
        if data.channels_a != data.channels_b:
            raise ConfigError(
                f"cut encodes inputs and outputs with one encoder: channels {data.channels_a} in A and "
                f"{data.channels_b} in B must be equal"
            )
        self.generator = generator(data.channels_a, data.channels_b)
        self.discriminator = discriminator(data.channels_b)
        require_lipschitz(objective, [self.discriminator])
        known = [PIXELS, *self.generator.stages()]
        self.stages = tuple(stages or _stages_of_the_paper(known))
        unknown = [stage for stage in self.stages if stage not in known]
        if unknown:
            raise ConfigError(f"method.stages: the generator has no stage {unknown[0]!r}; it has {', '.join(known)}")
        with torch.no_grad():
            maps = self._encode(torch.zeros(1, data.channels_a, data.image_size, data.image_size))
        self.heads = ProjectionHeads({stage: x.shape[1] for stage, x in maps.items()}, features)
        self.penalties = ZeroCentred(r1, r2, mixed_penalty, penalty_every)
        self.penalties.require_fit([self.discriminator])
        self.objective: Objective = objective
        self.contrastive_weight, self.identity_weight = contrastive_weight, identity_weight
        self.flip_equivariance, self.patches, self.temperature = flip_equivariance, patches, temperature

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        idle = idle_penalties(settings["r1"], settings["r2"], settings["mixed_penalty"])
        if settings["contrastive_weight"] or settings["identity_weight"]:
            return idle
        return idle | dict.fromkeys(("patches", "features", "temperature", "stages"), "set contrastive_weight above 0")

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator, self.heads], "discriminator": [self.discriminator]}

    def judges(self) -> dict[str, Judge]:
        return {"discriminator": Judge(self.discriminator, ("B",), self.objective)}

    def variant(self) -> Hashable:
        with torch.random.fork_rng(devices=[]):  # the same draw as in ``updates``, where it is the first
            mirrored = self._mirrors()
        return mirrored, self.penalties.due(self.progress.step)

    def _mirrors(self) -> bool:
        return self.flip_equivariance and bool(torch.rand(()) < 0.5)

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        batch = next(batches)
        real_a, real_b = batch.a, batch.other()
        sources = torch.cat([real_a, real_b]) if self.identity_weight else real_a
        flipped = self._mirrors()
        outputs, places, keys = self._translate_with_keys(sources, flipped)
        fake_b = outputs[: len(real_a)]

        score_real, score_fake = self.judge_together(self.discriminator, real_b, fake_b.detach())
        loss = 0.5 * discriminator_loss(score_real, score_fake, self.objective)
        critic = partial(self.judge, self.discriminator)
        penalties = self.penalties.losses(critic, real_b, fake_b, self.progress.step)
        scores = self.mean_scores(score_real, score_fake, self.objective)
        yield Update("discriminator", {"gan": loss} | penalties, scores)

        query_maps = self._encode(outputs)
        if flipped:
            query_maps = {stage: maps.flip(3) for stage, maps in query_maps.items()}
        nce = [self._contrast(*term) for term in zip(self._project(query_maps, places), keys, strict=True)]
        losses = {"gan": fooling_loss(critic, fake_b, real_b, self.objective)}
        if self.identity_weight:
            losses["nce"] = 0.5 * self.contrastive_weight * nce[0]
            losses["nce_identity"] = 0.5 * self.identity_weight * nce[1]
        else:
            losses["nce"] = self.contrastive_weight * nce[0]
        yield Update("generator", losses)

    def _translate_with_keys(self, sources: Tensor, flipped: bool) -> tuple[Tensor, list[Places], list[Features]]:
        """G(sources), and the places and keys of each contrastive term; ``sources`` are translated mirrored or not."""
        shown = sources.flip(3) if flipped else sources
        outputs, maps = self.recomputable(self.generator, self._translate_and_encode, shown)
        with torch.no_grad():
            key_maps = self._encode(sources) if flipped else maps
            places = [self._draw_places(key_maps) for _ in range(2 if self.identity_weight else 1)]
            return outputs, places, self._project(key_maps, places)

    def _draw_places(self, maps: Features) -> Places:
        return {
            stage: torch.randperm(maps[stage][0, 0].numel(), device=maps[stage].device)[: self.patches]
            for stage in self.stages
        }

    def _project(self, maps: Features, places: list[Places]) -> list[Features]:
        """The projections (N, P, features) of every stage, for each term's part of the batch and its places."""
        terms = zip(*(maps[stage].chunk(len(places)) for stage in self.stages), strict=True)
        return [
            self.heads(dict(zip(self.stages, term, strict=True)), chosen)
            for term, chosen in zip(terms, places, strict=True)
        ]

    def _contrast(self, queries: Features, keys: Features) -> Tensor:
        """The contrastive loss of one term, mean over stages."""
        return torch.stack([patch_nce(queries[s], keys[s], self.temperature) for s in self.stages]).mean()

    def _translate_and_encode(self, images: Tensor) -> tuple[Tensor, Features]:
        """G(images) for images (N, C, H, W), and the maps of the stages on the way."""
        with recorded(self.generator, self._inner_stages) as maps:
            outputs = self.generator(images)
        return outputs, self._with_pixels(images, maps)

    def _encode(self, images: Tensor) -> Features:
        """The maps of the stages for images (N, C, H, W)."""
        return self._with_pixels(images, stage_outputs(self.generator, images, stages=self._inner_stages))

    def _with_pixels(self, images: Tensor, maps: Features) -> Features:
        return {PIXELS: images} | maps if PIXELS in self.stages else maps

    @property
    def _inner_stages(self) -> list[str]:
        return [stage for stage in self.stages if stage != PIXELS]

    def directions(self) -> dict[str, Direction]:
        return {A_TO_B: Direction(self.generator, self.data.channels_a, self.data.channels_b)}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of input | translated, with an image of the target domain and its translation beside them."""
        real_a, real_b = batch.a, batch.other()
        return {A_TO_B: side_by_side(real_a, self.generator(real_a), real_b, self.generator(real_b))}


def _stages_of_the_paper(known: list[str]) -> tuple[str, ...]:
    """The stages of appendix C.1 that the generator has; their receptive fields are 1, 9, 15, 35 and 99 pixels wide.

    Raises:
        ConfigError: the generator has only the pixels.
    """
    blocks = [stage for stage in known if stage.startswith("block")]
    wanted = [PIXELS, "down1_conv", "down2_conv", *blocks[:1], *blocks[:5][-1:]]
    found = tuple(dict.fromkeys(stage for stage in wanted if stage in known))
    if found == (PIXELS,):
        raise ConfigError(
            "cut compares features of a ResNet's encoder: set networks.generator.name to resnet, or method.stages to "
            f"stages of this generator; it has {', '.join(known)}"
        )
    return found
