"""The data of translators: the images of two domains, unpaired or paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from i2i.batch import Batch, Domain
from i2i.config.schema import DataConfig
from i2i.data.batches import BatchDataset, different_shapes, unit_batch
from i2i.data.builtin import load_layout
from i2i.data.depth import described
from i2i.data.found_depth import Found, with_depths
from i2i.data.heads import Head, spread
from i2i.data.identity import Contents, ImageList
from i2i.data.layout import ImageFile, Layout, Split, find_folders, images_by_stem
from i2i.data.masks import Masks, folder_of_masks, mask_loading, masks_of
from i2i.data.mixed import MixedDataset
from i2i.data.store import ImageSource, ImageStore, Loading, PixelMemory
from i2i.data.training_set import (
    TrainingData,
    as_listed,
    bytes_of,
    centre,
    image_list,
    note_heads,
    note_sizes,
    pixel_memory,
)
from i2i.data.unreadable import Unreadable, UnreadableItems
from i2i.display import counted
from i2i.errors import DataError
from i2i.kinds import AnyPixels

NOTHING_HELD_OUT = (
    "of one folder no image is held out, so that nothing can be measured: give more images or --test-a and --test-b"
)
PAIRS_COMPARED = 16
"""How many pairs are compared in shape when a run starts."""


@dataclass(frozen=True)
class TwoDomains(TrainingData):
    """Both domains, listed and counted.

    The first ``pairs`` images of both domains are partners of each other; where ``mixed``, the others have none.
    """

    config: DataConfig
    image_size: int
    layout: Layout
    by_stream: Mapping[str, ImageSource]
    pairs: int
    unreadable: UnreadableItems
    contents: Contents
    in_memory: bool
    mixed: bool = False
    masks: Masks | None = None
    input_domain: Domain = "A"

    @classmethod
    def read(
        cls,
        config: DataConfig,
        image_size: int,
        *,
        paired: bool,
        masks: bool = False,
        pairs: bool = False,
        input_domain: Domain = "A",
        listed: ImageList | None = None,
    ) -> TwoDomains:
        """Finds the training images that ``config`` names; ``masks`` and those after as in ``load_training_set``.

        Raises:
            DataError: there is no usable data; says which folder and why.
            ConfigError: the channels are left to the data.
        """
        _ = config.images  # refuses channels that are left to the data before files are looked for
        layout = layout_of(config, paired=paired)
        found = masks_of(layout, "train", layout.denied, config.max_pixels) if paired and masks else None
        if listed is not None:
            layout, found = _as_listed(config.title, layout, found, listed)
        elif found is not None:
            found.require_all()
        count = len(layout.train.a) if layout.train.paired else 0
        if pairs and not paired and not layout.train.paired:
            layout, count = _pairs_first(layout)
        train = layout.train
        streams = _streams(train, count, () if found is None else found.known)
        items = len(train.a) + len(train.b) - count
        unreadable = UnreadableItems(items, "; i2i data check names all")
        try:
            contents = note_sizes(unreadable, streams, listed=listed is not None)
            heads_a, heads_b = _heads(unreadable, streams, count)
        except DataError as error:
            raise DataError(f"{config.title}: {error}") from None
        unreadable.require_few()
        config = with_depths(config, Found("A", train.a, heads_a), Found("B", train.b, heads_b))
        loading_a, loading_b = _loadings(config, config.load_size, drafts=config.jpeg_drafts)
        of_masks = mask_loading(config.load_size, config.fit)
        need = sum(
            bytes_of(len(side), loading, heads.values())
            for side, loading, heads in (
                (train.a, loading_a, heads_a),
                (train.b, loading_b, heads_b),
                (streams.get("mask", ()), of_masks, heads_a),  # which have the sizes of their pairs
            )
        )
        loadings = {"pair": loading_a, "A": loading_a, "partner": loading_b, "B": loading_b, "mask": of_masks}
        memory = pixel_memory(sum(map(len, streams.values())), need, config)
        sources = _sources(streams, loadings, memory, contents)
        if count and config.fit == "shorter":
            _require_equal_sizes(sources["pair"], sources["partner"], unreadable)
        mixed = pairs and not paired
        return cls(
            config,
            image_size,
            layout,
            sources,
            count,
            unreadable,
            contents,
            memory.complete,
            mixed=mixed,
            masks=found,
            input_domain=input_domain,
        )

    @property
    def roots(self) -> tuple[Path, ...]:
        return self.layout.roots

    @property
    def listed(self) -> tuple[Path, ...]:
        return tuple(folder for pair in self.layout.folders.values() for folder in pair)

    @property
    def size(self) -> int:
        train = self.layout.train
        return max(len(train.a), len(train.b))

    def smallest(self) -> int:
        return min(len(self.layout.train.a), len(self.layout.train.b))

    def describe(self) -> str:
        train = self.layout.train
        pairs = f", of which {self.pairs:,} are pairs" if self.mixed else ""
        return f"{counted(len(train.a), 'image')} in A and {len(train.b):,} in B{pairs}"

    def notes(self) -> list[str]:
        layout, images = self.layout, self.config.images
        depths = []
        if not images.is_plain:
            a, b = described(images.depth_a, images.channels_a), described(images.depth_b, images.channels_b)
            depths = [f"depth of A: {a}; of B: {b}{_shown(images.channels_a, images.channels_b)}"]
        if self.masks is not None:
            depths.append(f"masks in {self.masks.folder} say how much each pixel counts")
        elif folder := folder_of_masks(layout, "train"):
            depths.append(f"the masks in {folder} are not used: this recipe does not learn from pairs with masks")
        if layout.kind != "folders A and B" or layout.folders["test"] != layout.folders["train"]:
            return [*depths, *self._memory_notes]
        return [
            *depths,
            *self._memory_notes,
            f"held out (chosen by file name): {counted(len(layout.test.a), 'image')} of A "
            f"and {len(layout.test.b):,} of B (data.held_out={layout.held_out:g}; --test-a and --test-b name others)",
            *([NOTHING_HELD_OUT] if layout.held_out and not (layout.test.a and layout.test.b) else []),
        ]

    @property
    def _memory_notes(self) -> list[str]:
        return next(iter(self.by_stream.values())).memory.notes

    def problems(self) -> list[str]:
        lone = [f"{path}: no partner of the same name" for path in self.layout.unmatched]
        lone += [f"{path}: no pair of the same name" for path in (self.masks.lone if self.masks else ())]
        return [*self.unreadable.reasons(), *lone, *self.layout.denied]

    @cached_property
    def images(self) -> ImageList:
        return image_list(_domains(self.layout, self.masks))

    def fingerprint(self) -> str:
        train = self.layout.train
        return f"{len(train.a)} in A, {len(train.b)} in B, names {self._digest}"

    @property
    def sources(self) -> Mapping[str, ImageSource]:
        return self.by_stream

    def dataset(self, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> BatchDataset:
        names = ("pair", "partner") if "pair" in self.by_stream else ("A", "B")
        known, augmenter = self.shown(
            *(self.by_stream[name].loading for name in names), input_side="AB".index(self.input_domain)
        )
        a, b = (known[name] for name in names)
        settings = {"batch_size": batch_size, "seed": seed, "rank": rank, "world_size": world_size}
        if self.mixed:
            lone = known.get("A"), known.get("B")
            return MixedDataset((a, b), lone, augmenter=augmenter, unreadable=self.unreadable, **settings)
        return BatchDataset(
            a,
            b,
            paired=self.layout.train.paired,
            masks=known.get("mask"),
            augmenter=augmenter,
            unreadable=self.unreadable,
            **settings,
        )

    def preview(self, count: int) -> Batch:
        """A few fixed held-out images of both domains, spread over the split, at the training size.

        Where no test image can be read, training images take their place.
        """
        train = self.layout.train
        sides = [
            [
                image
                for index, image in enumerate(images)
                if (("pair", index) if index < self.pairs else (domain, index - self.pairs)) not in self.unreadable
            ]
            for domain, images in (("A", train.a), ("B", train.b))
        ]
        for split in (self.layout.test, Split(sides[0], sides[1], train.paired)):
            items = self._readable(split, count)
            if items:
                break
        else:
            raise DataError(f"{self.config.title}: none of the images for previews can be read")
        return self._batch(items)

    def examples(self, count: int, *, held_out: bool) -> Batch | None:
        items = self._readable(self.layout.test if held_out else self.layout.train, count)
        return self._batch(items) if items else None

    def _batch(self, items: list[tuple[AnyPixels, AnyPixels]]) -> Batch:
        size, cpu = self.image_size, torch.device("cpu")
        images = self.config.images
        a, b = (
            unit_batch([centre(pixels, size) for pixels in side], depth, cpu)
            for side, depth in zip(zip(*items, strict=True), (images.depth_a, images.depth_b), strict=True)
        )
        return Batch(a, b)

    def _readable(self, split: Split, count: int) -> list[tuple[AnyPixels, AnyPixels]]:
        """Up to ``count`` images of both domains at the training size, spread over the split; or pairs."""
        loadings = _loadings(self.config, self.image_size)
        stores = [
            ImageStore(spread(images, count), loading, 2**30, iter)
            for images, loading in zip((split.a, split.b), loadings, strict=True)
        ]
        a, b = ({n: store[i] for i, n in enumerate(store.numbers)} for store in stores)
        if split.paired:
            return [(a[number], b[number]) for number in sorted(a.keys() & b.keys())]
        return list(zip(a.values(), b.values(), strict=False))


def _shown(*channels: int) -> str:
    """What previews show of so many channels, where it is not all."""
    if max(channels) > 4:
        return "; previews show the first three channels"
    return "; previews show the first channel of two" if 2 in channels else ""


def layout_of(data: DataConfig, *, paired: bool) -> Layout:
    """The layout of the folders or the set that ``data`` names; ``paired`` as in ``find_layout``.

    Raises:
        DataError: as ``load_layout`` and ``find_folders``.
    """
    if data.a is None or data.b is None:
        return load_layout(data.path, size=data.load_size, paired=paired, max_pixels=data.max_pixels)
    others = (data.test_a, data.test_b, data.mask, data.test_mask)
    folders = [None if folder is None else Path(folder) for folder in others]
    return find_folders(
        Path(data.a), Path(data.b), *folders, held_out=data.held_out, paired=paired, max_pixels=data.max_pixels
    )


def _domains(layout: Layout, masks: Masks | None) -> dict[str, tuple[Path, Sequence[ImageFile]]]:
    """The root of each domain's names, and its training images; masks as one domain more."""
    roots = layout.folders["train"] if layout.kind == "folders A and B" else (layout.root, layout.root)
    domains = {"A": (roots[0], layout.train.a), "B": (roots[1], layout.train.b)}
    if masks is None:
        return domains
    return domains | {"mask": (masks.folder if layout.kind == "folders A and B" else layout.root, masks.known)}


