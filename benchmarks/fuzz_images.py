"""Damages small images of every format, again and again, and reads them: each is an image or an error of one line.

``python -m benchmarks.fuzz_images --minutes 10`` prints what was tried. A crash ends it with the process; the damaged
file is then at the path that is printed first.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from i2i.data.images import FORMATS, read_image
from i2i.errors import DataError

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
SLOW = 5.0
"""Seconds of work after which an image is reported."""


def images(folder: Path) -> dict[str, bytes]:
    """A whole image of each mode in each format that has it."""
    random = np.random.default_rng(0)
    pixels = Image.fromarray(random.integers(0, 256, (19, 23, 4), np.uint8))
    made = {}
    for mode in MODES:
        image = pixels if mode == "RGBA" else pixels.convert("RGB" if mode != "LA" else "LA")
        if mode == "I;16":
            image = Image.fromarray(random.integers(0, 65536, (19, 23), np.uint16))
        elif image.mode != mode:
            image = image.convert(mode)
        for suffix in FORMATS:
            path = folder / f"{mode.replace(';', '')}{suffix}"
            try:
                image.save(path)
            except (OSError, ValueError):
                continue
            made[path.name] = path.read_bytes()
    return made


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Some bytes changed, and perhaps the end cut off or a piece repeated."""
    changed = bytearray(content)
    for _ in range(random.integers(0, 8)):
        changed[random.integers(len(changed))] = (0, 1, 127, 128, 255, int(random.integers(256)))[random.integers(6)]
    kind = random.integers(4)
    if kind == 0:
        del changed[random.integers(len(changed)) :]
    elif kind == 1:
        start, end = sorted(random.integers(len(changed), size=2))
        changed[start:start] = changed[start:end]
    return bytes(changed)


def main() -> None:
    """Reads damaged images until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random, told, tried = np.random.default_rng(arguments.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(folder)
        whole = images(folder)
        end = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < end:
            path = folder / sorted(whole)[random.integers(len(whole))]
            path.write_bytes(damaged(whole[path.name], random))
            begin, tried = time.process_time(), tried + 1
            try:
                read_image(path, int(random.choice([1, 3, 4])))
                told["read"] += 1
            except DataError as error:
                if "\n" in str(error) or not str(error).startswith(str(path)):
                    raise
                told[str(error).removeprefix(f"{path}: ").partition("(")[0]] += 1
            if time.process_time() - begin > SLOW:
                print(f"slow: {path.name} took {time.process_time() - begin:.1f} s: {path.read_bytes().hex()[:2000]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{tried:,} images, seed {arguments.seed}, {peak:.2f} GiB at peak")
    for reason, count in told.most_common(12):
        print(f"{count:>8,}  {reason}")


if __name__ == "__main__":
    main()
