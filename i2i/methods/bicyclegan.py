"""BicycleGAN: several answers for one input (Zhu, Zhang, Pathak, Darrell, Efros, Wang, Shechtman 2017).

Toward Multimodal Image-to-Image Translation, arXiv:1711.11586. A latent z tells the generator which answer to give.
Two models share the generator and the encoder E. cVAE-GAN translates with the latent that E reads from the true
partner; L1 holds the output to the partner, and a divergence holds the latents to N(0, 1). cLR-GAN translates with a
random z, which E has to find again in the output. Each has discriminators of its own, of whole and of halved images,
which do not see the input; the real images of cLR-GAN are those of another batch.

As in the paper and the authors' code, generator and encoder step first, together, and the regression of z moves the
generator alone: an encoder that it moved too would agree with the generator on a code that nobody sees.

Differs from the authors' code in where z enters: beside the input, each of its numbers as a constant channel, which is
the paper's other choice, and not before every layer of the U-Net's encoder. So any translator can take it, but for
those with a norm right after the first convolution, which would remove what is constant; they are refused. Their
discriminators of halved images are half as wide as the others, and these are as wide. Their divergence is summed over
a batch, whose encoded half is one image, and this is its mean. They halve one batch, where a step here takes two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import avg_pool2d

from i2i.batch import Batch, DataSpec
from i2i.config.components import Weight, Width
from i2i.errors import ConfigError
from i2i.losses.adversarial import Objective, discriminator_loss, fooling_loss
from i2i.losses.consistency import reconstruction
from i2i.losses.latent import divergence_from_normal, latent_regression
from i2i.methods.base import Judge, Update, ending, side_by_side
from i2i.methods.checks import require_lipschitz
from i2i.methods.translation import PairedTranslation
from i2i.networks.at_inference import drawn_from
from i2i.networks.base import IMAGE, Encoder, Part, PatchDiscriminator, Translator
from i2i.networks.layers import LatentInput, normal_latents, with_latent

ANSWERS = 3
"""How many random answers a preview has: those of the seeds 0, 1 and so on."""


class WithLatent(Translator):
    """A translator whose input has the channels of a latent beside the image."""

    def __init__(self, translator: Callable[..., Translator], in_channels: int, out_channels: int, latent: int) -> None:
        super().__init__()
        self.latent = LatentInput(latent)
        self.translator = translator(in_channels + latent, out_channels)
        self.multiple, self.minimum = self.translator.multiple, self.translator.minimum
        _require_that_latents_pass(self.translator)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Maps x: (N, C, H, W) and z: (N, latent) to (N, C', H, W); without z, each image gets a random one."""
        translated: Tensor = self.translator(self.latent(x) if z is None else with_latent(x, z))
        return translated

    def parts_for_tiles(self) -> Sequence[Part]:
        """Those of the translator, with the latent wherever they read the image."""

        def told(part: Part) -> Callable[..., Tensor]:
            def compute(*maps: Tensor) -> Tensor:
                named = zip(part.inputs, maps, strict=True)
                return part.compute(*(self.latent(x) if name == IMAGE else x for name, x in named))

            return compute

        return [replace(part, compute=told(part)) for part in self.translator.parts_for_tiles()]

    def stages(self) -> dict[str, nn.Module]:
        return self.translator.stages()


