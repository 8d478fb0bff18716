"""Which metrics are measured, and of which images: outputs, and real images and inputs in their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from i2i.errors import ConfigError, did_you_mean
from i2i.evaluation.evaluated import Evaluated, Figure
from i2i.evaluation.images import ImageSet, with_channels
from i2i.evaluation.metrics.base import Metric


def choose(named: Sequence[str] | None, task: str | None = None) -> list[Metric]:
    """The metrics of these names, or those that are measured by default; and those of a task.

    Raises:
        ConfigError: there is no such metric or task.
    """
    found = Metric.found()
    tasks = sorted({metric.task for metric in found.values() if metric.task is not None})
    if task is not None and task not in tasks:
        raise ConfigError(f"there is no task {task!r}; known: {', '.join(tasks)}")
    for name in named or ():
        if name not in found:
            known = ", ".join(sorted(found))
            raise ConfigError(f"there is no metric {name!r}{did_you_mean(name, list(found))}; known: {known}")
    chosen = [name for name, metric in found.items() if metric.by_default] if named is None else list(named)
    chosen += [name for name, metric in found.items() if task is not None and metric.task == task]
    return [found[name]() for name in sorted(dict.fromkeys(chosen), key=_order)]


def _order(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


ORDER = (
    "l1",
    "l1_not_white",
    "psnr",
    "ssim",
    "ms_ssim",
    "lpips",
    "kid",
    "fid",
    "swd",
    "precision",
    "recall",
    "alignment",
)
"""In which tables show the metrics; others follow by name."""


def measured(
    metrics: Iterable[Metric], images: Evaluated, *, named: bool, unavailable: dict[str, str]
) -> dict[str, Figure]:
    """The figures of ``images`` by their names; why one is missing is put into ``unavailable``.

    Args:
        metrics: what is measured.
        images: what of.
        named: whether somebody has asked for these metrics; else those that need a word of caution are left out.
        unavailable: takes the reasons.
    """
    figures = {}
    for metric in metrics:
        reason = metric.lacking(images) or (None if named else metric.caution(images))
        if reason is None:
            figures[metric.title(images)] = metric.measure(images)
        else:
            unavailable[metric.title(images)] = reason
    return figures


def real_in_place_of_outputs(metric: Metric, images: Evaluated) -> Evaluated | None:
    """Real images against real ones, in equal number; None where there are none to take."""
    if metric.real == "target":
        return images.with_outputs(images.target)
    if metric.real == "truth":
        return None if images.truth is None else images.with_outputs(images.truth)
    count = len(images.outputs)
    few = None if images.training is None else images.training.few(count)
    if few is not None and len(few) == count:
        return images.with_outputs(few)
    return Evaluated(_half(images.target, 0), _half(images.target, 1), network=images.network, seed=images.seed)


def _half(images: ImageSet, start: int) -> ImageSet:
    return images.once(("half", start), lambda own: own.part(range(start, len(own), 2)))


def inputs_in_place_of_outputs(images: Evaluated) -> Evaluated | None:
    """The inputs, unchanged but for their channels; None for samples."""
    if images.sources is None:
        return None
    channels = images.target[0].shape[2]
    if images.sources[0].shape[2] == channels:
        return images.with_outputs(images.sources)
    copies = images.sources.once(("channels", channels), lambda own: _with_channels(own, channels))
    return images.with_outputs(copies)


def _with_channels(images: ImageSet, channels: int) -> ImageSet:
    return ImageSet([with_channels(pixels, channels) for pixels in images], images.labels, real=True)
