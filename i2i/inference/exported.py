"""Translates with an exported ONNX file in the place of a network; images are prepared and written as with weights."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from i2i.batch import DataSpec
from i2i.config.schema import Depth, Device, ImageConfig, InferenceConfig, ModelConfig, Precision
from i2i.data.batches import to_unit
from i2i.data.ranges import Values
from i2i.display import tracked
from i2i.errors import ConfigError, WeightsError
from i2i.inference.memory import MemoryForImages
from i2i.inference.translator import Translator
from i2i.inference.ways import Layers
from i2i.inference.windows import Windows
from i2i.methods.imported import Imported
from i2i.methods.translation import Direction
from i2i.networks.at_inference import SeededLayer
from i2i.networks.base import Translator as Network
from i2i.runtime import About, OnnxTranslator
from i2i.tiling.boxes import Box
from i2i.tiling.settings import Tiles


class UnitWindowsOf:
    """Windows as arrays (1, C, h, w) in [-1, 1]."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self.height, self.width = windows.height, windows.width

    def read(self, box: Box) -> Values:
        values: Values = to_unit(self._windows.read(box)[None], torch.device("cpu")).numpy()
        return values

    def write(self, box: Box, made: Values) -> None:
        self._windows.write(box, torch.from_numpy(made)[0].permute(1, 2, 0))


class ExportedGenerator(Network):
    """The graph of a file.

    Attributes:
        seeded: has the seed of all that is drawn; None where nothing is.
    """

    def __init__(self, graph: OnnxTranslator) -> None:
        super().__init__()
        self.multiple, self.minimum = graph.about.multiple, graph.about.minimum
        self.seeded = SeededLayer(graph.about.seed, "") if graph.about.draws else None
        self._graph = graph

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W), of sizes that it takes."""
        seed = None if self.seeded is None else self.seeded.seed
        return torch.from_numpy(self._graph.translate(x.numpy(), seed=seed))


class ExportedMethod(Imported):
    """The one direction of a file; its inputs are domain A."""

    def __init__(self, about: About, generator: ExportedGenerator) -> None:
        super().__init__(DataSpec(about.image_size, *about.channels), generator=lambda *_: generator)
        self._direction = about.direction

    def directions(self) -> dict[str, Direction]:
        (only,) = super().directions().values()
        return {self._direction: only}


class ExportedTranslator(Translator):
    """Runs a file, on the CPU and as it was exported."""

    is_fixed: ClassVar[bool] = True

    def __init__(self, graph: OnnxTranslator) -> None:
        """Raises ValueError for a file that says something impossible of itself."""
        method = ExportedMethod(graph.about, ExportedGenerator(graph))
        super().__init__(method, config_of(graph.about), graph.about.step, torch.device("cpu"))
        self.memory = MemoryForImages(self.method, self.device, lambda direction: graph.about.bytes_of_a_pixel)
        self._digest, self._graph = graph.digest, graph

    @property
    def digest(self) -> str:
        """The digest of the file."""
        return self._digest

    def faster(self, direction: str, precision: Precision, layers: Layers | None = None) -> Translator:
        """The same: an exported file computes as it was exported.

        Raises:
            ConfigError: another precision.
        """
        if precision != "fp32":
            raise ConfigError(f"precision {precision}: an exported file computes as it was exported; leave it out")
        return self

    def _by_tiles(self, image: Windows, direction: str, tiles: Tiles, seed: int | None, name: str) -> None:
        tiled = self._graph.tiled(UnitWindowsOf(image), tiles, seed=seed)
        for _ in tracked(f"tiles of {name}", tiled.steps)(tiled.work()):
            pass

    def has_parts(self, direction: str) -> bool:
        return bool(self._graph.about.parts)

    def _has_whole_norms(self, direction: str) -> bool:
        return any(part.norms for part in self._graph.about.parts or ())

    def _require_parts(self, direction: str) -> None:
        self._graph.require_tiles()


def config_of(about: About) -> ModelConfig:
    """The configuration of the model in a file, as far as it says it.

    Raises:
        ValueError: it says something impossible.
    """
    given, made = (Depth(kind=each.kind, low=each.low, high=each.high) for each in (about.given, about.made))
    images = ImageConfig(
        channels_a=about.channels[0],
        channels_b=about.channels[1],
        depth_a=given,
        depth_b=made,
        background=about.background,
    )
    return ModelConfig(
        arch=about.arch,
        image_size=about.image_size,
        images=images,
        method={"name": ExportedMethod.name},
        networks={},
        inference=InferenceConfig(seed=about.seed),
    )


def load_exported(path: Path, *, device: Device = "auto") -> Translator:
    """The translator in an ONNX file.

    Raises:
        WeightsError: the file is missing, damaged, or was not exported by i2i.
        DataError: onnxruntime is not installed.
        ConfigError: another device than the CPU.
    """
    if device not in ("auto", "cpu"):
        raise ConfigError(f"{path}: exported files run on the CPU, and not on {device}; leave out --device")
    graph = OnnxTranslator(path, threads=torch.get_num_threads())
    try:
        return ExportedTranslator(graph)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: what it says of itself cannot be read ({reason}): export it again") from None
