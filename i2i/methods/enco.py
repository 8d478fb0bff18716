"""EnCo: one-sided unpaired translation in one pass (Cai, Zhu, Miao, Fu, Yu 2024, arXiv:2211.10867).

A patch of the generator's decoder should say what the patch at the same place of its encoder's stage of that size said:
both are projected by one perceptron, and a predictor on the decoder's side has to meet the encoder's, which gets no
gradient. Nothing is encoded twice. Half of the patches are those that the discriminator finds least real among four
times as many (DAG), the others are drawn at random. Images of B are kept as they are by an L1 loss.

As in the authors' released code, the discriminator steps first, and its loss is halved; the generator's two terms are
halved while there is an identity loss, which ends halfway through the run; the pairs of stages are the same, with fewer
blocks the nearest to them. That code takes the norm of its projections as an option and names no default; here it is
batch norm, without scale and shift in the last layer.
Differs in how it computes, not in what: places are drawn for all images at once, and the discriminator scores real and
generated images in one call. Where its images are augmented, so are its scores, and the choice of patches is less
exact.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from i2i.batch import Batch, DataSpec
from i2i.config.components import Count, Weight, Width
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective, compares, discriminator_loss, generator_loss
from i2i.losses.consistency import identity
from i2i.losses.similarity import dissimilarity
from i2i.methods.base import Judge, Update, side_by_side
from i2i.methods.checks import require_equal_channels, require_lipschitz
from i2i.methods.translation import A_TO_B, Direction, TranslationMethod
from i2i.methods.zero_centred import ZeroCentred, idle_penalties
from i2i.networks.base import PatchDiscriminator, Translator
from i2i.networks.batch_norm import BatchNorm1d
from i2i.networks.layers import initialize
from i2i.networks.stages import recorded, stage_outputs
from i2i.world import drawn_for_all

Fraction = Annotated[float, Field(ge=0, le=1)]
Pairs = Annotated[tuple[tuple[str, str], ...], Field(min_length=1)] | None
"""An encoder's and a decoder's stage of the same size and channels, each."""
ProjectionNorm = Literal["batch", "layer", "none"]
Features = dict[str, Tensor]
"""By stage: maps (N, C, H, W)."""


class Projections(nn.Module):
    """For each pair of stages a projector of both, and a predictor of the decoder's side; two layers each."""

    def __init__(self, channels: list[int], features: int, norm: ProjectionNorm) -> None:
        super().__init__()
        hidden = max(features // 2, 1)
        self.projectors = nn.ModuleList(
            nn.Sequential(
                nn.Linear(count, features, bias=False),
                _norm(norm, features),
                nn.ReLU(),
                nn.Linear(features, features, bias=False),
                _norm(norm, features, last=True),
            )
            for count in channels
        )
        self.predictors = nn.ModuleList(
            nn.Sequential(
                nn.Linear(features, hidden, bias=False), _norm(norm, hidden), nn.ReLU(), nn.Linear(hidden, features)
            )
            for _ in channels
        )
        initialize(self, "xavier", 0.02)

    def loss(self, pair: int, encoded: Tensor, decoded: Tensor) -> Tensor:
        """How unlike the patches (patches, C) of the two stages of a pair are."""
        project, predict = self.projectors[pair], self.predictors[pair]
        predicted = predict(project(decoded))
        with torch.no_grad():
            target = project(encoded)
        return dissimilarity(predicted, target)


class EnCo(TranslationMethod, name="enco"):
    """One generator A -> B, one discriminator in B, and projections of features.

    Args:
        data: what the images are like.
        generator: builds the generator, whose named stages are compared.
        discriminator: builds the discriminator.
        objective: the adversarial part.
        content_weight: lambda_NCE of the released code.
        identity_weight: lambda_IDT, of L1 between images of B and their translations.
        identity_until: the fraction of the run after which there is no identity loss.
        pairs: which stages are compared, an encoder's and a decoder's each; by default those of the released code.
        patches: number of places compared in each pair.
        candidates: how many times as many the discriminator chooses from.
        random_patches: the fraction of places that it does not choose.
        features: length of the projections.
        projection_norm: the norm in projectors and predictors.
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
        content_weight: Weight = 2.0,
        identity_weight: Weight = 10.0,
        identity_until: Fraction = 0.5,
        pairs: Pairs = None,
        patches: Count = 256,
        candidates: Count = 4,
        random_patches: Fraction = 0.5,
        features: Width = 256,
        projection_norm: ProjectionNorm = "batch",
        r1: Weight = 0.0,
        r2: Weight = 0.0,
        mixed_penalty: Weight = 0.0,
        penalty_every: Count = 1,
    ) -> None:
        super().__init__()
        self.data = data
        require_equal_channels(data, identity_weight)
        self.generator = generator(data.channels_a, data.channels_b)
        self.discriminator = discriminator(data.channels_b)
        require_lipschitz(objective, [self.discriminator])
        self.penalties = ZeroCentred(r1, r2, mixed_penalty, penalty_every)
        self.penalties.require_fit([self.discriminator])
        self.pairs = tuple(pairs or _pairs_of_the_code(list(self.generator.stages())))
        self.projections = Projections(self._channels(), features, projection_norm)
        self.objective: Objective = objective
        self.content_weight, self.identity_weight = content_weight, identity_weight
        self.identity_until = identity_until
        self.patches, self.candidates, self.random_patches = patches, candidates, random_patches

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        idle = idle_penalties(settings["r1"], settings["r2"], settings["mixed_penalty"])
        if settings["random_patches"] == 1:
            idle["candidates"] = "set random_patches below 1"
        if not settings["identity_weight"]:
            idle["identity_until"] = "set identity_weight above 0"
        return idle

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator, self.projections], "discriminator": [self.discriminator]}

    def judges(self) -> dict[str, Judge]:
        return {"discriminator": Judge(self.discriminator, ("B",), self.objective)}

    def variant(self) -> Hashable:
        return self._keeps_identity(), self.penalties.due(self.progress.step)

    def _keeps_identity(self) -> bool:
        return bool(self.identity_weight) and self.progress.fraction <= self.identity_until

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        batch = next(batches)
        real_a, real_b = batch.a, batch.other()
        keeping = self._keeps_identity()
        sources = torch.cat([real_a, real_b]) if keeping else real_a
        # During accumulation the maps of every micro-batch would wait here for the discriminator: they come later.
        with torch.set_grad_enabled(not self.recomputes):
            outputs, maps = self._translate_and_encode(sources)
        fake_b = outputs[: len(real_a)]

        critic = partial(self.judge, self.discriminator)
        score_real, score_fake = self.judge_together(self.discriminator, real_b, fake_b.detach())
        losses = {"gan": 0.5 * discriminator_loss(score_real, score_fake, self.objective)}
        losses |= self.penalties.losses(critic, real_b, fake_b, self.progress.step)
        made = None if self.recomputes else (outputs, maps)
        del outputs, maps
        yield Update("discriminator", losses, self.mean_scores(score_real, score_fake, self.objective))
        yield Update("generator", self._generator_losses(real_a, real_b, sources, made))

    def _generator_losses(
        self, real_a: Tensor, real_b: Tensor, sources: Tensor, made: tuple[Tensor, Features] | None
    ) -> dict[str, Tensor]:
        """The losses for ``made``, the translations of ``sources`` and the maps on the way, which are made if None."""
        outputs, maps = self._translate_and_encode(sources) if made is None else made
        fake_b, critic = outputs[: len(real_a)], partial(self.judge, self.discriminator)
        keeping = len(sources) > len(real_a)
        with torch.no_grad():
            against = critic(real_b) if compares(self.objective) else None
        score_fake = critic(fake_b)
        content = self._content({stage: each[: len(real_a)] for stage, each in maps.items()}, score_fake.detach())
        losses = {"gan": generator_loss(score_fake, self.objective, against)}
        losses["content"] = (0.5 if keeping else 1.0) * self.content_weight * content
        if keeping:
            losses["identity"] = 0.5 * self.identity_weight * identity(outputs[len(real_a) :], real_b)
        return losses

    def _content(self, maps: Features, scores: Tensor) -> Tensor:
        """The content loss of outputs whose stages are ``maps`` and whose patches have ``scores``: mean over pairs."""
        found = []
        for number, (encoder, decoder) in enumerate(self.pairs):
            shown = interpolate(scores.float(), size=maps[decoder].shape[2:], mode="bilinear")
            places = self._places(shown.flatten(1))
            encoded, decoded = (patches_at(maps[stage], places) for stage in (encoder, decoder))
            found.append(self.projections.loss(number, encoded, decoded))
        return torch.stack(found).mean()

    def _places(self, scores: Tensor) -> Tensor:
        """For scores (N, places) the numbers (N, patches) of those that are compared; a place may be there twice."""
        total = scores.shape[1]
        count = min(self.patches, total)
        at_random = int(count * self.random_patches)
        candidates = _shuffled(scores)[:, : count * self.candidates]
        order = scores.gather(1, candidates).argsort(1)[:, : count - at_random]
        return torch.cat([candidates.gather(1, order), _shuffled(scores)[:, :at_random]], 1)

    def _translate_and_encode(self, images: Tensor) -> tuple[Tensor, Features]:
        """G(images) for images (N, C, H, W), and the maps of the stages on the way."""
        with recorded(self.generator, self._stages) as maps:
            outputs = self.generator(images)
        return outputs, maps

    @property
    def _stages(self) -> list[str]:
        return [stage for pair in self.pairs for stage in pair]

    def _channels(self) -> list[int]:
        """The channels of each pair.

        Raises:
            ConfigError: a stage that there is not, or two that do not have the same shape.
        """
        known = self.generator.stages()
        for stage in self._stages:
            if stage not in known:
                raise ConfigError(f"method.pairs: the generator has no stage {stage!r}; it has {', '.join(known)}")
        size = self.data.image_size
        with torch.no_grad():
            maps = stage_outputs(self.generator, torch.zeros(1, self.data.channels_a, size, size), stages=self._stages)
        for encoder, decoder in self.pairs:
            one, other = tuple(maps[encoder].shape[1:]), tuple(maps[decoder].shape[1:])
            if one != other:
                raise ConfigError(
                    f"method.pairs: {encoder} is {one} (channels, height, width) and {decoder} {other}; "
                    "compare stages of the same shape"
                )
        return [maps[encoder].shape[1] for encoder, _ in self.pairs]

    def directions(self) -> dict[str, Direction]:
        return {A_TO_B: Direction(self.generator, self.data.channels_a, self.data.channels_b)}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of input | translated, with an image of the target domain and its translation beside them."""
        real_a, real_b = batch.a, batch.other()
        kept = [real_b, self.generator(real_b)] if self.identity_weight else [real_b]
        return {A_TO_B: side_by_side(real_a, self.generator(real_a), *kept)}


def patches_at(maps: Tensor, places: Tensor) -> Tensor:
    """The features (N * P, C) of maps (N, C, H, W) at places (N, P) of H * W."""
    items = torch.arange(len(maps), device=maps.device)[:, None]
    return maps.flatten(2).mT[items, places].flatten(0, 1)


def _shuffled(like: Tensor) -> Tensor:
    """For each row of ``like`` (N, places) the numbers of its places in a random order of their own."""
    return drawn_for_all(lambda count: torch.rand(count, like.shape[1], device=like.device), len(like)).argsort(1)


def _norm(norm: ProjectionNorm, features: int, *, last: bool = False) -> nn.Module:
    match norm:
        case "batch":
            return BatchNorm1d(features, affine=not last)
        case "layer":
            return nn.LayerNorm(features)
        case "none":
            return nn.Identity()


def _pairs_of_the_code(known: list[str]) -> list[tuple[str, str]]:
    """The stem and the last upsampling, each halving but the last and its counterpart, block 2 and the last but two.

    Raises:
        ConfigError: a generator without these stages.
    """
    halvings = sum(stage.removeprefix("down").isdecimal() for stage in known)
    blocks = sum(stage.removeprefix("block").isdecimal() for stage in known)
    if "stem" not in known:
        raise ConfigError(
            "enco compares the encoder and the decoder of a ResNet: set networks.generator.name to resnet, or "
            f"method.pairs to stages of this generator; it has {', '.join(known)}"
        )
    pairs = [("stem", f"up{halvings}")] + [(f"down{i}", f"up{halvings - i}") for i in range(1, halvings)]
    return pairs + ([("block2", f"block{blocks - 2}")] if blocks >= 5 else [])
