"""How files are translated: all that the outputs of a command follow from, beside the files themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path

from i2i.data.carried import require_alpha
from i2i.data.on_disk import DiskImage
from i2i.inference.inputs import Input, Reader
from i2i.inference.outputs import FileResult, Job
from i2i.inference.precision import Distance
from i2i.inference.translator import Translator
from i2i.kinds import AnyPixels
from i2i.tiling.settings import Tiles


@dataclass(frozen=True)
class Work:
    """How files are translated; ``decisive`` is what makes two translations of one file differ.

    ``overwrite``: whether a file that has come to an output's place since it was found to be free may be replaced; in a
    folder, that follows from its report. ``distance``: from fp32, where that has been measured. ``alpha``: whether
    outputs take over that of their inputs.
    """

    translator: Translator
    direction: str
    seed: int | None
    tiles: Tiles
    max_pixels: int
    decisive: Mapping[str, str | int | None]
    overwrite: bool
    distance: Distance | None = None
    alpha: bool = False

    def require_alpha(self, targets: Iterable[Path]) -> None:
        """Raises ConfigError where the files of outputs cannot take over the alpha of their inputs."""
        plain = all(depth.is_plain for depth in self.translator.depths(self.direction))
        require_alpha(targets, self.translator.channels(self.direction)[1], plain=plain)

    def seed_of(self, sample: int | None) -> int | None:
        """The seed of an answer by its number, or of the only one; None where the translator takes its own."""
        return self.seed if sample is None else self.translator.seed_of_sample(sample, self.seed)

    @cached_property
    def request(self) -> str:
        """A digest of ``decisive``; of several answers, the name of an output has the number."""
        return sha256(json.dumps(dict(self.decisive), sort_keys=True).encode()).hexdigest()

    @property
    def reader(self) -> Reader:
        """Reads the inputs."""
        channels, _ = self.translator.channels(self.direction)
        depth, _ = self.translator.depths(self.direction)
        takes_tiles = partial(self.translator.takes_tiles, direction=self.direction, tiles=self.tiles)
        background = self.translator.config.images.background
        return Reader(channels, depth, background, self.max_pixels, self.alpha, takes_tiles)

    def result(self, job: Job, output: str | None, error: str | None = None) -> FileResult:
        """The result of ``job``, without digests."""
        drawn = None if job.sample is None else self.seed_of(job.sample)
        return FileResult(str(job.source), output, error, request=self.request, sample=job.sample, seed=drawn)

    def translated(
        self, batch: Sequence[Input], sample: int | None = None
    ) -> tuple[Sequence[AnyPixels | DiskImage], int | None]:
        """The translations of images of one size, and the side of the tiles that they were translated by.

        Args:
            batch: the images.
            sample: the number of the answer, where there are several.

        Raises:
            RuntimeError, DataError: as ``Translator.translate_images``.
        """
        images, names = [item.pixels for item in batch], [item.job.source.name for item in batch]
        seed = self.seed_of(sample)
        return self.translator.translate_images(images, self.direction, self.tiles, seed=seed, names=names)


def decisive_of(translator: Translator, direction: str, seed: int | None, tiles: Tiles) -> dict[str, str | int | None]:
    """What the output for a file follows from, beside its precision."""
    own = translator.config.inference.seed
    drawn = (own if seed is None else seed) if translator.has_noise else None
    return {"weights": translator.digest, "direction": direction, "seed": drawn, **tiles.decisive}
