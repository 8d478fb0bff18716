"""Measures what conditional models and InfoGAN have learnt of handwritten digits (MNIST's IDX files, or ``digits``).

usage: python benchmarks/digits.py classifier DATA --out FILE
       python benchmarks/digits.py cgan RUN --classifier FILE [--data DATA]
       python benchmarks/digits.py infogan RUN DATA

Each prints one JSON line. The measures, once and for all:

``classifier`` trains a small network (two convolutions, one hidden layer, 5 epochs of Adam, seed 0) on the training
digits at 28 pixels as i2i reads them, and writes it. It judges others, so it must read 98.5 % of the test digits right:
below that it says so and exits with 1.

``cgan`` draws 1,000 images of each label from a run that takes labels (seed 0). ``asked``: the share in which the
classifier reads the digit that was asked for. ``diversity`` of a digit: the mean L2 distance of 500 random pairs of its
samples, divided by the same of 500 random pairs of real test digits; 1 is as varied as the real ones. ``--data`` is by
default what the run was trained on.

``infogan`` gives all test digits to Q of a run in evaluation mode; its first categorical code, whose values are matched
one to one to labels in the best way (Hungarian algorithm), is right in the share ``accuracy``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from i2i.data.batches import to_unit
from i2i.data.collection import Part, find_collection
from i2i.data.images import WHITE
from i2i.data.one_domain import read_images
from i2i.data.store import ImageStore, Loading
from i2i.data.transforms import stack
from i2i.inference.load import load_sampler
from i2i.methods.infogan import InfoGAN
from i2i.seeding import numpy_rng

SIZE, BATCH, EPOCHS, NEEDED = 28, 64, 5, 0.985
SAMPLES, PAIRS = 1000, 500
CPU = torch.device("cpu")


class Classifier(nn.Sequential):
    """Maps digits (N, 1, 28, 28) in [-1, 1] to logits (N, labels)."""

    def __init__(self, labels: int) -> None:
        super().__init__(
            *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, labels)),
        )

    @torch.inference_mode()
    def read(self, images: Tensor) -> Tensor:
        """The labels (N,) read from images (N, 1, 28, 28), uint8."""
        self.eval()
        return torch.cat([self(to_unit(part, CPU)).argmax(1) for part in torch.split(images, 500)])


def digits_of(part: Part) -> tuple[Tensor, Tensor]:
    """The images (N, 1, 28, 28), uint8, and labels (N,) of a part."""
    store = ImageStore(part.images, Loading(1, SIZE, "square", WHITE), 2**31, lambda images: images)
    labels = torch.tensor([part.labels[number] for number in store.numbers])
    return torch.from_numpy(stack([store[i] for i in range(len(store))])), labels


def train_classifier(images: Tensor, labels: Tensor, classes: int) -> Classifier:
    """Trains from seed 0; the rate falls linearly to zero."""
    torch.manual_seed(0)
    network = Classifier(classes).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(images)), BATCH):
            optimizer.zero_grad()
            loss = cross_entropy(network(to_unit(images[chosen], CPU)), labels[chosen])
            torch.autograd.backward([loss])
            optimizer.step()
            schedule.step()
    return network


def classifier(data: str, out: Path) -> dict[str, Any]:
    """Trains, tests and writes the classifier; its file carries the names of the labels and its test result."""
    collection = find_collection(data, size=SIZE)
    network = train_classifier(*digits_of(collection.train), len(collection.labels))
    images, labels = digits_of(collection.test)
    accuracy = round((network.read(images) == labels).double().mean().item(), 4)
    about = {"labels": collection.labels, "data": data, "accuracy": accuracy, "n": len(labels)}
    save_file(network.state_dict(), out, {"classifier": json.dumps(about)})
    return {"measure": "classifier"} | about


def load_classifier(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """The classifier, and what its file says of it."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["classifier"])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (a handle, not a mapping)
    network = Classifier(len(about["labels"]))
    network.load_state_dict(weights)
    return network, about


def pair_distance(images: Tensor, *seed: int | str) -> float:
    """The mean L2 distance of 500 random pairs of different images (N, C, H, W), uint8."""
    random, flat = numpy_rng("pairs", *seed), images.flatten(1).double()
    pairs = torch.from_numpy(np.stack([random.choice(len(flat), 2, replace=False) for _ in range(PAIRS)]))
    return float((flat[pairs[:, 0]] - flat[pairs[:, 1]]).norm(dim=1).mean())