def _as_listed(title: str, layout: Layout, masks: Masks | None, listed: ImageList) -> tuple[Layout, Masks | None]:
    """The layout and masks with the training images of a run in the place of those that are there now."""
    a, b, *known = as_listed(title, _domains(layout, masks), listed)
    used = {image.name for image in (*a, *b)}
    unmatched = [path for path in layout.unmatched if path not in used]
    kept = None if masks is None else replace(masks, known=known[0], missing=())
    return replace(layout, train=Split(a, b, layout.train.paired), unmatched=unmatched), kept


def _pairs_first(layout: Layout) -> tuple[Layout, int]:
    """The layout with the training images that have a partner first in both domains, pair by pair; how many they are.

    Raises:
        DataError: there are none, or two files of one name.
    """
    domains = ((layout.train.a, layout.folders["train"][0]), (layout.train.b, layout.folders["train"][1]))
    a, b = (images_by_stem(images, folder) for images, folder in domains)
    common = [stem for stem in a if stem in b]
    if not common:
        first, second = layout.folders["train"]
        raise DataError(
            f"no file in {first} has a partner of the same name in {second}: without pairs, leave out "
            "method.paired_weight"
        )
    sides = [
        [own[stem] for stem in [*common, *(stem for stem in own if stem not in other)]]
        for own, other in ((a, b), (b, a))
    ]
    return replace(layout, train=Split(sides[0], sides[1], paired=False)), len(common)


