"""``i2i data check``: finds faults of a data set that would spoil training, before training."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from i2i.bounds import MAX_PIXELS
from i2i.config.schema import DataConfig
from i2i.data.builtin import BUILTIN, load_layout
from i2i.data.collection import ArrayImage, Collection, find_collection
from i2i.data.images import WHITE, read_image, read_values
from i2i.data.layout import ImageFile, Layout
from i2i.data.masks import BLACK, Masks, masks_of
from i2i.data.stored import PLAIN, Held
from i2i.data.two_domains import layout_of
from i2i.display import counted, tracked
from i2i.errors import DataError
from i2i.kinds import AnyPixels
from i2i.needs import is_built_in

ROUNDING = 0.02
"""Sides of images are whole pixels, so that copies of another size may differ in their proportions."""


@dataclass
class CheckReport:
    """What was found, a line each, and what is wrong.

    ``training``: how many training images there are in each domain, by its name in the lines; ``in_pairs``: whether at
    least half of them are pairs.
    """

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    training: dict[str, int] = field(default_factory=dict)
    in_pairs: bool = False


@dataclass(frozen=True)
class Facts:
    """What one image is, or why it cannot be read."""

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    held: Held = PLAIN
    range: tuple[float, float] | None = None
    digest: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Domain:
    """The images of one domain, whose test split must not repeat the train split."""

    name: str
    train: Sequence[ImageFile | ArrayImage]
    test: Sequence[ImageFile | ArrayImage]


def check_data(path: str, size: int, *, unpaired: bool, max_pixels: int = MAX_PIXELS) -> CheckReport:
    """Reads every image of a data set of one domain or of two.

    Args:
        path: a folder or a built-in name.
        size: the side at which a built-in set is rendered.
        unpaired: files of A and B that happen to have equal names are not pairs.
        max_pixels: of an image that is read.

    Raises:
        DataError: there is no layout to check.
    """
    if _has_two_domains(path, max_pixels):
        layout = load_layout(path, size=size, paired=False, max_pixels=max_pixels)
        return _check_two(layout, f"{layout.kind} in {layout.root}", unpaired=unpaired, max_pixels=max_pixels)
    collection = find_collection(path, size=size, max_pixels=max_pixels)
    domains = [Domain("", collection.train.images, collection.test.images)]
    report, facts = _read_domains(f"one domain in {collection.root}", domains, collection.denied)
    _report_labels(collection, report)
    return _concluded(report, domains, facts)


def check_folders(data: DataConfig, *, unpaired: bool) -> CheckReport:
    """Reads every image of the two folders that ``data`` names; ``unpaired`` as in ``check_data``.

    Raises:
        DataError: as ``find_folders``.
    """
    title, layout = f"folders {data.a} (A) and {data.b} (B)", layout_of(data, paired=False)
    return _check_two(layout, title, unpaired=unpaired, max_pixels=data.max_pixels)


def _check_two(layout: Layout, title: str, *, unpaired: bool, max_pixels: int) -> CheckReport:
    domains = [Domain(" in A", layout.train.a, layout.test.a), Domain(" in B", layout.train.b, layout.test.b)]
    report, facts = _read_domains(title, domains, layout.denied)
    if not unpaired:
        _check_pairs(layout, facts, report)
        _check_masks(layout, max_pixels, facts, report)
    return _concluded(report, domains, facts)


def _read_domains(title: str, domains: list[Domain], denied: Sequence[str]) -> tuple[CheckReport, dict[Path, Facts]]:
    training = {domain.name: len(domain.train) for domain in domains}
    report = CheckReport([f"layout     {title}"], list(denied), training)
    for split in ("train", "test"):
        counts = [f"{len(getattr(domain, split)):,}{domain.name}" for domain in domains]
        report.lines.append(f"{split:<10} {', '.join(counts)}")
    facts = _read_all(domains)
    _report_spread(facts, report)
    return report, facts


def _concluded(report: CheckReport, domains: list[Domain], facts: dict[Path, Facts]) -> CheckReport:
    for domain in domains:
        _check_depth(domain, facts, report)
        _check_leaks(domain, facts, report)
    report.lines.append(f"unreadable {sum(fact.error is not None for fact in facts.values()):,}")
    return report


def _has_two_domains(path: str, max_pixels: int) -> bool:
    """Two folders, or a train folder in which every image could be two squares side by side."""
    root = Path(path)
    if is_built_in(path):
        return path in BUILTIN
    if (root / "trainA").is_dir() or (root / "trainB").is_dir():
        return True
    if not (root / "train").is_dir():
        return False
    images = find_collection(path, size=0, max_pixels=max_pixels).train.images
    return all(isinstance(image, ImageFile) and _is_twice_as_wide(image) for image in images)


def _is_twice_as_wide(image: ImageFile) -> bool:
    try:
        head = image.head()
    except DataError:
        return True  # unreadable: the others decide
    return head.width == 2 * head.height


def _read_all(domains: list[Domain]) -> dict[Path, Facts]:
    images = {image.name: image for domain in domains for image in [*domain.train, *domain.test]}
    names = sorted(images)
    with ThreadPoolExecutor() as pool:
        found = tracked("checking", len(names))(pool.map(lambda name: _facts(images[name]), names))
        return dict(zip(names, found, strict=True))


def _facts(image: ImageFile | ArrayImage) -> Facts:
    try:
        head = image.head()
        if isinstance(image, ArrayImage):
            pixels: AnyPixels = image.read(4, WHITE)
        elif head.held.channels is not None:
            pixels = read_values(image.path, head.held.kind, head.held.channels, image.max_pixels)
        else:  # also where an item is a half of it
            pixels = read_image(image.path, 4, max_pixels=image.max_pixels)
    except DataError as error:
        return Facts(error=str(error))
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data)
    digest.update(f"{width}x{height}".encode())
    low_high = (float(pixels.min()), float(pixels.max())) if head.held.kind == "float32" else None
    return Facts((width, height), head.mode, head.held, low_high, digest.hexdigest())


def _report_spread(facts: dict[Path, Facts], report: CheckReport) -> None:
    readable = [fact for fact in facts.values() if fact.error is None]
    report.faults += [str(fact.error) for fact in facts.values() if fact.error is not None]
    for label, counts in (
        ("sizes", Counter(f"{w}x{h}" for w, h in (fact.size for fact in readable))),
        ("modes", Counter(fact.mode for fact in readable)),
    ):
        common = ", ".join(f"{value} ({count:,})" for value, count in counts.most_common(5))
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        report.lines.append(f"{label:<10} {common}{more}")


def _check_depth(domain: Domain, facts: dict[Path, Facts], report: CheckReport) -> None:
    """What the values of a domain are, where they are none of 8-bit images alone; training takes one kind."""
    first: dict[Held, Path] = {}
    ranges = []
    for image in [*domain.train, *domain.test]:
        fact = facts[image.name]
        if fact.error is None:
            first.setdefault(fact.held, image.name)
            ranges += [] if fact.range is None else [fact.range]
    if set(first) <= {PLAIN}:
        return
    values = f" from {min(low for low, _ in ranges):,.9g} to {max(high for _, high in ranges):,.9g}" if ranges else ""
    report.lines.append(f"depth      {' and '.join(map(str, first))}{domain.name}{values}")
    if len(first) > 1:
        (one, name), (other, partner) = list(first.items())[:2]
        report.faults.append(f"{name} holds {one}, and {partner} {other}: a domain needs one depth: convert some")


def _report_labels(collection: Collection, report: CheckReport) -> None:
    if not collection.labels:
        report.lines.append("labels     none")
        return
    counts = Counter(collection.train.labels)
    shown = ", ".join(f"{name} ({counts[number]:,})" for number, name in enumerate(collection.labels[:12]))
    more = f" and {len(collection.labels) - 12:,} more" if len(collection.labels) > 12 else ""
    report.lines.append(f"labels     {shown}{more}")
    missing = [name for number, name in enumerate(collection.labels) if not counts[number]]
    if missing:
        report.faults.append(f"no image in train has the label {', '.join(missing)}")


def _check_pairs(layout: Layout, facts: Mapping[Path, Facts], report: CheckReport) -> None:
    """Where at least half of the names are in both domains, the set is one of pairs, and the others lack a partner."""
    if layout.kind == "side by side":
        report.lines.append(f"pairs      {len(layout.train.a):,} in train, side by side")
        report.in_pairs = True
        return
    for name, split in (("train", layout.train), ("test", layout.test)):
        named_a, named_b = _stems(split.a, layout.folders[name][0]), _stems(split.b, layout.folders[name][1])
        a, b = named_a.keys(), named_b.keys()
        if not a & b:
            continue
        report.lines.append(f"pairs      {len(a & b):,} in {name} by equal names")
        apart = [stem for stem in sorted(a & b) if not _alike(facts[named_a[stem]].size, facts[named_b[stem]].size)]
        if apart:
            report.lines.append(
                f"shapes     {counted(len(apart), 'pair')} in {name} of images that differ in their proportions, first "
                f"{apart[0]}: data.fit=square stretches them to one shape, data.fit=shorter refuses them"
            )
        mostly = len(a & b) >= max(len(a), len(b)) / 2
        report.in_pairs |= mostly and name == "train"
        if a != b and mostly:
            report.faults.append(
                f"{name}: {len(a - b)} in A and {len(b - a)} in B without a partner of the same name, "
                f"first {min(a ^ b)}; pix2pix leaves them out, cyclegan with method.paired_weight uses them too; if "
                "this set is not one of pairs, add --unpaired"
            )


def _check_masks(layout: Layout, max_pixels: int, facts: Mapping[Path, Facts], report: CheckReport) -> None:
    """How much of the pairs counts, and which pairs and masks lack one another; held-out pairs may have no mask."""
    faults = list[str]()
    train, test = masks_of(layout, "train", faults, max_pixels), masks_of(layout, "test", faults, max_pixels)
    for name, masks in (("train", train), ("test", test)):
        if masks is not None:
            faults += [f"{path}: a mask of no pair" for path in masks.lone]
            if masks.known or masks.missing:
                _report_masks(name, masks, facts, report)
    if train is not None and train.missing:
        faults.append(f"{len(train.missing):,} pairs have no mask in {train.folder.name}, first {train.missing[0]}")
    report.faults += dict.fromkeys(faults)  # masks of both parts may lie in one folder


def _report_masks(part: str, masks: Masks, facts: Mapping[Path, Facts], report: CheckReport) -> None:
    shares = []
    for mask, image in zip(masks.known, masks.images, strict=True):
        try:
            pixels = mask.read(1, BLACK)
        except DataError as error:
            report.faults.append(str(error))
            continue
        shares.append(float(pixels.mean()) / 255)
        width, height = facts[image.name].size
        size, own = (width if image.half == "whole" else width // 2, height), (pixels.shape[1], pixels.shape[0])
        if not _alike(size, own):
            report.faults.append(
                f"{mask.path}: {own[0]}x{own[1]} are other proportions than the {size[0]}x{size[1]} of {image.path}"
            )
        if not shares[-1]:
            report.faults.append(f"{mask.path}: all black, so that nothing of its pair counts")
    counted = f", which let {np.mean(shares):.0%} of the pixels count" if shares else ""
    report.lines.append(f"masks      {len(masks.known):,} of {part} in {masks.folder.name}{counted}")


def _stems(images: Sequence[ImageFile], folder: Path) -> dict[str, Path]:
    """The names of images, by their paths in the folder without the ending."""
    return {image.path.relative_to(folder).with_suffix("").as_posix(): image.name for image in images}


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether images of these sizes have the same proportions, up to rounding; so has one that cannot be read."""
    across, along = one[0] * other[1], one[1] * other[0]
    return abs(across - along) <= ROUNDING * max(across, along)


def _check_leaks(domain: Domain, facts: dict[Path, Facts], report: CheckReport) -> None:
    """An image of the test split that training has seen makes every figure on it too good."""
    seen: dict[str, list[Path]] = defaultdict(list)
    for image in domain.train:
        if facts[image.name].error is None:
            seen[facts[image.name].digest].append(image.name)
    repeated = sum(len(names) - 1 for names in seen.values())
    if repeated:
        report.lines.append(f"repeated   {repeated:,}{domain.name or ' in train'} with the content of another")
    for image in domain.test:
        fact = facts[image.name]
        if fact.error is None and fact.digest in seen:
            report.faults.append(f"{image.name}: the same image as {seen[fact.digest][0]}, in train")
