"""Writes a set of side-by-side images as trainA/, trainB/, testA/ and testB/ of squares.

usage: python benchmarks/two_folders.py DATA --size 128 -o FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

from i2i.data.images import WHITE, write_image
from i2i.data.layout import find_layout
from i2i.data.store import resized


def main() -> None:
    """Writes both splits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    layout = find_layout(arguments.data, paired=True)
    for split, halves in (("train", layout.train), ("test", layout.test)):
        for domain, images in (("A", halves.a), ("B", halves.b)):
            folder = arguments.output / (split + domain)
            folder.mkdir(parents=True, exist_ok=True)
            for image in images:
                pixels = resized(image.read(3, WHITE), arguments.size, "square")
                write_image(folder / f"{image.path.stem}.png", pixels)


if __name__ == "__main__":
    main()
