"""The outputs of a model for held-out images, and what they are held against."""

from __future__ import annotations

from collections.abc import Sequence

from i2i.batch import Domain
from i2i.data.depth import as_shown
from i2i.data.images import Pixels
from i2i.device import is_out_of_memory
from i2i.display import tracked
from i2i.errors import DataError
from i2i.evaluation.evaluated import Evaluated
from i2i.evaluation.features.base import FeatureNetwork
from i2i.evaluation.held_out import HeldOut
from i2i.evaluation.images import ImageSet, in_chunks
from i2i.inference.batching import BATCH_PIXELS
from i2i.inference.sampler import BATCH, Sampler
from i2i.inference.together import Together
from i2i.inference.translator import Translator
from i2i.methods.translation import B_TO_A

BATCH_IMAGES = 32
"""The most of a batch: processes share batches, so that a figure does not depend on their number."""
SAMPLES = "samples"
"""What the direction of images from noise is called."""


def directions_of(model: Translator | Sampler) -> tuple[str, ...]:
    """The directions in which a model is evaluated."""
    return model.directions if isinstance(model, Translator) else (SAMPLES,)


def domains_of(direction: str, held_out: HeldOut) -> tuple[Domain | None, Domain]:
    """The domain that a direction comes from, and the one that it leads to."""
    if "B" not in held_out.sides:
        return None, "A"
    return ("B", "A") if direction == B_TO_A else ("A", "B")


def held_against(
    outputs: ImageSet, direction: str, held_out: HeldOut, network: FeatureNetwork | None, seed: int
) -> Evaluated:
    """Outputs with the held-out images that they are compared with."""
    source, target = domains_of(direction, held_out)
    given = None if source is None else held_out.sides[source]
    wanted = held_out.sides[target]
    return Evaluated(
        outputs=outputs,
        target=wanted.images,
        sources=None if given is None else given.images,
        truth=wanted.images if held_out.paired else None,
        masks=held_out.masks,
        training=wanted.training,
        training_sources=given.training if given is not None and held_out.trains_in_pairs else None,
        network=network,
        seed=seed,
        frames=held_out.frames,
    )


def outputs_of(
    model: Translator | Sampler, direction: str, held_out: HeldOut, seed: int, processes: Together | None = None
) -> ImageSet:
    """The translations of all held-out images, or as many samples as there are held-out images.

    ``processes`` share the work; the first of them gets all outputs, and the others none.

    Raises:
        DataError: not enough memory.
    """
    source, target = domains_of(direction, held_out)
    if isinstance(model, Translator):
        images = held_out.sides[source or target].given
        return ImageSet(translated(model, images, direction, processes), images.labels)
    count = len(held_out.sides[target].images)
    labels = model.labels_for(range(count)) if held_out.labels else None

    def sampled(chunks: Sequence[Sequence[int]]) -> list[list[Pixels]]:
        return [list(model.sample_numbers(numbers, seed=seed)) for numbers in tracked("sampling", len(chunks))(chunks)]

    chunks = list(in_chunks(range(count), BATCH))
    drawn = (processes or Together()).collected(chunks, sampled)
    return ImageSet([pixels for chunk in drawn for pixels in chunk], () if labels is None else labels.tolist())


def translated(
    model: Translator, images: Sequence[Pixels], direction: str | None, processes: Together | None = None
) -> list[Pixels]:
    """The translations of images (H, W, C), as 8-bit images; neighbours of equal shape go through the network together.

    ``processes`` and errors as ``outputs_of``.
    """
    batches: list[list[Pixels]] = []
    for pixels in images:
        last = batches[-1] if batches else []
        area = pixels.shape[0] * pixels.shape[1]
        full = len(last) == BATCH_IMAGES or (len(last) + 1) * area > BATCH_PIXELS
        if not last or full or last[0].shape != pixels.shape:
            batches.append(last := [])
        last.append(pixels)

    def made(own: Sequence[list[Pixels]]) -> list[list[Pixels]]:
        return [_translated(model, batch, direction) for batch in tracked("translating", len(own))(own)]

    return [pixels for batch in (processes or Together()).collected(batches, made) for pixels in batch]


def _translated(model: Translator, batch: list[Pixels], direction: str | None) -> list[Pixels]:
    try:
        depth = model.depths(model.check_direction(direction))[1]
        return [as_shown(made, depth) for made in model.translate_pixels(batch, direction)]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        height, width = batch[0].shape[:2]
        raise DataError(f"not enough memory for images of {width}x{height} on {model.device.type}") from None
