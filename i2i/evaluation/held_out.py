"""The held-out images of a data set at the size of a model, and which of them are partners.

Partners are found by file stem, for unpaired recipes too: they do not train on pairs, and may be measured by them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2i.batch import Domain, Needs
from i2i.config.schema import PLACES, DataConfig, ImageConfig
from i2i.data.collection import Part, find_collection
from i2i.data.heads import spread
from i2i.data.identity import relative_names
from i2i.data.images import Pixels, list_images
from i2i.data.layout import ImageFile, Layout, Split
from i2i.data.masks import folder_of_masks
from i2i.data.points import POINTS
from i2i.data.store import ImageLike, ImageStore, Loading
from i2i.data.two_domains import layout_of
from i2i.display import tracked
from i2i.errors import ConfigError, DataError
from i2i.evaluation.images import BUDGET, ImageSet, RealImages, shown_as_8_bit
from i2i.evaluation.masks import read_masks

PartName = Literal["test", "val"]
Half = Literal["all", "choosing", "reporting"]
"""The held-out images that weights are chosen on, and those that a run with chosen weights is reported on."""
PURPOSES: dict[Half, str] = {
    "all": "",
    "choosing": " to choose weights on, for which one half is there",
    "reporting": " to report on, as weights were chosen on one half",
}
HALVES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@dataclass(frozen=True)
class Wanted:
    """Which held-out images; equal ones are read once.

    Attributes:
        data: where they lie.
        images: how the model takes them.
        image_size: the side that they are brought to.
        needs: what the model learns from.
        split: the part of the data.
        count: how many at most, evenly spread.
        pairs: whether partners are looked for.
        half: all of them, or one half by a hash of their names.
        sub_labels: whether the names of sub-folders are labels of two domains.
    """

    data: DataConfig
    images: ImageConfig
    image_size: int
    needs: Needs
    split: PartName
    count: int
    pairs: bool = True
    half: Half = "all"
    sub_labels: bool = False


@dataclass(frozen=True)
class Side:
    """One domain.

    Attributes:
        images: what is held out, as 8-bit images.
        names: of these, relative to their folder.
        training: what is trained on; None where that is all there is, and ``images`` are of it.
        available: how many there are, of which ``images`` are some.
        values: of ``images``, where these show those of another depth.
    """

    images: ImageSet
    names: list[str]
    training: RealImages | None
    available: int
    values: ImageSet | None = None

    @property
    def given(self) -> ImageSet:
        """The images as a model takes them."""
        return self.images if self.values is None else self.values


@dataclass(frozen=True)
class HeldOut:
    """The domains, item by item where ``paired``; so are their training images where ``trains_in_pairs``.

    Attributes:
        title: what the data is called.
        split: the part of it.
        sides: the domains.
        paired: whether partners are known.
        trains_in_pairs: whether they are known among the training images.
        labels: the names of the labels.
        digest: of names and contents of the held-out images.
        skipped: what could not be read or has no partner, a line each.
        notes: what a person should know of how this was found.
        frames: whether both sides are the frames of one clip, which has no images of another domain.
        masks: how much each pixel of the pairs counts, (H, W, 1), from black to white; None where there are no masks.
    """

    title: str
    split: str
    sides: Mapping[Domain, Side]
    paired: bool
    trains_in_pairs: bool
    labels: tuple[str, ...]
    digest: str
    skipped: list[str]
    notes: list[str]
    frames: bool = False
    masks: ImageSet | None = None


def whereabouts(data: DataConfig, image_size: int) -> DataConfig:
    """The settings of ``data`` that say which images there are, so that models of different recipes see the same."""
    return DataConfig(**data.model_dump(include={*PLACES, "held_out", "max_pixels"}), load_size=image_size).absolute()


def in_half(name: str, half: Half) -> bool:
    """Whether an image of this name, without its suffix, is in a half: partners are in the same."""
    odd = hashlib.sha256(f"half {name}".encode("utf-8", "surrogateescape")).digest()[0] % 2
    return half == "all" or odd == (half == "reporting")


def read_held_out(wanted: Wanted) -> HeldOut:
    """Finds and reads them.

    Raises:
        DataError: there are none, or none can be read.
        ConfigError: points, which are no images.
    """
    if wanted.data.path in POINTS:
        raise ConfigError(f"{wanted.data.path} holds points, and images are evaluated: i2i lab measures points")
    found = _one_domain(wanted) if wanted.needs == "one domain" else _two_domains(wanted)
    if wanted.half == "reporting":
        found.notes.append("reported on one half of the held-out images: on the other, weights were chosen by a metric")
    return found


def _one_domain(wanted: Wanted) -> HeldOut:
    collection = find_collection(wanted.data.path, size=wanted.data.load_size, max_pixels=wanted.data.max_pixels)
    if wanted.split != "test":
        raise DataError(f"{collection.root}: sets of one domain have no part {wanted.split}; leave out --split")
    labels, notes = collection.labels, list[str]()
    if labels != wanted.images.labels:
        if wanted.images.labels:
            notes.append(f"the model has other labels than {collection.root}: nothing is measured by labels")
        labels = ()
    held_out, trained = collection.test, collection.train
    if not held_out.images:
        notes.append(f"{collection.root} holds nothing out: the model is held against images that it was trained on")
        held_out = trained
    loading = Loading.of(wanted.images, "A", wanted.image_size)
    stems = [
        os.path.splitext(name)[0] if isinstance(image, ImageFile) else name  # a record's number is behind the dot
        for image, name in zip(held_out.images, relative_names(collection.root, held_out.images), strict=True)
    ]
    available = [number for number, stem in enumerate(stems) if in_half(stem, wanted.half)]
    chosen = spread(available, wanted.count)
    part = Part([held_out.images[i] for i in chosen], [held_out.labels[i] for i in chosen] if labels else [])
    store = _read(part.images, loading)
    names = list(relative_names(collection.root, store.images))
    training = RealImages(trained.images, loading, trained.labels if labels else ())
    images = ImageSet(store, [part.labels[i] for i in store.numbers] if labels else (), real=True)
    side = Side(images, names, None if held_out is trained else training, len(available))
    return HeldOut(
        title=str(collection.root),
        split="train" if held_out is trained else wanted.split,
        sides={"A": _require(side, collection.root, wanted.half, list(map(str, store.skipped)))},
        paired=False,
        trains_in_pairs=False,
        labels=labels,
        digest=digest_of_images({"A": (names, store.images)}),
        skipped=[*map(str, store.skipped), *collection.denied],
        notes=notes,
    )


def _two_domains(wanted: Wanted) -> HeldOut:
    layout = layout_of(wanted.data, paired=False)
    skipped = list(layout.denied)
    split, roots = _part(layout, wanted, skipped)
    split = _half_of(split, roots, wanted.half)
    if not (split.a and split.b):
        lacking = " and ".join(name for name, files in (("A", split.a), ("B", split.b)) if not files)
        what = f"{wanted.split}A/ and {wanted.split}B/, or --data FOLDER"
        if layout.kind == "folders A and B":
            what = "give more images, another data.held_out, or --data FOLDER with testA/ and testB/"
        half = "" if wanted.half == "all" else f" for {wanted.half}, which is done on half of them"
        raise DataError(f"{wanted.data.title}: no held-out images of {lacking}{half} ({what})")
    strict = wanted.needs == "paired"
    pairs, notes = _pairs(split, roots, strict=strict) if wanted.pairs or strict else ([], [])
    train_roots = layout.folders["train"]
    train_pairs = _pairs(layout.train, train_roots, strict=strict)[0] if pairs else []
    partners = list(pairs)
    if strict and not pairs:
        raise DataError(f"{wanted.data.title}: no held-out file has a partner of the same name")
    if strict:
        used = {path.path for pair in pairs for path in pair}
        skipped += [f"{i.path}: no partner of the same name" for i in (*split.a, *split.b) if i.path not in used]
    files = [list(side) for side in zip(*spread(pairs, wanted.count), strict=True)] if pairs else _few(split, wanted)
    trained = (
        [list(side) for side in zip(*train_pairs, strict=True)] if train_pairs else [layout.train.a, layout.train.b]
    )
    domains: tuple[Domain, Domain] = ("A", "B")
    loadings = [Loading.of(wanted.images, domain, wanted.image_size) for domain in domains]
    stores = [_read(own, loading) for own, loading in zip(files, loadings, strict=True)]
    skipped += [str(error) for store in stores for error in store.skipped]
    kept = [_pixels(store) for store in stores]
    masks = None
    if pairs:
        both = kept[0].keys() & kept[1].keys()
        if any(kept[0][number].shape[:2] != kept[1][number].shape[:2] for number in both):
            pairs, notes = [], ["partners differ in shape: they are not compared pixel by pixel"]
        elif folder := folder_of_masks(layout, wanted.split):
            masks = read_masks(folder, files[0], roots[0], kept[0], wanted, skipped)
            both -= masks.unusable.keys()
            skipped, notes = [*skipped, *masks.unusable.values()], [*notes, masks.note]
        kept = [{number: side[number] for number in sorted(both)} for side in kept]
    if not wanted.images.is_plain:
        notes = [*notes, "measured as 8-bit images of the range of training, by the first three channels at most"]
    labels, numbers = _labels([*files, *trained], [*roots, *train_roots]) if wanted.sub_labels else ((), [[]] * 4)
    sides: dict[Domain, Side] = {}
    listed = dict[str, tuple[list[str], list[ImageFile]]]()
    for place, domain in enumerate(domains):
        own = [files[place][number] for number in kept[place]]
        listed[domain] = (list(relative_names(roots[place], own)), own)
        own_labels = [numbers[place][i] for i in kept[place]] if labels else ()
        depth, values = loadings[place].depth, ImageSet(list(kept[place].values()), own_labels, real=True)
        images = values if depth.is_plain else shown_as_8_bit(values, depth)
        training = RealImages(trained[place], loadings[place], numbers[2 + place])
        available = len(partners) if partners else len((split.a, split.b)[place])
        sides[domain] = _require(
            Side(images, listed[domain][0], training, available, None if depth.is_plain else values),
            roots[place],
            wanted.half,
            skipped,
        )
    if masks is not None:
        own = [masks.files[number] for number in masks.files if number in kept[0]]
        listed["mask"] = ([image.path.name for image in own], own)
    return HeldOut(
        title=wanted.data.title,
        split=wanted.split,
        sides=sides,
        paired=bool(pairs),
        trains_in_pairs=bool(train_pairs),
        labels=labels,
        digest=digest_of_images(listed),
        skipped=skipped,
        notes=notes,
        masks=None if masks is None else ImageSet(masks.of(kept[0])),
    )


def _part(layout: Layout, wanted: Wanted, denied: list[str]) -> tuple[Split, tuple[Path, Path]]:
    """The images of a part, and the folders of both domains; ``denied`` as in ``list_images``."""
    if wanted.split == "test":
        return layout.test, layout.folders["test"]
    most = wanted.data.max_pixels
    if layout.kind == "two folders":
        roots = layout.root / "valA", layout.root / "valB"
        a, b = ([ImageFile(path, max_pixels=most) for path in list_images(root, denied)] for root in roots)
        return Split(a, b, paired=False), roots
    files = list_images(layout.root / "val", denied) if layout.kind == "side by side" else []
    left, right = ([ImageFile(path, half, most) for path in files] for half in HALVES)
    return Split(left, right, paired=True), (layout.root / "val", layout.root / "val")


Pair = tuple[ImageFile, ImageFile]


def _pairs(split: Split, roots: tuple[Path, Path], *, strict: bool) -> tuple[list[Pair], list[str]]:
    """Partners, and what is to be said of them. Unless ``strict``, every image of the smaller domain needs one."""
    if split.paired:
        return list(zip(split.a, split.b, strict=True)), ["pairs: the halves of each file"]
    a, b = ({_stem(image, root): image for image in side} for side, root in zip((split.a, split.b), roots, strict=True))
    if len(a) < len(split.a) or len(b) < len(split.b):  # two files of one stem
        return [], []
    common = [(a[stem], b[stem]) for stem in sorted(a.keys() & b.keys())]
    fewer = min(len(a), len(b))
    if strict or len(common) == fewer:
        return common, [f"pairs by file name: {len(common):,}; where equal names mean nothing, add --unpaired"]
    return [], [f"unpaired: {len(common):,} of {fewer:,} names occur in both domains"] if common else []


def _half_of(split: Split, roots: tuple[Path, Path], half: Half) -> Split:
    a, b = (
        [image for image in side if in_half(_stem(image, root), half)]
        for side, root in zip((split.a, split.b), roots, strict=True)
    )
    return Split(a, b, split.paired)


def _stem(image: ImageFile, root: Path) -> str:
    return image.path.relative_to(root).with_suffix("").as_posix()


def _few(split: Split, wanted: Wanted) -> list[list[ImageFile]]:
    return [spread(side, wanted.count) for side in (split.a, split.b)]


def _labels(files: Sequence[Sequence[ImageFile]], roots: Sequence[Path]) -> tuple[tuple[str, ...], list[list[int]]]:
    """The names of all images' sub-folders, and each image's number.

    Raises:
        DataError: an image that lies in none, or a single sub-folder.
    """
    folders = [[image.path.relative_to(root).parts for image in side] for side, root in zip(files, roots, strict=True)]
    names = sorted({parts[0] for side in folders for parts in side if len(parts) > 1})
    if len(names) < 2 or any(len(parts) == 1 for side in folders for parts in side):
        raise DataError("--task classify needs the images of both domains in sub-folders that are named by their class")
    return tuple(names), [[names.index(parts[0]) for parts in side] for side in folders]


def _read(images: Sequence[ImageLike], loading: Loading) -> ImageStore:
    return ImageStore(images, loading, BUDGET, tracked("reading held-out images", len(images)))


def _pixels(store: ImageStore) -> dict[int, Pixels]:
    return {number: store[place] for place, number in enumerate(store.numbers)}


def _require(side: Side, root: Path, half: Half, skipped: Sequence[str]) -> Side:
    if len(side.images) < 2:
        cannot = f"; among those that cannot: {skipped[0]}" if skipped else ""
        raise DataError(
            f"{root}: {len(side.images)} of the held-out images can be taken{PURPOSES[half]}, and at least 2 are "
            f"needed: hold out more images{cannot}"
        )
    return side


def digest_of_images(domains: Mapping[str, tuple[Sequence[str], Sequence[ImageLike]]]) -> str:
    """SHA-256 of the names of the images and the digests of their contents."""
    digest = hashlib.sha256()
    for domain, (names, images) in domains.items():
        for name, image in zip(names, images, strict=True):
            digest.update(f"{domain} {name} {image.digest()}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
