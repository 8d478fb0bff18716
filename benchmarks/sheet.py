"""One picture of what several folders hold under the same names: a row for each name, a column for each folder.

usage: python -m benchmarks.sheet DATA/testA RUN/AtoB DATA/testB [--every 7] [--abreast 2] -o SHEET.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from i2i.data.images import list_images

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
    size = Image.open(columns[0][names[0]]).width
    rows = -(-len(names) // arguments.abreast)
    block = len(columns) * (size + GAP) + 4 * GAP
    sheet = Image.new("RGB", (arguments.abreast * block - 5 * GAP, rows * (size + GAP) - GAP), "white")
    for n, name in enumerate(names):
        left, top = n // rows * block, n % rows * (size + GAP)
        for k, column in enumerate(columns):
            with Image.open(column[name]) as picture:
                sheet.paste(picture.convert("RGB"), (left + k * (size + GAP), top))
    sheet.save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
