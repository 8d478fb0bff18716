"""Small networks that are trained on the spot, on real images alone, to judge what others make. Seeded, and exact.

Images are squeezed to a square of at most ``SIDE`` pixels. The training draws from a generator state of its own, so
whoever evaluates while they train goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from i2i.data.images import Pixels
from i2i.data.transforms import stack
from i2i.evaluation.images import squeezed
from i2i.seeding import derive_seed

Classes = NDArray[np.int64]
SIDE, BATCH, LEARNING_RATE = 128, 32, 1e-3
EPOCHS, FEWEST_STEPS, MOST_STEPS = 5, 150, 3000


class Judge(nn.Module):
    """A network with the size of the images that it sees; maps (N, 3, H, W) to logits (N, classes, ...)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = min(side, SIDE)

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        raise NotImplementedError

    def tensor(self, images: Sequence[Pixels]) -> Tensor:
        """Images as this network takes them: (N, 3, side, side), uint8."""
        return torch.from_numpy(stack([squeezed(pixels, self.side) for pixels in images]))

    @torch.inference_mode()
    def read(self, images: Sequence[Pixels]) -> Classes:
        """The likeliest class: (N,), or (N, side, side) of each pixel."""
        self.eval()
        parts = [self(_unit(self.tensor(images[i : i + BATCH]))).argmax(1) for i in range(0, len(images), BATCH)]
        classes: Classes = torch.cat(parts).numpy()
        return classes


class Classifier(Judge):
    """Three convolutions with pooling, and a linear layer on the means and maxima of the maps: logits (N, classes)."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__(side)
        self.maps = nn.Sequential(*_block(3, 16), nn.MaxPool2d(2), *_block(16, 32), nn.MaxPool2d(2), *_block(32, 64))
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(64 * 5, classes))
        self.pool = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        logits: Tensor = self.head(torch.cat([self.pool(maps).flatten(1), maps.amax((2, 3))], 1))
        return logits


class Segmenter(Judge):
    """A U-Net of two levels: logits (N, classes, side, side). The side is brought to a multiple of four."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__(side)
        self.side = max(4, self.side // 4 * 4)
        self.fine, self.middle = nn.Sequential(*_block(3, 16)), nn.Sequential(nn.MaxPool2d(2), *_block(16, 32))
        self.coarse = nn.Sequential(nn.MaxPool2d(2), *_block(32, 64), *_block(64, 64), nn.Upsample(scale_factor=2))
        self.joined = nn.Sequential(*_block(96, 32), nn.Upsample(scale_factor=2))
        self.head = nn.Sequential(*_block(48, 32), nn.Conv2d(32, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        middle = self.middle(fine)
        joined = self.joined(torch.cat([middle, self.coarse(middle)], 1))
        logits: Tensor = self.head(torch.cat([fine, joined], 1))
        return logits


def train_classifier(images: Sequence[Pixels], labels: Sequence[int], side: int, seed: int) -> Classifier:
    """A classifier of real images; ``labels`` are numbers from 0 up."""
    with _seeded(seed, "classifier"):
        judge = Classifier(max(labels) + 1, side)
        _train(judge, judge.tensor(images), torch.tensor(labels))
    return judge


def train_segmenter(images: Sequence[Pixels], maps: Classes, side: int, seed: int) -> Segmenter:
    """A segmenter of real images; ``maps``: the class of every pixel, (N, side, side)."""
    with _seeded(seed, "segmenter"):
        judge = Segmenter(int(maps.max()) + 1, side)
        _train(judge, judge.tensor(images), torch.from_numpy(maps))
    return judge


def _train(judge: Judge, images: Tensor, classes: Tensor) -> None:
    """Adam with a rate that falls linearly to zero, on the cross entropy, in a new order every epoch."""
    batches = -(-len(images) // BATCH)
    steps = min(max(EPOCHS * batches, FEWEST_STEPS), MOST_STEPS)
    optimizer = torch.optim.Adam(judge.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    judge.train()
    for step in range(steps):
        if step % batches == 0:
            order = torch.split(torch.randperm(len(images)), BATCH)
        chosen = order[step % batches]
        optimizer.zero_grad()
        loss = cross_entropy(judge(_unit(images[chosen])), classes[chosen])
        torch.autograd.backward([loss])
        optimizer.step()
        schedule.step()
    judge.eval()


def _block(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, padding=1), nn.GroupNorm(8, out), nn.ReLU()


def _unit(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


@contextmanager
def _seeded(seed: int, name: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=()), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(derive_seed(seed, "evaluation", name))
        yield
