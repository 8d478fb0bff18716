"""The models that a server offers, loaded once: a name for each, and how each direction is translated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from i2i.config.schema import Device, Precision
from i2i.data.stored import PLAIN, Held, can_hold
from i2i.device import use_kept_threads
from i2i.inference.choosing import choose_way
from i2i.inference.load import load
from i2i.inference.plan import Format, Plan, usual_format
from i2i.inference.sampler import Sampler
from i2i.inference.translator import Translator
from i2i.inference.views import require_images
from i2i.inference.work import Work
from i2i.storage.runs import RunFolder, model_file
from i2i.tiling.settings import AUTO


@dataclass(frozen=True)
class Served:
    """A model.

    Attributes:
        name: by which requests ask for it.
        path: of its weights, or of the exported file.
        model: what computes.
        ways: how each direction is translated; none for a model that generates images from noise.
    """

    name: str
    path: Path
    model: Translator | Sampler
    ways: Mapping[str, Work]

    def takes(self, direction: str) -> Held:
        """What the images that it translates hold."""
        way = self.ways[direction]
        depth, channels = way.translator.depths(direction)[0], way.translator.channels(direction)[0]
        return PLAIN if depth.is_plain else Held(depth.kind, channels)

    def gives(self, direction: str) -> Held:
        """What its translations hold."""
        way = self.ways[direction]
        return Held(way.translator.depths(direction)[1].kind, way.translator.channels(direction)[1])

    def writes(self, direction: str) -> Format:
        """The format of its translations."""
        return usual_format(self.ways[direction].translator, direction)

    @property
    def has_answers(self) -> bool:
        """Whether an image has several translations."""
        return isinstance(self.model, Translator) and self.model.has_noise

    @property
    def shown_directions(self) -> list[str]:
        """Those whose inputs a browser can send as an image; others take arrays, by REST alone."""
        held = {direction: self.takes(direction) for direction in self.ways}
        return [name for name, each in held.items() if each == PLAIN or can_hold(".png", *each)]


def load_models(runs: Sequence[Path], *, device: Device, precision: Precision, max_pixels: int) -> dict[str, Served]:
    """The models by name, in the order of ``runs``; by default that of the newest run.

    Raises:
        WeightsError: no such file, or neither a weight file of i2i nor exported by it.
        DataError: no run under runs/, or onnxruntime is not installed.
        ConfigError: the device or the precision is not one that a model has, or it generates points and not images.
    """
    served: dict[str, Served] = {}
    for run in runs or [model_file(None)]:
        path, model = model_file(run), load(run, device=device)
        name = _free_name(path, served)
        if isinstance(model, Sampler):
            require_images(model)
            served[name] = Served(name, path, model, {})
        else:
            served[name] = Served(name, path, model, _ways(model, precision, max_pixels))
    return served


def _free_name(path: Path, taken: Mapping[str, Served]) -> str:
    """The name of a run's folder, or of another file, with a number where another model has it."""
    run = RunFolder(path.parent)
    name = path.absolute().parent.name if path in (run.model, run.best) else path.stem
    others = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(each for each in (name, *others) if each not in taken)


def _ways(translator: Translator, precision: Precision, max_pixels: int) -> dict[str, Work]:
    """As `i2i translate` takes them for a single image."""
    if translator.fastest is not None and precision == "auto":
        use_kept_threads(translator.fastest.threads)
    ways = {}
    for direction in translator.directions:
        work = Work(translator, direction, None, AUTO, max_pixels, {}, overwrite=False)
        if precision == "bf16":  # there are no images yet to say how far it is from fp32
            way = translator.faster(direction, precision)
        else:
            _, way = choose_way(work, Plan([], None), precision)
        ways[direction] = replace(work, translator=way)
    return ways
