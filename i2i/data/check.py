"""``i2i data check``: everything about a data set that would spoil training, found before training."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from i2i.data.builtin import load_layout
from i2i.data.images import read_image
from i2i.data.layout import Layout, Picture
from i2i.display import tracked
from i2i.errors import DataError


@dataclass
class CheckReport:
    """What was found, a line each, and what is wrong."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Facts:
    """What one file is."""

    path: Path
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    digest: str = ""
    error: str | None = None


def check_data(path: str, size: int, *, unpaired: bool) -> CheckReport:
    """Reads every file of a data set.

    Args:
        path: a folder or a built-in name.
        size: the side at which a built-in set is rendered.
        unpaired: files of A and B that happen to have equal names are not pairs.

    Raises:
        DataError: there is no layout to check.
    """
    layout = load_layout(path, size=size, paired=False)
    report = CheckReport([f"layout     {layout.kind} in {layout.root}"])
    facts = _read_all(layout)
    for name, split in (("train", layout.train), ("test", layout.test)):
        report.lines.append(f"{name:<10} {len(split.a):,} in A, {len(split.b):,} in B")
    readable = [fact for fact in facts.values() if fact.error is None]
    report.faults += [str(fact.error) for fact in facts.values() if fact.error is not None]
    for label, counts in (
        ("sizes", Counter(f"{w}x{h}" for w, h in (fact.size for fact in readable))),
        ("modes", Counter(fact.mode for fact in readable)),
    ):
        common = ", ".join(f"{value} ({count:,})" for value, count in counts.most_common(5))
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        report.lines.append(f"{label:<10} {common}{more}")
    if not unpaired:
        _check_pairs(layout, report)
    _check_leaks(layout, facts, report)
    report.lines.append(f"unreadable {len(facts) - len(readable):,}")
    return report


def _read_all(layout: Layout) -> dict[Path, Facts]:
    paths = sorted({picture.path for split in (layout.train, layout.test) for picture in [*split.a, *split.b]})
    with ThreadPoolExecutor() as pool:
        return {fact.path: fact for fact in tracked("checking", len(paths))(pool.map(_facts, paths))}


def _facts(path: Path) -> Facts:
    try:
        pixels = read_image(path, 4)
        with Image.open(path) as file:
            mode = file.mode
    except DataError as error:
        return Facts(path, error=str(error))
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(pixels.tobytes() + f"{width}x{height}".encode()).hexdigest()
    return Facts(path, (width, height), mode, digest)


def _check_pairs(layout: Layout, report: CheckReport) -> None:
    """Where at least half of the names are in both domains, the set is one of pairs, and the others lack a partner."""
    if layout.kind == "side by side":
        report.lines.append(f"pairs      {len(layout.train.a):,} in train, side by side")
        return
    for name, split in (("train", layout.train), ("test", layout.test)):
        a, b = _stems(layout, split.a, f"{name}A"), _stems(layout, split.b, f"{name}B")
        if not a & b:
            continue
        report.lines.append(f"pairs      {len(a & b):,} in {name} by equal names")
        if a != b and len(a & b) >= max(len(a), len(b)) / 2:
            report.faults.append(
                f"{name}: {len(a - b)} in A and {len(b - a)} in B without a partner of the same name, "
                f"first {min(a ^ b)}; if this set is not one of pairs, add --unpaired"
            )


def _stems(layout: Layout, pictures: Sequence[Picture], folder: str) -> set[str]:
    return {picture.path.relative_to(layout.root / folder).with_suffix("").as_posix() for picture in pictures}


def _check_leaks(layout: Layout, facts: dict[Path, Facts], report: CheckReport) -> None:
    """A picture of the test split that training has seen makes every figure on it too good."""
    for domain, train, test in (("A", layout.train.a, layout.test.a), ("B", layout.train.b, layout.test.b)):
        seen: dict[str, list[Path]] = defaultdict(list)
        for picture in train:
            if facts[picture.path].error is None:
                seen[facts[picture.path].digest].append(picture.path)
        repeated = sum(len(paths) - 1 for paths in seen.values())
        if repeated:
            report.lines.append(f"repeated   {repeated:,} in train{domain} with the content of another")
        for picture in test:
            fact = facts[picture.path]
            if fact.error is None and fact.digest in seen:
                report.faults.append(f"{picture.path}: the same picture as {seen[fact.digest][0]}, in train")
