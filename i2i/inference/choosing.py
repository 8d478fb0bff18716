"""The way in which files are translated: as before, as ``i2i bench`` found, or as their first images allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from i2i.config.schema import Precision
from i2i.data.on_disk import DiskImage
from i2i.display import say
from i2i.errors import DataError
from i2i.inference.inputs import Reader
from i2i.inference.outputs import Job, reported
from i2i.inference.plan import Plan
from i2i.inference.precision import Choice, choose, kept
from i2i.inference.together import Together
from i2i.inference.translator import Translator
from i2i.inference.work import Work
from i2i.kinds import AnyPixels


def in_precision(work: Work, planned: Plan, wanted: Precision, processes: Together) -> Work:
    """The work in the precision that the first process chooses."""
    made: dict[Choice, Translator] = {}  # the first process has it already

    def chosen() -> Choice:
        choice, taken = choose_way(work, planned, wanted)
        made[choice] = taken
        return choice

    choice = processes.told(chosen)
    fast = made.get(choice) or work.translator.faster(work.direction, choice.precision, choice.layers)
    found = {"precision": choice.precision} | ({"layers": choice.layers} if choice.layers else {})
    return replace(work, translator=fast, decisive={**work.decisive, **found}, distance=choice.distance)


def choose_way(work: Work, planned: Plan, wanted: Precision) -> tuple[Choice, Translator]:
    """How to translate, and what does so.

    As an earlier translation into the folder, as ``i2i bench`` found, or by the first images that can be read.
    """
    translator, direction = work.translator, work.direction
    deep = not all(depth.is_plain for depth in translator.depths(direction))
    if wanted == "auto" and (deep or translator.is_fixed):
        return Choice("fp32"), translator.faster(direction, "fp32")  # a step of 16 bits is finer than those of bf16
    earlier = None if planned.folder is None else kept(reported(planned.folder), work.decisive)
    measured = None if translator.fastest is None else translator.fastest.choices.get(direction)
    known = earlier or measured
    if wanted == "auto" and known is not None:
        if known is not earlier:
            say(f"{known.layers} layers in {known.precision}, which i2i bench found to be fastest")
        return known, translator.faster(direction, known.precision, known.layers)
    # By the files, not by their answers: each of several answers is as if it were asked for alone.
    of_sources = {job.source: job for job in planned.jobs}
    images = _readable(of_sources.values(), work.reader)
    choice, taken = choose(translator, direction, wanted, images, len(of_sources), work.seed)
    if choice.distance is not None:
        say(str(choice))
    return choice, taken


def _readable(jobs: Iterable[Job], reader: Reader) -> Iterator[AnyPixels | DiskImage]:
    """The pixels of those that can be read."""
    for job in jobs:
        with suppress(DataError):
            yield reader.read(job).pixels
