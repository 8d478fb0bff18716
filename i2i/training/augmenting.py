"""How strongly discriminators' images are augmented: adaptively, as in ADA (Karras et al. 2020, arXiv:2006.06676).

The more of its real images a discriminator knows, the more often each transform (``methods/augmentation.py``) is done:
the mean sign of its scores of real images, r_t of the paper's equation 1, is held at 0.6 (section 2.3). All of it stays
on the device and is part of a checkpoint.
Differs from the paper: the mean is over about the last 256 images, of which the paper has four batches of 64; the
strength may rise faster in runs that are shorter than the paper's; and it ends at 0.8, beyond which augmentations leak
into what is generated (figure 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from i2i.config.schema import Config, DiscriminatorAugmentation
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
    """What ``Method.augmentation`` is: a function of images (N, C, H, W), and its strength.

    Args:
        config: the settings.
        judged: how many of the last channels are the image that is real or generated; None: all.
        device: where it computes.
    """

    def __init__(self, config: DiscriminatorAugmentation, judged: int | None, device: torch.device) -> None:
        self._config, self._judged = config, judged
        self.strength = torch.full((), config.strength, device=device)
        self._sign = torch.zeros((), device=device)

    def __call__(self, images: Tensor) -> Tensor:
        return augmented(images, self.strength, self._judged)

    @torch.no_grad()
    def adapt(self, signs: Sequence[Tensor], images: int, progress: Progress) -> None:
        """Moves the strength after a step.

        Args:
            signs: the mean signs of each discriminator's scores of its real images.
            images: how many images the step used.
            progress: where the run was when the step began.
        """
        if self._config.mode != "adaptive":
            return
        if not signs:
            raise ValueError("augmentation adapts to signs that the method does not give: plot Method.mean_scores")
        self._sign.lerp_(torch.stack(list(signs)).mean().to(self._sign), min(1.0, images / REMEMBERED))
        # In a short run faster than the paper, but so slowly that the mean sign can follow.
        faster = min(progress.fraction / max(progress.step, 1) / SHARE, images / (4 * REMEMBERED))
        self.strength += (self._sign - self._config.target).sign() * max(images / self._config.rise, faster)
        self.strength.clamp_(0.0, MOST)

    def state_dict(self) -> dict[str, Tensor]:
        """What the next step depends on."""
        return {"strength": self.strength, "sign": self._sign}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes over the state of ``state_dict``."""
        self.strength.copy_(state["strength"])
        self._sign.copy_(state["sign"])


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
        raise ConfigError(
            f"discriminator_augmentation.mode adaptive follows the sign of scores, and those of {method.name} with "
            "this objective have none: set discriminator_augmentation.mode=fixed and .strength, or another objective"
        )
    return wanted


def describe_augmentation(config: DiscriminatorAugmentation, images: int) -> str:
    """What discriminators see, in a line for the start of a run that learns from so many ``images``."""
    how = f"adaptively, to a mean sign of {config.target:g}"
    if config.mode == "fixed":
        how = f"with probability {config.strength:g}"
    return (
        f"discriminators see their images augmented {how}, for sets as small as {images:,} images; "
        "discriminator_augmentation.mode=none switches it off"
    )
