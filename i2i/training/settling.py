"""What a run settles before it begins, from its configuration, the machine and the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import PartialState

from i2i.build import check_buildable
from i2i.config.resolve import changed
from i2i.config.schema import Config
from i2i.data.identity import ImageList
from i2i.data.load import load_training_set
from i2i.data.training_set import TrainingData
from i2i.data.transforms import require_transforms
from i2i.device import resolve_device, resolve_precision, use_threads
from i2i.errors import ConfigError
from i2i.methods.base import Method
from i2i.training.augmenting import settled_augmentation
from i2i.training.fitting_batch import require_one_process, with_fitting_batch
from i2i.training.least_memory import require_memory_for


@dataclass(frozen=True)
class Settled:
    """What a run is trained with.

    Attributes:
        config: without any "auto".
        device: where it computes.
        data: what it learns from.
    """

    config: Config
    device: torch.device
    data: TrainingData


def settle(wanted: Config, processes: PartialState, *, listed: ImageList | None) -> Settled:
    """Chooses what ``wanted`` leaves open, and reads the data; what can be refused without the data is, before.

    Args:
        wanted: the resolved configuration.
        processes: those that train the run.
        listed: the images of a run that goes on.

    Raises:
        ConfigError: settings that do not fit each other, the data or the machine.
        DataError: no usable data.
    """
    device = resolve_device(wanted.training.device, processes.local_process_index)
    config = _on_machine(wanted, device, processes.num_processes)
    require_transforms([augmentation.model_dump() for augmentation in config.data.augment])
    method = check_buildable(config)
    require_memory_for(config, method, device, processes.num_processes)
    with processes.main_process_first():
        data = data_of(config, listed=listed)
    if wanted.training.precision == "auto" and not data.config.images.is_plain:
        config = changed(config, {"training.precision": "fp32"})  # a 16-bit step is finer than those of bf16
    found = {
        "data": data.config.absolute(),
        "discriminator_augmentation": settled_augmentation(config, method, data.smallest()),
    }
    config = config.model_copy(update=found)
    if config.data.on_device:
        data.tables.require_room(device)
    if wanted.training.fills_memory:
        config = with_fitting_batch(config, device, data)
    return Settled(config, device, data)


def data_of(config: Config, *, listed: ImageList | None = None) -> TrainingData:
    """What a run of ``config`` learns from; ``listed`` and errors as in ``settle``."""
    method = Method.named(config.method["name"])
    return load_training_set(
        config.data,
        method.needs,
        image_size=config.image_size,
        labels=method.uses_labels(config.method),
        masks=method.uses_masks(config.method),
        pairs=method.uses_pairs(config.method),
        input_domain=method.input_domain(config.method),
        listed=listed,
    )


def _on_machine(wanted: Config, device: torch.device, processes: int) -> Config:
    """Settles what depends on the machine alone; a batch that fills the memory is one image until the data is known."""
    training = wanted.training
    settled = {
        "precision": resolve_precision(training.precision, device),
        "device": device.type,
        "threads": use_threads(training.threads, device),
    }
    if training.fills_memory:
        require_one_process(processes)
        settled["batch_size"] = 1
    config = changed(wanted, {"training": settled})
    if config.training.batch_size % processes:
        raise ConfigError(
            f"training.batch_size {config.training.batch_size} is not a multiple of the {processes} processes that "
            "share it"
        )
    return config