def cgan(run: Path, judge: Path, data: str | None) -> dict[str, Any]:
    """What a model with labels draws when it is asked for one."""
    network, about = load_classifier(judge)
    sampler = load_sampler(run, device="cpu")
    if not set(sampler.labels) & set(about["labels"]):
        sys.exit(f"{run}: {sampler.config.arch} cannot be asked for the labels that the classifier knows")
    data = data or sampler.config.data
    collection = find_collection(data, size=SIZE)
    real, labels = digits_of(collection.test)
    asked, diversity = {}, {}
    for name in sampler.labels:
        drawn = torch.from_numpy(stack(list(sampler.sample(SAMPLES, label=name, seed=0))))
        if drawn.shape[1:] != (1, SIZE, SIZE):
            sys.exit(f"the model draws images of {tuple(drawn.shape[1:])}; the classifier reads (1, {SIZE}, {SIZE})")
        asked[name] = round((network.read(drawn) == about["labels"].index(name)).double().mean().item(), 4)
        own = real[labels == collection.labels.index(name)]
        diversity[name] = round(pair_distance(drawn, name, "drawn") / pair_distance(own, name, "real"), 4)
    return {
        "measure": "cgan",
        "run": str(run),
        "step": sampler.step,
        "data": data,
        "classifier_accuracy": about["accuracy"],
        "n": SAMPLES * len(asked),
        "asked": mean(asked),
        "asked_minimum": min(asked.values()),
        "diversity": mean(diversity),
        "diversity_minimum": min(diversity.values()),
        "asked_by_digit": asked,
        "diversity_by_digit": diversity,
    }


def infogan(run: Path, data: str) -> dict[str, Any]:
    """How well the first categorical code tells real digits apart."""
    sampler = load_sampler(run, device="cpu")
    method = sampler.method
    if not isinstance(method, InfoGAN) or not method.categories:
        sys.exit(f"{run}: {sampler.config.arch} has no categorical code")
    collection = find_collection(data, size=sampler.config.image_size)
    [store] = read_images([collection.test], sampler.config.images, sampler.config.image_size)
    counts = np.zeros((method.categories[0], len(collection.labels)))
    with torch.inference_mode():
        for places in np.array_split(np.arange(len(store)), -(-len(store) // BATCH)):
            x = to_unit(torch.from_numpy(stack([store[i] for i in places])), CPU)
            codes = method.recognise(x)[0][0].argmax(1)
            np.add.at(counts, (codes.numpy(), [collection.test.labels[store.numbers[i]] for i in places]), 1)
    rows, columns = linear_sum_assignment(-counts)
    return {
        "measure": "infogan",
        "run": str(run),
        "step": sampler.step,
        "data": data,
        "n": int(counts.sum()),
        "accuracy": round(float(counts[rows, columns].sum() / counts.sum()), 4),
        "label_of_code": {int(row): collection.labels[column] for row, column in zip(rows, columns, strict=True)},
    }


def mean(figures: dict[str, float]) -> float:
    """The mean over digits."""
    return round(float(np.mean(list(figures.values()))), 4)


def main() -> None:
    """Runs one measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="measure", required=True)
    command = commands.add_parser("classifier")
    command.add_argument("data")
    command.add_argument("--out", type=Path, required=True)
    command = commands.add_parser("cgan")
    command.add_argument("run", type=Path)
    command.add_argument("--classifier", type=Path, required=True)
    command.add_argument("--data")
    command = commands.add_parser("infogan")
    command.add_argument("run", type=Path)
    command.add_argument("data")
    arguments = parser.parse_args()
    match arguments.measure:
        case "classifier":
            figures = classifier(arguments.data, arguments.out)
        case "cgan":
            figures = cgan(arguments.run, arguments.classifier, arguments.data)
        case _:
            figures = infogan(arguments.run, arguments.data)
    print(json.dumps(figures), flush=True)
    if arguments.measure == "classifier" and figures["accuracy"] < NEEDED:
        sys.exit(f"the classifier reads {figures['accuracy']:.2%} of {figures['n']:,} right; {NEEDED:.1%} are needed")


if __name__ == "__main__":
    main()