def _streams(train: Split, pairs: int, masks: Sequence[ImageFile]) -> dict[str, Sequence[ImageFile]]:
    """The training images by the stream that shows them, in the order of their numbers; only those that there are."""
    streams = {
        "pair": train.a[:pairs],
        "A": train.a[pairs:],
        "partner": train.b[:pairs],
        "B": train.b[pairs:],
        "mask": masks,
    }
    return {name: images for name, images in streams.items() if images}


def _sources(
    streams: Mapping[str, Sequence[ImageFile]],
    loadings: Mapping[str, Loading],
    memory: PixelMemory,
    contents: Contents,
) -> dict[str, ImageSource]:
    """Numbers the images of all streams in their order, for the memory and the contents."""
    sources, first = dict[str, ImageSource](), 0
    for name, images in streams.items():
        sources[name] = ImageSource(images, loadings[name], memory, contents, first)
        first += len(images)
    return sources


def _heads(
    unreadable: UnreadableItems, streams: Mapping[str, Sequence[ImageFile]], pairs: int
) -> tuple[dict[int, Head], dict[int, Head]]:
    """The headers of a sample of each domain, by the numbers of its images; errors as ``note_heads``."""
    found: tuple[dict[int, Head], dict[int, Head]] = ({}, {})
    if pairs:
        sides = [streams[name] for name in ("pair", "partner", "mask") if name in streams]
        for number, heads in note_heads(unreadable, "pair", *sides, what="pair").items():
            found[0][number], found[1][number] = heads[:2]
    for name, of_domain in zip("AB", found, strict=True):
        if name in streams:
            what = f"image of domain {name}"
            heads_of_lone = note_heads(unreadable, name, streams[name], what=what).items()
            of_domain |= {pairs + number: head for number, [head] in heads_of_lone}
    return found


def _loadings(config: DataConfig, size: int, *, drafts: bool = False) -> tuple[Loading, Loading]:
    """How images of A and of B are decoded and brought to ``size``."""
    images = config.images
    return Loading.of(images, "A", size, drafts=drafts), Loading.of(images, "B", size, drafts=drafts)


def _require_equal_sizes(a: ImageSource, b: ImageSource, unreadable: UnreadableItems) -> None:
    """Compares a few pairs in shape before training; those met later are replaced, as what cannot be read."""
    for index in spread(range(len(a)), PAIRS_COMPARED):
        try:
            one, other = a[index], b[index]
        except DataError as error:
            unreadable.add([Unreadable("pair", index, str(error))])
            continue
        if one.shape[:2] != other.shape[:2]:
            raise DataError(different_shapes(a.images[index].name, one, b.images[index].name, other))
