"""Experiments from the theory of adversarial training: one module each, which compares results with closed forms.

To add an experiment, add a module whose function of the same name maps a seed to ``Findings``, and a line in
``EXPERIMENTS``. The command's help needs this package, so importing it imports neither torch nor matplotlib.
"""

from __future__ import annotations

EXPERIMENTS = {
    "nash": "the equilibrium of the first GAN, and its optimal discriminator",
    "divergences": "KL, Jensen-Shannon, total variation and earth mover as two distributions move apart",
    "transport": "the earth mover's distance between two histograms, shown as moved bars",
    "saturation": "the gradients of a discriminator and two critics between two Gaussians",
    "modes": "which methods cover all eight Gaussians: GAN, unrolled GAN, WGAN-GP",
    "gradients": "deep critics under weight clipping and the gradient penalty, layer by layer",
    "surfaces": "critic values under weight clipping and the gradient penalty, on three toy sets",
}
"""What each experiment shows, by name."""
