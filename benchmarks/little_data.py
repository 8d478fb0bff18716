"""What discriminator augmentation does for a small set: some images of one, with it and without, at equal time.

FOLDER gets the small set, whose training images are spread over the names of the whole one's, and for each variant
what ``benchmarks/quality.py`` makes. Held-out images stay as they are. Options that are not named here are those of
quality.py.

usage: python -m benchmarks.little_data DATA -o FOLDER [--images 100] [--images-b N] [--arch ARCH]... [--seeds 0 1 2]
       [--max-time 4m] [--set ARCH:KEY=VALUE]... [--metrics METRIC...]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from benchmarks import quality
from i2i.data.heads import spread

VARIANTS = {"with": "adaptive", "without": "none"}


def some_images(data: Path, small: Path, images: int, images_b: int) -> None:
    """Copies a set of trainA, trainB, testA and testB, or of train and test, with so many images to learn from.

    The first ones by name would be of one kind, such as flags.
    """
    for folder in sorted(path for path in data.iterdir() if path.is_dir() and not (small / path.name).exists()):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if folder.name.startswith("train"):
            files = spread(files, images_b if folder.name == "trainB" else images)
        for file in files:
            copy = small / file.relative_to(data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def main() -> None:
    """Makes the small set, and trains and evaluates each variant on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--images-b", type=int)
    parser.add_argument("--arch", dest="archs", action="append", default=[])
    arguments, others = parser.parse_known_args()
    archs = arguments.archs or ["cyclegan-fast"]
    count_b = arguments.images_b or arguments.images
    small = arguments.output / f"{arguments.data.name}-{arguments.images}-{count_b}"
    some_images(arguments.data, small, arguments.images, count_b)
    for variant, mode in VARIANTS.items():
        settings = [part for arch in archs for part in ("--arch", arch)]
        settings += [part for arch in archs for part in ("--set", f"{arch}:discriminator_augmentation.mode={mode}")]
        print(f"{variant} augmentation:")
        quality.main([str(small), "-o", str(arguments.output / variant), *settings, *others])


if __name__ == "__main__":
    main()
