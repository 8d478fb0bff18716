"""The frames of a clip, a video or a folder of images in the order of their names, at the size of a model."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from i2i.batch import Domain
from i2i.data.identity import relative_names
from i2i.data.images import list_images
from i2i.data.layout import ImageFile
from i2i.data.store import ImageStore, Loading, resized
from i2i.display import counted, tracked
from i2i.errors import ConfigError, DataError
from i2i.evaluation.held_out import HeldOut, Side, Wanted, digest_of_images
from i2i.evaluation.images import BUDGET, ImageSet, shown_as_8_bit, with_channels
from i2i.inference.outputs import digest_of_file
from i2i.inference.video import frames_of
from i2i.needs import is_video

DOMAINS: tuple[Domain, Domain] = ("A", "B")


def read_clip(wanted: Wanted) -> HeldOut:
    """Reads the first ``wanted.count`` frames, as inputs of either direction.

    Raises:
        DataError: no such clip, fewer than two frames, or PyAV is missing.
        ConfigError: a video for a model of other than 8-bit images, or a model that takes no images.
    """
    if wanted.needs == "one domain":
        raise ConfigError("flicker is measured of translations, and this model draws images from noise")
    path = Path(wanted.data.path)
    found = _of_video(path, wanted) if is_video(path) else _of_folder(path, wanted)
    if len(found.sides["A"].images) < 2:
        raise DataError(
            f"{path}: flicker needs two frames, in a video or a folder of images in the order of their names"
        )
    more = found.sides["A"].available - wanted.count
    if more > 0:
        found.notes.append(f"the first {counted(wanted.count, 'frame')}: --count takes more of them")
    return found


def _of_folder(folder: Path, wanted: Wanted) -> HeldOut:
    denied = list[str]()
    files = [ImageFile(path, max_pixels=wanted.data.max_pixels) for path in list_images(folder, denied)]
    own, sides, skipped = files[: wanted.count], dict[Domain, Side](), denied
    loadings = {domain: Loading.of(wanted.images, domain, wanted.image_size) for domain in DOMAINS}
    stores = list[ImageStore]()
    for domain, loading in loadings.items():
        if not stores or loading != stores[0].loading:  # both domains mostly read the same pixels of the files
            stores.append(ImageStore(own, loading, BUDGET, tracked("reading frames", len(own))))
        store = stores[-1]
        values = ImageSet([store[number] for number in range(len(store))], real=True)
        names = list(relative_names(folder, store.images))
        plain = loading.depth.is_plain
        shown = values if plain else shown_as_8_bit(values, loading.depth)
        sides[domain] = Side(shown, names, None, len(files), None if plain else values)
        skipped += [line for line in map(str, store.skipped) if line not in skipped]
    return _clip(folder, sides, digest_of_images({"A": (list(relative_names(folder, own)), own)}), skipped)


def _of_video(path: Path, wanted: Wanted) -> HeldOut:
    if not wanted.images.is_plain:
        raise ConfigError(f"{path}: videos need a model of 8-bit images, and this is none: give a folder of frames")
    size, fit = wanted.image_size, wanted.images.fit
    frames = [
        resized(pixels, size, fit) for pixels in islice(frames_of(path, wanted.data.max_pixels), wanted.count + 1)
    ]
    available, frames = len(frames), frames[: wanted.count]
    sides = dict[Domain, Side]()
    for domain in DOMAINS:
        channels = Loading.of(wanted.images, domain, size).channels
        images = ImageSet([with_channels(pixels, channels) for pixels in frames], real=True)
        sides[domain] = Side(images, [str(number) for number in range(len(frames))], None, available)
    return _clip(path, sides, digest_of_file(path)[1], [])


def _clip(path: Path, sides: dict[Domain, Side], digest: str, skipped: list[str]) -> HeldOut:
    return HeldOut(
        title=str(path),
        split="frames",
        sides=sides,
        paired=False,
        trains_in_pairs=False,
        labels=(),
        digest=digest,
        skipped=skipped,
        notes=[],
        frames=True,
    )
