"""Images per second from a folder to batches of tensors in [-1, 1], by i2i's loading and the usual pipeline, in turns.

The usual pipeline is that of reference code: a dataset that opens a file, resizes it, crops and flips at random, and
converts it to a tensor, image by image, and torch's collation. "cold": i2i decodes each image for the first time;
"warm": it has all in memory; "disk": it has all decoded in a file (``data.disk_gib``); "device": it cuts batches out of
one tensor of all (``data.on_device``). One thread and no workers; CPU seconds count. torchvision is needed.

usage: python -m benchmarks.loading FOLDER --size 64 [--load-size 72] [--batch 16] [--images 2000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from i2i.batch import Batch
from i2i.config.schema import DataConfig
from i2i.data.images import list_images
from i2i.data.load import load_training_set
from i2i.device import environment

CPU = torch.device("cpu")


class Usual(torch.utils.data.Dataset[Tensor]):
    """The dataset of reference code."""

    def __init__(self, folder: Path, load_size: int, size: int) -> None:
        from torchvision import transforms

        self._files = list_images(folder)
        self._transform = transforms.Compose(
            [
                transforms.Resize([load_size, load_size], transforms.InterpolationMode.BICUBIC),
                transforms.RandomCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self._transform(Image.open(self._files[index % len(self)]).convert("RGB"))
        return image


def usual(folder: Path, load_size: int, size: int, batch: int) -> Iterator[Tensor]:
    """Endless batches of the usual pipeline."""
    while True:
        yield from torch.utils.data.DataLoader(Usual(folder, load_size, size), batch_size=batch, shuffle=True)


def ours(folder: Path, load_size: int, size: int, batch: int, **settings: Any) -> Iterator[Batch]:
    """Endless batches of i2i, with these settings of data."""
    config = DataConfig(path=str(folder), load_size=load_size, flip=True, channels_a=3, **settings)
    data = load_training_set(config, "one domain", image_size=size)
    return data.batches(data.dataset(batch_size=batch, seed=0), 0, workers=0, device=CPU)


def rate(batches: Iterator[Any], count: int, batch: int) -> float:
    """Images per CPU second of ``count`` batches."""
    begin = time.process_time()
    for _ in islice(batches, count):
        pass
    return count * batch / (time.process_time() - begin)


def main() -> None:
    """Prints the rates and their ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--load-size", type=int)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    given = arguments.folder, arguments.load_size or arguments.size * 286 // 256, arguments.size, arguments.batch
    files, count = len(list_images(arguments.folder)), -(-arguments.images // arguments.batch)
    plain, warm = usual(*given), ours(*given)
    disk, device = ours(*given, memory_gib=0.0, disk_gib=100.0), ours(*given, on_device=True)
    rate(plain, 1, arguments.batch)
    for filled in (warm, disk):
        rate(filled, -(-2 * files // arguments.batch), arguments.batch)  # each image was decoded
    rates: dict[str, list[float]] = {"usual": [], "cold": [], "warm": [], "disk": [], "device": []}
    for _ in range(arguments.turns):
        rates["usual"].append(rate(plain, count, arguments.batch))
        cold = ours(*given)
        rates["cold"].append(rate(cold, max(1, min(count, files // arguments.batch)), arguments.batch))
        rates["warm"].append(rate(warm, count, arguments.batch))
        rates["disk"].append(rate(disk, count, arguments.batch))
        rates["device"].append(rate(device, count, arguments.batch))
    medians = {way: median(values) for way, values in rates.items()}
    table = {
        "environment": environment(),
        "settings": dict(zip(("load_size", "size", "batch"), given[1:], strict=True)),
        "images_per_second": {way: round(value) for way, value in medians.items()},
        "times_as_fast": {way: round(value / medians["usual"], 2) for way, value in medians.items()},
    }
    print(json.dumps(table))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
