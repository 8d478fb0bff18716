"""The theory of adversarial training, runnable: each experiment is one module, with the closed form beside it.

Adding an experiment is adding a module here whose function of the same name maps a seed to ``Findings``, and a line to
``EXPERIMENTS``. Importing this package imports no torch and no matplotlib: the command's help is made from it.
"""

from __future__ import annotations

EXPERIMENTS = {
    "nash": "the first GAN's equilibrium, and its best discriminator",
    "divergences": "KL, Jensen-Shannon, total variation and earth mover as two distributions move apart",
    "transport": "the earth mover's distance between two histograms, as bars that are moved",
    "saturation": "a discriminator and two critics between two Gaussians: which one still has a gradient",
    "modes": "which method finds all of eight Gaussians: GAN, unrolled GAN, WGAN-GP",
    "gradients": "deep critics under weight clipping and under the gradient penalty, layer by layer",
    "surfaces": "the values of critics under clipping and under the penalty, on three toy sets",
}
"""What each experiment shows, by name."""
