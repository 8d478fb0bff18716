"""InfoGAN: codes whose meaning is learnt without labels (Chen et al. 2016, arXiv:1606.03657).

A latent consists of noise, categorical codes and continuous codes. Q recovers the codes from an image; it shares the
discriminator's trunk and has its own small head. Both players minimise -weight * L_I in addition to the vanilla
objective, and Q's head steps with the discriminator, as in the authors' released code (the paper's equation 6 writes
min over G and Q). The discriminator sees real and generated images in separate batches.

For the continuous codes, Q is a Gaussian. The paper learns its deviation; the authors' released code fixes it at 1. A
learnt deviation rewards ever more precise codes: a continuous code may then encode the difference between two digits,
or, at weight 1, fill the image with a texture that only Q can decode.

L_I itself is logged, unweighted, for each categorical code and for the continuous codes, as in the paper's figure 1.
The control of that figure is ``maximize_information=False``: Q learns, but the generator does not maximise L_I.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from i2i.batch import Batch, DataSpec
from i2i.config.components import Weight, Width
from i2i.losses.adversarial import Objective, compares, discriminator_loss, generator_loss
from i2i.losses.information import (
    categorical_entropy,
    categorical_information,
    gaussian_information,
    uniform_entropy,
)
from i2i.methods.base import Update, side_by_side
from i2i.methods.checks import require_lipschitz
from i2i.methods.generative import PREVIEW_COLUMNS, PREVIEW_ROWS, GenerativeMethod, Prior
from i2i.networks.base import Discriminator, Generator
from i2i.networks.batch_norm import BatchNorm1d
from i2i.networks.layers import initialize

Values = Annotated[tuple[Annotated[int, Field(ge=2, le=10_000, strict=True)], ...], Field(max_length=100)]
Codes = Annotated[int, Field(ge=0, le=1000, strict=True)]
Deviation = Literal["learned", "fixed"]
HIDDEN = 128
TRAVERSED = 2.0
"""Previews vary continuous codes from minus to plus this (the paper's figure 2), beyond the [-1, 1] of training."""


class Recognition(nn.Module):
    """Q's head: features (N, F) to the logits of each categorical code, and mean and log variance of the others."""

    def __init__(self, features: int, categories: Sequence[int], continuous: int, deviation: Deviation) -> None:
        super().__init__()
        self.categories, self.continuous = categories, continuous
        self.log_variances = continuous if deviation == "learned" else 0
        self.hidden = nn.Sequential(
            nn.Linear(features, HIDDEN, bias=False), BatchNorm1d(HIDDEN), nn.LeakyReLU(0.1, inplace=True)
        )
        self.head = nn.Linear(HIDDEN, sum(categories) + continuous + self.log_variances)
        initialize(self, "normal")

    def forward(self, features: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Maps (N, F) to the logits [(N, values), ...], and two of (N, continuous)."""
        read = self.head(self.hidden(features))
        *logits, mean, log_variance = torch.split(read, [*self.categories, self.continuous, self.log_variances], dim=1)
        return logits, mean, log_variance if self.log_variances else torch.zeros_like(mean)


class InfoGAN(GenerativeMethod, name="infogan"):
    """A generator from noise and codes, a discriminator, and Q.

    Args:
        data: what the images are like.
        generator: builds the generator.
        discriminator: builds the discriminator.
        objective: the adversarial part.
        noise: length of the noise in the latents.
        prior: distribution of the noise.
        categories: number of values of each categorical code, all equally likely.
        continuous: number of continuous codes, uniform in [-1, 1].
        categorical_weight: weight of the information in the categorical codes (the paper's lambda).
        continuous_weight: weight of the information in the continuous codes.
        deviation: whether Q learns the standard deviation of the continuous codes, or it is fixed at 1.
        maximize_information: whether the generator maximises L_I too; Q always learns.
    """

    replayable = True

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Generator],
        discriminator: Callable[..., Discriminator],
        objective: Objective = "non_saturating",
        noise: Width = 62,
        prior: Prior = "normal",
        categories: Values = (10,),
        continuous: Codes = 2,
        categorical_weight: Weight = 1.0,
        continuous_weight: Weight = 1.0,
        deviation: Deviation = "fixed",
        maximize_information: bool = True,
    ) -> None:
        latent = noise + sum(categories) + continuous
        super().__init__(data, generator(data, latent), discriminator(data), latent, prior)
        require_lipschitz(objective, [self.discriminator])
        self.recognition = Recognition(self.discriminator.feature_count, categories, continuous, deviation)
        self.objective: Objective = objective
        self.noise, self.categories, self.continuous = noise, categories, continuous
        self.categorical_weight, self.continuous_weight = categorical_weight, continuous_weight
        self.maximize_information = maximize_information

    @classmethod
    def idle(cls, settings: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, str]:
        idle = {}
        if not settings["categories"]:
            idle["categorical_weight"] = "set categories, for example to [10]"
        if not settings["continuous"]:
            idle |= dict.fromkeys(("continuous_weight", "deviation"), "set continuous above 0")
        return idle

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator], "discriminator": [self.discriminator, self.recognition]}

    def kept_for_inference(self) -> list[nn.Module]:
        return [self.generator, self.discriminator, self.recognition]

    def draw_latents(
        self, count: int, random: torch.Generator | None = None, *, truncation: float | None = None
    ) -> Tensor:
        """Noise as in every method, then a one-hot vector for each categorical code, then the continuous codes."""
        z = super().draw_latents(count, random, truncation=truncation)
        parts = [z[:, : self.noise]]
        for values in self.categories:
            code = torch.randint(values, (count,), generator=random, device=z.device)
            parts.append(one_hot(code, values).to(z.dtype))
        continuous = torch.empty(count, self.continuous, device=z.device)
        return torch.cat([*parts, continuous.uniform_(-1, 1, generator=random)], dim=1)

    def codes(self, z: Tensor) -> tuple[list[Tensor], Tensor]:
        """The codes in latents (N, latent): the value (N,) of each categorical one, and the continuous ones (N, c)."""
        _, *one_hots, continuous = torch.split(z, [self.noise, *self.categories, self.continuous], dim=1)
        return [code.argmax(1) for code in one_hots], continuous

    def code_names(self) -> list[str]:
        """The names that ``with_code`` accepts: category1, ..., continuous1, ..."""
        categories = [f"category{i + 1}" for i in range(len(self.categories))]
        return categories + [f"continuous{i + 1}" for i in range(self.continuous)]

    def with_code(self, z: Tensor, name: str, column: int, columns: int) -> Tensor:
        """Latents z: (N, latent) with one code set to its value number ``column`` of ``columns``.

        Categorical codes cycle through their values; continuous codes go from -2 to 2.
        """
        changed, position = z.clone(), self.code_names().index(name)
        if position < len(self.categories):
            start, values = self.noise + sum(self.categories[:position]), self.categories[position]
            changed[:, start : start + values] = 0
            changed[:, start + column % values] = 1
        else:
            place = self.noise + sum(self.categories) + position - len(self.categories)
            changed[:, place] = -TRAVERSED + 2 * TRAVERSED * column / max(1, columns - 1)
        return changed

    def recognise(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Q's output for images (N, C, H, W): logits of categorical codes, mean and log variance of the others."""
        logits, mean, log_variance = self.recognition(self.discriminator.trunk(images))
        return logits, mean, log_variance

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        batch = next(batches)
        z = self.latents_for(batch)
        with torch.no_grad():
            fake = self.generator(z)
        score_real = self.judge(self.discriminator, batch.a)
        features = self.judge(self.discriminator.trunk, fake)
        score_fake = self.discriminator.score(features)
        scores = self.mean_scores(score_real, score_fake, self.objective)
        unread = self._unread(features, z)
        losses = {"gan": discriminator_loss(score_real, score_fake, self.objective)} | self._weighted(unread)
        yield Update("discriminator", losses, scores | self._information(unread))

        z = self.latents_for(batch)
        features = self.judge(self.discriminator.trunk, self.generator(z))
        against = self.judge(self.discriminator, batch.a) if compares(self.objective) else None
        losses = {"gan": generator_loss(self.discriminator.score(features), self.objective, against)}
        if self.maximize_information:
            losses |= self._weighted(self._unread(features, z))
        yield Update("generator", losses)

    def _unread(self, features: Tensor, z: Tensor) -> dict[str, Tensor]:
        """-E log Q(c|x) of each categorical code and of all continuous ones."""
        logits, mean, log_variance = self.recognition(features)
        categories, continuous = self.codes(z)
        unread = {
            f"category{i}": categorical_information(read, code)
            for i, (read, code) in enumerate(zip(logits, categories, strict=True), 1)
        }
        if self.continuous:
            unread["continuous"] = gaussian_information(mean, log_variance, continuous)
        return unread

    def _weighted(self, unread: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """-lambda * L_I, up to a constant."""
        return {
            name: (self.continuous_weight if name == "continuous" else self.categorical_weight) * value
            for name, value in unread.items()
        }

    def _information(self, unread: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """L_I in nats."""
        entropies = {f"category{i}": categorical_entropy(values) for i, values in enumerate(self.categories, 1)}
        entropies["continuous"] = uniform_entropy(self.continuous)
        return {f"information_{name}": entropies[name] - value.detach() for name, value in unread.items()}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Samples, and an image for each code in which only that code changes along a row."""
        images = super().preview(batch)
        z = self.draw_latents(PREVIEW_ROWS, torch.Generator().manual_seed(0)).to(self._device)
        for name in self.code_names():
            columns = [self.with_code(z, name, column, PREVIEW_COLUMNS) for column in range(PREVIEW_COLUMNS)]
            images[name] = side_by_side(*(self.generate(column) for column in columns))
        return images
