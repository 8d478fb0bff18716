"""How strongly discriminators' images are augmented: adaptively, as in ADA (Karras et al. 2020, arXiv:2006.06676).

The more of its real images a discriminator knows, the more often each transform (``methods/augmentation.py``) is done
to what it sees: the mean sign of its scores of real images, r_t of the paper's equation 1, is held at 0.6. Of several
discriminators each has a strength of its own, since one domain may be small beside the other. All of it stays on the
device and is part of a checkpoint.
Differs from the paper: the mean is over about the last 256 images, of which the paper has four batches of 64; the
strength may rise faster in runs that are shorter than the paper's; and it ends at 0.8, beyond which augmentations leak
into what is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from i2i.config.schema import Config, DiscriminatorAugmentation
from i2i.display import counted
from i2i.errors import ConfigError
from i2i.losses.adversarial import boundary, compares
from i2i.methods.augmentation import augmented
from i2i.methods.base import Method, Progress

REMEMBERED = 256
"""Images whose signs count, about."""
MOST = 0.8
SHARE = 0.1
"""The strength may rise from 0 to 1 in this share of a run, and not in fewer than four times ``REMEMBERED`` images."""


class AdaptiveAugmentation:
    """What ``Method.augmentation`` is: a function of images (N, C, H, W) and of who sees them, and its strengths.

    Args:
        config: the settings.
        discriminators: by the endings of their names. Each has a strength of its own, unless it is fixed.
        judged: how many of the last channels are the image that is real or generated; None: all.
        device: where it computes.

    Attributes:
        asked: whether a discriminator has been shown anything by it.
    """

    def __init__(
        self,
        config: DiscriminatorAugmentation,
        discriminators: Mapping[str, nn.Module],
        judged: int | None,
        device: torch.device,
    ) -> None:
        self._config, self._judged = config, judged
        self._endings = [""] if config.mode == "fixed" else list(discriminators)
        self._numbers: dict[Callable[..., Tensor], int] = {each: i for i, each in enumerate(discriminators.values())}
        self._strengths = torch.full((len(self._endings),), config.strength, device=device)
        self._signs = torch.zeros_like(self._strengths)
        self.asked = False

    def __call__(self, images: Tensor, discriminator: Callable[..., Tensor]) -> Tensor:
        self.asked = True
        if len(self._endings) > 1 and discriminator not in self._numbers:
            raise ConfigError(
                f"a {type(discriminator).__name__} is called through judge, and is none of those that judges names: "
                "name it there"
            )
        number = 0 if len(self._endings) == 1 else self._numbers[discriminator]
        return augmented(images, self._strengths[number], self._judged)

    def strengths(self) -> dict[str, Tensor]:
        """The strengths as they are now, by the ending of whose it is; "" for that of all."""
        return dict(zip(self._endings, self._strengths.clone().unbind(), strict=True))

    @torch.no_grad()
    def adapt(self, signs: Mapping[str, Tensor], images: int, progress: Progress) -> None:
        """Moves the strengths after a step.

        Args:
            signs: the mean sign of each discriminator's scores of its real images, by the same endings.
            images: how many images the step used.
            progress: where the run was when the step began.
        """
        if self._config.mode != "adaptive":
            return
        if signs.keys() != set(self._endings):
            raise ConfigError(
                f"augmentation adapts to the signs of {self._endings}, and the method gives those of {list(signs)}: "
                "its mean_scores have to be among the scores, each with the ending of its discriminator"
            )
        now = torch.stack([signs[ending] for ending in self._endings]).to(self._signs)
        self._signs.lerp_(now, min(1.0, images / REMEMBERED))
        # In a short run faster than the paper, but so slowly that the mean sign can follow.
        faster = min(progress.fraction / max(progress.step, 1) / SHARE, images / (4 * REMEMBERED))
        self._strengths += (self._signs - self._config.target).sign() * max(images / self._config.rise, faster)
        self._strengths.clamp_(0.0, MOST)

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on."""
        return {"strength": self._strengths, "sign": self._signs}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over the state of ``state_dict``; one strength, as checkpoints of before have it, is that of all."""
        self._strengths.copy_(state["strength"])
        self._signs.copy_(state["sign"])


def settled_augmentation(config: Config, method: Method, images: int) -> DiscriminatorAugmentation:
    """What "auto" means for a method that learns from so many ``images``, of the smaller domain where there are two.

    Raises:
        ConfigError: augmentation of points, or adaptive augmentation with scores that have no boundary.
    """
    wanted = config.discriminator_augmentation
    objectives = [judge.objective for judge in method.judges().values()]
    adapts = bool(objectives) and all(
        each is not None and (compares(each) or boundary(each) is not None) for each in objectives
    )
    if wanted.mode == "auto":
        on = adapts and config.image_size > 1 and images < method.few_images
        return wanted.model_copy(update={"mode": "adaptive"}) if on else DiscriminatorAugmentation()
    if wanted.mode != "none" and config.image_size == 1:
        raise ConfigError(f"discriminator_augmentation.mode {wanted.mode} transforms images, and these are points")
    if wanted.mode == "adaptive" and not adapts:
        other = ", or another method.objective" if "objective" in config.method else ""
        raise ConfigError(
            f"discriminator_augmentation.mode adaptive follows the sign of scores, and those of {method.name} have "
            f"none: set discriminator_augmentation.mode=fixed and .strength{other}"
        )
    return wanted


def describe_augmentation(config: DiscriminatorAugmentation, images: int) -> str:
    """What discriminators see, in a line for the start of a run that learns from so many ``images``."""
    how = f"adaptively, each to a mean sign of {config.target:g}"
    if config.mode == "fixed":
        how = f"with probability {config.strength:g}"
    return (
        f"discriminators see their images augmented {how}, for sets as small as {counted(images, 'image')}; "
        "discriminator_augmentation.mode=none switches it off"
    )
