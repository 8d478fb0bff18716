"""A few real images that a model can translate, to compare two forms of it on."""

from __future__ import annotations

from pathlib import Path

from i2i.data.heads import spread
from i2i.data.images import list_images, read_image, read_values
from i2i.errors import ConfigError, DataError
from i2i.evaluation.evaluate import Request, read_subject, wanted_by
from i2i.evaluation.held_out import read_held_out
from i2i.inference.load import load_translator
from i2i.kinds import AnyPixels

COUNT = 20


def real_images(model: Path | None, direction: str | None, images: Path | None) -> list[AnyPixels]:
    """Up to ``COUNT`` images, evenly spread.

    Args:
        model: a run folder or a weight file; the newest run by default.
        direction: of the translation whose inputs they are; the first by default.
        images: a folder of them, or one; by default the held-out images of the data of the run.

    Raises:
        WeightsError: the model cannot be read.
        ConfigError: it does not translate, or does not say where its data lies.
        DataError: there are no images, or one cannot be read.
    """
    translator = load_translator(model, device="cpu")
    direction = translator.check_direction(direction)
    chosen, depth = translator.method.directions()[direction], translator.depths(direction)[0]
    if images is not None:
        paths = [images] if images.is_file() else list_images(images)
        if not paths:
            raise DataError(f"{images} contains no images")
        few, channels = spread(paths, COUNT), chosen.in_channels
        if not depth.is_plain:
            return [read_values(path, depth.kind, channels) for path in few]
        return [read_image(path, channels, translator.config.images.background) for path in few]
    subject = read_subject(model, "cpu")
    if subject.run is None:
        raise ConfigError(
            f"{subject.file} does not say where its data lies: add --images FOLDER, with inputs to compare on"
        )
    held_out = read_held_out(wanted_by(subject, Request(count=COUNT, device="cpu")))
    return list(held_out.sides[chosen.source].given)
