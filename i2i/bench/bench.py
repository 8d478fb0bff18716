"""``i2i bench``: what is fastest on this machine, for a run or for a recipe on random images.

Of a run, the fastest way to translate that stays close to fp32 on held-out images is kept beside it. How it is trained
is its own and does not change, because a run that goes on is exact.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2i.batch import Domain
from i2i.bench.rows import Table
from i2i.bench.training import time_training
from i2i.bench.translation import choice_of, pick_threads, time_translation, ways_to_translate
from i2i.build import build_method
from i2i.config.schema import Config, Device
from i2i.data.images import Pixels
from i2i.device import machine, resolve_device, use_threads
from i2i.errors import ConfigError, UserError
from i2i.evaluation.held_out import Wanted, read_held_out, whereabouts
from i2i.inference.fastest import Fastest, keep_fastest
from i2i.inference.load import load
from i2i.inference.precision import Choice, middle
from i2i.inference.trained import build_trained
from i2i.inference.translator import Translator
from i2i.methods.base import Method
from i2i.methods.translation import TranslationMethod
from i2i.storage.runs import RunFolder

IMAGES = 6
"""How many images are translated in each way, if there is time."""
TRANSLATION = 0.6
"""The part of the time that translation may take; training has the rest."""


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        tables: of each direction, and of training.
        notes: what follows from them, and what was not done.
        complete: whether all was kept that was to be.
    """

    tables: Sequence[Table]
    notes: Sequence[str]
    complete: bool

    def lines(self) -> list[str]:
        """It for people."""
        return [machine(), *(line for table in self.tables for line in table.lines()), *self.notes]

    def content(self) -> dict[str, Any]:
        """It for programs."""
        return {"machine": machine(), "tables": [table.content() for table in self.tables], "notes": [*self.notes]}


def bench_run(root: Path, device: Device, limit: float, *, compiled: bool) -> Report:
    """Times a run, and keeps the fastest way to translate beside it.

    Raises:
        DataError, WeightsError: not a run with weights, or its folder cannot be written.
        ConfigError: the device is not available.
    """
    run, begin = RunFolder(root), time.monotonic()
    config, model = run.read_config(), load(root, device=device, fastest=False)
    tables, notes, complete = list[Table](), list[str](), True
    if isinstance(model, Translator):
        tables, notes, complete = _translated(run, config, model, TRANSLATION * limit, compiled=compiled)
    training = _training(config, model.device, _rest(limit, begin), compiled=compiled)
    own = f"precision {config.training.precision} and threads {config.training.threads}"
    notes += [f"training: the run keeps {own}, so that it goes on exactly", _advice(training)]
    return Report([*tables, training], notes, complete)


def bench_recipe(config: Config, limit: float, *, compiled: bool) -> Report:
    """Times a recipe, whose channels and labels are known, on random images and with untrained networks.

    Raises:
        ConfigError: settings that do not fit each other or the machine.
    """
    if config.training.fills_memory:
        raise ConfigError("training.batch_size auto is settled when a run starts: give the number that is to be timed")
    device, begin = resolve_device(config.training.device), time.monotonic()
    tables: list[Table] = []
    if issubclass(Method.named(config.method["name"]), TranslationMethod):
        torch.manual_seed(config.training.seed)
        weights = build_method(config.model).inference_state()
        model = Translator(build_trained(config.model, weights, device), config.model, 0, device)
        direction = model.directions[0]
        noise = _noise(config.image_size, model.channels(direction)[0])
        tables, _ = _translation(model, {direction: noise}, TRANSLATION * limit, compiled=compiled)
    training = _training(config, device, _rest(limit, begin), compiled=compiled)
    return Report([*tables, training], [_advice(training)], complete=True)


def _translated(
    run: RunFolder, config: Config, model: Translator, limit: float, *, compiled: bool
) -> tuple[list[Table], list[str], bool]:
    """The tables of a run's directions, what was kept of them, and whether that is all."""
    try:
        config.data.require_there()
        images = {direction: _held_out(config, model, direction) for direction in model.directions}
    except UserError as error:
        noise = {name: _noise(config.image_size, model.channels(name)[0]) for name in model.directions}
        tables, _ = _translation(model, noise, limit, compiled=compiled)
        return tables, [f"nothing is kept, because there are no images to compare outputs of: {error}"], False
    tables, choices = _translation(model, images, limit, compiled=compiled)
    notes = [f"{name}: not kept; more images have to be compared: --max-time" for name in images if name not in choices]
    if choices:
        keep_fastest(run, model, Fastest(choices, tables[0].threads))
        notes.append(f"{run.fastest} is what i2i translate uses from now on")
    return tables, notes, len(choices) == len(images)


def _translation(
    model: Translator, images: Mapping[str, Sequence[Pixels]], limit: float, *, compiled: bool
) -> tuple[list[Table], dict[str, Choice]]:
    """The table of each direction, and its fastest way where enough was compared.

    Of the directions after the first, only those ways are timed that were no slower than the plain one.
    """
    end, first = time.monotonic() + limit, next(iter(images))
    pick_threads(model, first, images[first][0], limit / 4)
    ways, tables, choices = ways_to_translate(model, compiled=compiled), [], {}
    for left, (direction, own) in zip(range(len(images), 0, -1), images.items(), strict=True):
        table, distances = time_translation(model, direction, ways, own, (end - time.monotonic()) / left)
        tables.append(table)
        if choice := choice_of(table, distances):
            choices[direction] = choice
        ways = [row.way for row in table.rows if row is table.rows[0] or (row.times > 1 and not row.way.compiled)]
    return tables, choices


def _training(config: Config, device: torch.device, limit: float, *, compiled: bool) -> Table:
    use_threads("auto", device)
    return time_training(config, device, limit, compiled=compiled)


def _rest(limit: float, begin: float) -> float:
    """The seconds that training may take: those that are left, and its part of them even if translation took more."""
    return max(limit - (time.monotonic() - begin), (1 - TRANSLATION) * limit)


def _advice(table: Table) -> str:
    way = table.fastest.way
    return f"for a new run: --precision {way.precision} --threads {table.threads}"


def _held_out(config: Config, model: Translator, direction: str) -> list[Pixels]:
    """Held-out images at the size of the run; errors as ``read_held_out``."""
    source: Domain = model.method.directions()[direction].source
    wanted = Wanted(
        data=whereabouts(config.data, config.image_size),
        images=config.data.images,
        image_size=config.image_size,
        needs=Method.named(config.method["name"]).needs,
        split="test",
        count=IMAGES,
        pairs=False,
    )
    found = [middle(image, config.image_size) for image in read_held_out(wanted).sides[source].images]
    return [found[number % len(found)] for number in range(IMAGES)]


def _noise(size: int, channels: int) -> list[Pixels]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (size, size, channels), np.uint8) for _ in range(IMAGES)]
