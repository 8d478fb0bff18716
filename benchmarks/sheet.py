"""One image of what several folders hold under the same names: a row for each name, a column for each folder.

usage: python -m benchmarks.sheet DATA/testA RUN/AtoB DATA/testB [--every 7] [--abreast 2] -o SHEET.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from i2i.data.images import Pixels, list_images, read_image, to_pil
from i2i.tiles import tile

GAP = 2


def main() -> None:
    """Writes the sheet; rows go on in as many blocks abreast as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1, help="shows every nth name")
    parser.add_argument("--abreast", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    columns = [{path.stem: path for path in list_images(folder)} for folder in arguments.folders]
    names = sorted(columns[0])[:: arguments.every]
    strips = [tile([read_image(column[name]) for column in columns], len(columns), gap=GAP) for name in names]
    to_pil(in_blocks(strips, arguments.abreast)).save(arguments.output, optimize=True)


def in_blocks(strips: Sequence[Pixels], abreast: int) -> Pixels:
    """Joins strips (H, W, C) below each other in ``abreast`` blocks of the same height, from left to right."""
    rows = -(-len(strips) // abreast)
    strips = [*strips, *[np.full_like(strips[0], 255)] * (-len(strips) % rows)]
    blocks = [tile(strips[i : i + rows], 1, gap=GAP) for i in range(0, len(strips), rows)]
    return tile(blocks, abreast, gap=5 * GAP)


if __name__ == "__main__":
    main()