class OfHalved(PatchDiscriminator):
    """A discriminator that sees images at half their side."""

    def __init__(self, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.multiple, self.minimum = discriminator.multiple, 2 * discriminator.minimum

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) to a map of scores."""
        halved = avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        scores: Tensor = self.discriminator(halved)
        return scores

    def stages(self) -> dict[str, nn.Module]:
        return self.discriminator.stages()


class BicycleGAN(PairedTranslation, name="bicyclegan"):
    """A generator with a latent, an encoder of it, and discriminators of encoded and of random answers.

    Args:
        data: what the images are like.
        generator: builds the generator.
        discriminator: builds the discriminators.
        encoder: builds the encoder.
        objective: the adversarial part.
        direction: which domain is translated to the other.
        latent: length of z.
        conditional: whether discriminators see the input beside the output.
        halved: whether there are discriminators of halved images too, as in the paper; the others see whole ones.
        l1_weight: weight of L1 between the encoded answer and the true partner (the paper's lambda).
        kl_weight: weight of the divergence of the encoded latents from N(0, 1), in nats (lambda_KL).
        latent_weight: weight of L1 between random latents and what the encoder reads (lambda_latent).
    """

    batches_per_step = 2
    replayable = True

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Translator],
        discriminator: Callable[..., PatchDiscriminator],
        encoder: Callable[..., Encoder],
        objective: Objective = "lsgan",
        direction: Literal["AtoB", "BtoA"] = "AtoB",
        latent: Width = 8,
        conditional: bool = False,
        halved: bool = True,
        l1_weight: Weight = 10.0,
        kl_weight: Weight = 0.01,
        latent_weight: Weight = 0.5,
    ) -> None:
        super().__init__(data, direction, conditional=conditional)
        self.objective = objective
        self.generator = WithLatent(generator, *self.channels, latent)
        self.encoder = encoder(self.channels[1], latent)
        self.discriminator_random, self.discriminator_encoded = (discriminator(self.seen_channels) for _ in range(2))
        if halved:
            self.discriminator_random_halved = OfHalved(discriminator(self.seen_channels))
            self.discriminator_encoded_halved = OfHalved(discriminator(self.seen_channels))
        require_lipschitz(objective, list(self._discriminators().values()))
        self.length = latent
        self.l1_weight, self.kl_weight, self.latent_weight = l1_weight, kl_weight, latent_weight

    def _discriminators(self, kind: str = "") -> dict[str, PatchDiscriminator]:
        """The discriminators of "random" or of "encoded" answers, or all, by the names of their attributes."""
        networks = self.named_children()
        return {name: net for name, net in networks if isinstance(net, PatchDiscriminator) and kind in name}

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator, self.encoder], "discriminator": [*self._discriminators().values()]}

    def averaged(self) -> dict[str, nn.Module]:
        return super().averaged() | {"encoder": self.encoder}

    def kept_for_inference(self) -> list[nn.Module]:
        return [self.generator]

    def judges(self) -> dict[str, Judge]:
        return {
            name: Judge(network, self.seen_domains, self.objective) for name, network in self._discriminators().items()
        }

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        source, target = self.sides(next(batches))
        other = self.sides(next(batches))
        mean, log_variance = self.encoder(target)
        noise, z = (normal_latents(len(source), self.length, mean) for _ in range(2))
        encoded = self.generator(source, mean + noise * (0.5 * log_variance).exp())
        random = self.generator(source, z)
        judged = {
            "encoded": (self.seen(source, target), self.seen(source, encoded)),
            "random": (self.seen(*other), self.seen(source, random)),
        }
        losses = {}
        for kind, (real, fake) in judged.items():
            critics = [partial(self.judge, network) for network in self._discriminators(kind).values()]
            fooled = [fooling_loss(critic, fake, real, self.objective) for critic in critics]
            losses[f"gan_{kind}"] = torch.stack(fooled).sum()
        losses["l1"] = self.l1_weight * reconstruction(encoded, target)
        losses["kl"] = self.kl_weight * divergence_from_normal(mean, log_variance)
        losses["latent"] = self.latent_weight * latent_regression(self._read_as_it_is(random), z)
        yield Update("generator", losses)

        losses, scores = {}, dict[str, Tensor]()
        for kind, (real, fake) in judged.items():
            told = []
            for name, network in self._discriminators(kind).items():
                score_real, score_fake = self.judge(network, real), self.judge(network, fake.detach())
                told.append(discriminator_loss(score_real, score_fake, self.objective))
                scores |= self.mean_scores(score_real, score_fake, self.objective, ending(name))
            losses[f"gan_{kind}"] = torch.stack(told).sum()
        yield Update("discriminator", losses, scores)

    def _read_as_it_is(self, images: Tensor) -> Tensor:
        """The means of the latents that the encoder reads, in a graph that its own weights are no part of."""
        fixed = {name: weight.detach() for name, weight in self.encoder.named_parameters()}
        mean: Tensor = functional_call(self.encoder, fixed, (images,))[0]
        return mean

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of input | truth | the answer with the truth's own latent | answers of the first seeds."""
        source, target = self.sides(batch)
        shown = [source, target, self.generator(source, self.encoder(target)[0])]
        for seed in range(ANSWERS):
            with drawn_from(self.generator, seed):
                shown.append(self.generator(source))
        return {self.direction: side_by_side(*shown)}


def _require_that_latents_pass(translator: nn.Module) -> None:
    """Refuses a norm over each map right after the first convolution.

    Raises:
        ConfigError: it would remove the constant channels.
    """
    layers = [layer for layer in translator.modules() if not any(layer.children())]
    for layer, following in pairwise(layers):
        if isinstance(layer, nn.Conv2d):
            if isinstance(following, nn.InstanceNorm2d | nn.BatchNorm2d):
                raise ConfigError(
                    "bicyclegan's latent enters as constant channels, which the norm after the generator's first "
                    "convolution would remove: use networks.generator.name=unet"
                )
            return
