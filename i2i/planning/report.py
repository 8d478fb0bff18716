"""``--dry-run``: what steps would take on a device, whether that fits, and what would bind them there.

All of it is computed from the shapes, types and lifetimes of tensors; no device is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from i2i.build import check_buildable
from i2i.config.resolve import changed
from i2i.config.schema import Config, Precision, to_yaml
from i2i.device import available_devices, cpu_computes_in_bf16
from i2i.errors import ConfigError
from i2i.methods.base import Method
from i2i.planning.apart import on_stage
from i2i.planning.fitting import MOST, Resized, largest_batch, largest_size
from i2i.planning.hardware import GPUS, LAUNCH
from i2i.planning.memory import Peak
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.roofline import bound
from i2i.planning.stage import Stage, stage_for
from i2i.planning.work import Work
from i2i.storage.weights import parameter_count
from i2i.training.augmenting import settled_augmentation
from i2i.training.dry_run import describe_run
from i2i.training.fitting_batch import SHARE, fitting
from i2i.training.settling import data_of

ELSEWHERE = ("cuda",)
"""Devices that a plan can be made for where they are not."""
GIB = 2**30


def describe(resized: Resized, memory: int | None) -> list[str]:
    """What a run would be; where its device is here, with what some real steps took.

    Args:
        resized: the configuration by image size; its own for 0. A function that can be sent to another process.
        memory: the bytes that there are; without them nothing is said of what fits.

    Raises:
        ConfigError, DataError: as training would.
    """
    config = resized(0)
    training = config.training
    if training.device not in ELSEWHERE or training.device in available_devices():
        training, lines = describe_run(config)
        resized = partial(with_batch, resized, training.batch_size)
        return [*lines, *on_stage(training.device, plans, resized, training.device, training.precision, memory)]
    if training.fills_memory:
        resized = partial(with_batch, resized, _batch_for(resized, memory))
        config = resized(0)
    precision: Precision = "bf16" if training.precision == "auto" else training.precision
    said = f"{'device':<18} {training.device}, which is not here: the rest is computed and not measured"
    return [*to_yaml(config).split("\n"), said, *plans(resized, training.device, precision, memory)]


def with_batch(resized: Resized, batch: int, size: int) -> Config:
    """The configuration at a size, with this batch size."""
    return changed(resized(size), {"training.batch_size": batch})


def _batch_for(resized: Resized, memory: int | None) -> int:
    """The batch that fills the memory of a device that is not here, as that of one that is here would be filled."""
    if memory is None:
        raise ConfigError("training.batch_size auto fills memory that is not here: add --memory 8GB")
    config = changed(with_known_data(resized)(0), {"training.batch_size": 1})
    room = int(SHARE * (memory - images_on_device(config)(config)))
    batch, *_ = fitting(changed(config, {"training.precision": "fp32"}), room, MOST)
    if not batch:
        raise ConfigError(f"training.batch_size auto: no batch fits into {_gib(memory)} GiB")
    return batch


def plans(resized: Resized, device: str, precision: Precision, memory: int | None) -> list[str]:
    """The lines of the plan in a precision, and in the one beside it."""
    known = with_known_data(resized)
    images = images_on_device(known(0))
    lines: list[str] = []
    for each in _precisions(device, precision):
        plan = Plan.made(partial(settled, known, each), device, memory, images)
        if device != "cpu":
            lines += plan.networks() if not lines else []
            lines += plan.bounds()
        lines += plan.memory_lines()
    return lines


@dataclass(frozen=True)
class Plan:
    """What a configuration takes on a device.

    Attributes:
        config: it, in one precision.
        stage: what plays the device.
        rehearsal: its steps.
        peak: their memory.
        work: what there is to compute in a step.
        memory: the bytes that there are, where that is known.
        largest: the largest batch and the largest image that fit into them.
    """

    config: Config
    stage: Stage
    rehearsal: Rehearsal
    peak: Peak
    work: Work
    memory: int | None
    largest: tuple[int, int] | None

    @classmethod
    def made(cls, resized: Resized, device: str, memory: int | None, images: Callable[[Config], int]) -> Plan:
        """The plan for ``resized(0)``; ``images`` gives what ``images_on_device`` does."""
        config, stage = resized(0), stage_for(device)
        rehearsal = Rehearsal(config, stage, images(config))
        (peak, work), largest = rehearsal.step(), None
        if memory is not None:
            room = memory - stage.context
            batch = largest_batch(lambda count: rehearsal.peak(count).total, config.training.batch_size, room)

            def needed(other: Config) -> int:
                return Rehearsal(other, stage_for(device), images(other)).peak().total

            largest = batch, largest_size(needed, resized, config.image_size, peak, room)
        return cls(config, stage, rehearsal, peak, work, memory, largest)

    def networks(self) -> list[str]:
        """The networks, with how many parameters each has."""
        return [
            f"{name:<18} {parameter_count(network) / 1e6:.3f} M parameters"
            for name, network in self.rehearsal.engine.method.named_children()
            if parameter_count(network)
        ]

    def memory_lines(self) -> list[str]:
        """The peak by kind, and what fits."""
        training, size = self.config.training, self.config.image_size
        need = self.peak.total + self.stage.context
        kinds = ", ".join(f"{kind} {_gib(value)}" for kind, value in self.peak.by_kind.items() if value >= 0.005 * need)
        lines = [
            f"{'memory in ' + training.precision:<18} {_gib(need)} GiB estimated, a batch of {training.batch_size} "
            f"at {size} px",
            f"{'':<18} {kinds}; {self.stage.allowance} {_gib(self.stage.context)}",
        ]
        if self.memory is not None and self.largest is not None:
            batch, side = self.largest
            verdict = "fits into" if need <= self.memory else "does not fit into"
            lines.append(
                f"{'':<18} {verdict} {_gib(self.memory)} GiB; largest batch at {size} px: {batch or 'none'}; "
                f"largest image with a batch of {training.batch_size}: {f'{side} px' if side else 'none'}"
            )
        return lines

    def bounds(self) -> list[str]:
        """The shortest time of a step on each GPU whose data sheet is known."""
        work, precision = self.work, self.config.training.precision
        lines = [
            f"{'step in ' + precision:<18} {work.flop / 1e9:,.0f} GFLOP, {work.bytes / 1e9:,.1f} GB moved, "
            f"{work.kernels:,} kernels; bounds from data sheets, not measured (launches of {LAUNCH * 1e6:g} us):"
        ]
        for gpu in GPUS:
            least = bound(work, gpu, precision)
            if least is None:
                lines.append(f"{'':<18} {gpu.name:<10} does not compute in {precision}")
                continue
            parts = ", ".join(f"{part} {1e3 * seconds:.1f}" for part, seconds in least._asdict().items())
            lines.append(f"{'':<18} {gpu.name:<10} at least {1e3 * least.seconds:.1f} ms, by {least.binding} ({parts})")
        return lines


def _precisions(device: str, precision: Precision) -> list[Precision]:
    """The wanted one, and the other that the device computes well in."""
    others: list[Precision] = ["bf16", "fp32"] if device != "cpu" or cpu_computes_in_bf16() else []
    return [precision, *[other for other in others if other != precision][:1]]


def settled(resized: Resized, precision: Precision, size: int) -> Config:
    """The configuration at a size, in a resolved precision."""
    return changed(resized(size), {"training.precision": precision})


def with_known_data(resized: Resized) -> Resized:
    """The same with all that is left to the data, whose files are listed and not decoded.

    That is channels and labels, and whether discriminators see their images augmented.
    """
    config = resized(0)
    method = Method.named(config.method["name"])
    if method.needs != "one domain" and config.discriminator_augmentation.mode != "auto":
        return resized
    data = data_of(config)
    found = {"channels_a": data.config.channels_a, "labels": data.config.labels}
    augmentation = settled_augmentation(config, check_buildable(config), data.smallest())

    def known(size: int) -> Config:
        other = resized(size)
        settled = {"data": other.data.model_copy(update=found), "discriminator_augmentation": augmentation}
        return other.model_copy(update=settled)

    return known


def images_on_device(config: Config) -> Callable[[Config], int]:
    """How many bytes of a device the images of a run take for good, by its configuration at any size.

    With ``data.on_device`` one image of each side of a batch is decoded, else none.
    """
    if not config.data.on_device:
        return lambda other: 0
    kept = data_of(config).bytes_on_device
    return lambda other: round(kept * (other.data.load_size / config.data.load_size) ** 2)


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"
