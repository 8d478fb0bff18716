"""What the numbers of images alone say of a training, before there is a run."""

from __future__ import annotations

from i2i.data.check import CheckReport
from i2i.methods.base import Method
from i2i.methods.generative import GenerativeMethod
from i2i.methods.translation import PairedTranslation

UNEQUAL = 3
"""Where a domain has so many times the images of the other, it is said how often an epoch shows them."""


def advice(report: CheckReport) -> list[str]:
    """A line for each thing to know, in the form of the report's lines; none where there are images enough."""
    counts = report.training
    smaller, larger = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    times, lines = round(counts[larger] / max(counts[smaller], 1)), list[str]()
    if times >= UNEQUAL:
        lines.append(
            f"unequal    {times} times as many{larger} as{smaller}: an epoch shows each image{larger} once, and each"
            f"{smaller} about {times} times"
        )
    needed, kind = Method.few_images, "unpaired recipes need"
    if len(counts) == 1:
        needed, kind = GenerativeMethod.few_images, "recipes need that draw from noise"
    elif report.in_pairs:
        needed, kind = PairedTranslation.few_images, "pix2pix needs"
    if counts[smaller] < needed:
        only = f", above all that of{smaller.removeprefix(' in')}" if times >= UNEQUAL else ""
        lines.append(
            f"few        {counts[smaller]:,}{smaller}, below the {needed:,} that {kind}: discriminators learn them by "
            f"heart{only}; train with --set discriminator_augmentation.mode=adaptive"
        )
    return lines
