"""Standing statistics: the batch norm statistics that BigGAN uses for sampling (Brock et al. 2019, arXiv:1809.11096).

The running statistics of training mix many states of the generator, use the live weights and not their average, and
latents without truncation. Standing statistics are the mean over passes of the generator used for sampling, with
latents drawn as for the samples and uniform labels. The paper uses 100 passes, the code released by its first author
16.
"""

from __future__ import annotations

import torch
from torch import nn

from i2i.methods.generative import GenerativeMethod
from i2i.seeding import derive_seed
from i2i.world import as_rank

PASSES, BATCH = 16, 32


@torch.no_grad()
def take_standing_statistics(method: GenerativeMethod, *, seed: int, truncation: float | None) -> None:
    """Replaces the statistics of the generator's batch norms by those of images that it generates.

    Args:
        method: a method in evaluation mode; its other layers stay in that mode, and its weights do not change.
        seed: seed of latents and labels.
        truncation: as in ``GenerativeMethod.draw_latents``.
    """
    device = next(method.generator.parameters()).device
    norms = [layer for layer in method.generator.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all passes
        norm.train()
    for number in range(PASSES):
        random = torch.Generator().manual_seed(derive_seed(seed, "standing", number))
        z = method.draw_latents(BATCH, random, truncation=truncation)
        label = torch.randint(method.data.classes, (BATCH,), generator=random) if method.data.classes else None
        with as_rank(0, 1):  # each process samples on its own
            method.generate(z.to(device), None if label is None else label.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
