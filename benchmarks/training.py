"""Steps of CycleGAN by i2i's engine and as reference code writes them, in turns on the same batches.

The plain statement calls every network once for each image set, in float32, with torch's Adam. Prints CPU seconds of a
step, their ratio, and the largest relative difference of the losses in float32, each step from a common state. Images
are noise: the time does not depend on them. Up to 50 steps, in which the history gives back what it gets.

``--memory WAY``: by how many MiB the highest resident memory of three steps lies above what there was before (Linux).

usage: python -m benchmarks.training --size 128 [--batch 1] [--steps 20] [--set KEY=VALUE]... [--json FILE]
       python -m benchmarks.training --size 128 [--batch 1] [--set KEY=VALUE]... --memory plain|fp32|bf16
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from benchmarks.memory import MIB, highest_beyond
from i2i import resolve_config
from i2i.batch import Batch
from i2i.config.schema import Config
from i2i.device import environment
from i2i.methods.cyclegan import CycleGAN
from i2i.training.engine import Engine


class PlainCycleGAN:
    """The algorithm as the authors' code states it."""

    def __init__(self, method: CycleGAN, rate: float) -> None:
        self.to_b, self.to_a = (copy.deepcopy(net) for net in (method.generator_AtoB, method.generator_BtoA))
        self.judge_a, self.judge_b = (copy.deepcopy(net) for net in (method.discriminator_A, method.discriminator_B))
        generators = itertools.chain(self.to_b.parameters(), self.to_a.parameters())
        judges = itertools.chain(self.judge_a.parameters(), self.judge_b.parameters())
        self.generator = torch.optim.Adam(generators, lr=rate, betas=(0.5, 0.999))
        self.discriminator = torch.optim.Adam(judges, lr=rate, betas=(0.5, 0.999))

    def follow(self, engine: Engine) -> None:
        """Takes over weights and moments, because rounding alone would part two runs in float32."""
        method = engine.method
        assert isinstance(method, CycleGAN)
        self.to_b.load_state_dict(method.generator_AtoB.state_dict())
        self.to_a.load_state_dict(method.generator_BtoA.state_dict())
        self.judge_a.load_state_dict(method.discriminator_A.state_dict())
        self.judge_b.load_state_dict(method.discriminator_B.state_dict())
        self.generator.load_state_dict(engine.optimizers["generator"].state_dict())
        self.discriminator.load_state_dict(engine.optimizers["discriminator"].state_dict())

    def step(self, a: Tensor, b: Tensor) -> list[float]:
        """One step; the losses of both players."""
        for net in (self.judge_a, self.judge_b):
            net.requires_grad_(False)
        fake_b, fake_a = self.to_b(a), self.to_a(b)
        again_a, again_b = self.to_a(fake_b), self.to_b(fake_a)
        loss = self._is(self.judge_b, fake_b, 1.0) + self._is(self.judge_a, fake_a, 1.0)
        loss = loss + 10.0 * (l1_loss(again_a, a) + l1_loss(again_b, b))
        loss = loss + 5.0 * (l1_loss(self.to_a(a), a) + l1_loss(self.to_b(b), b))
        self.generator.zero_grad()
        torch.autograd.backward(loss)
        self.generator.step()
        for net in (self.judge_a, self.judge_b):
            net.requires_grad_(True)
        self.discriminator.zero_grad()
        losses = [loss.item()]
        for judge, real, fake in ((self.judge_a, a, fake_a), (self.judge_b, b, fake_b)):
            half = 0.5 * (self._is(judge, real, 1.0) + self._is(judge, fake.detach(), 0.0))
            torch.autograd.backward(half)
            losses.append(half.item())
        self.discriminator.step()
        return [losses[0], losses[1] + losses[2]]

    @staticmethod
    def _is(judge: nn.Module, images: Tensor, target: float) -> Tensor:
        score = judge(images)
        return mse_loss(score, torch.full_like(score, target))


def configured(size: int, batch: int, precision: str, assignments: list[str]) -> Config:
    """CycleGAN's recipe on images of three channels."""
    options = {"image_size": size, "data.channels_a": 3, "data.channels_b": 3, "training.batch_size": batch}
    return resolve_config("cyclegan", options={**options, "training.precision": precision}, assignments=assignments)


def noise(config: Config) -> Batch:
    """A batch in [-1, 1]."""
    a, b = torch.rand(2, config.training.batch_size, 3, config.image_size, config.image_size) * 2 - 1
    return Batch(a, b)


def built(config: Config) -> tuple[Engine, PlainCycleGAN]:
    """The engine of ``config``, and the plain statement with the same weights."""
    engine = Engine(config, torch.device("cpu"))
    assert isinstance(engine.method, CycleGAN)
    return engine, PlainCycleGAN(engine.method, config.optimizers["generator"].lr)


def memory(config: Config, *, plain: bool) -> int:
    """The bytes that three steps take beyond what there is before the first."""
    take_steps(config.model_copy(update={"image_size": 32}), 1, plain=plain)()  # loads code
    return highest_beyond(take_steps(config, 3, plain=plain))


def take_steps(config: Config, count: int, *, plain: bool) -> Callable[[], None]:
    """What takes steps on noise, by the plain statement or by the engine; the networks are there already."""
    engine, reference = built(config)

    def steps() -> None:
        for _ in range(count):
            batch = noise(config)
            if plain:
                assert batch.b is not None
                reference.step(batch.a, batch.b)
            else:
                engine.step(iter([batch]), 0.0)

    return steps


def in_turns(configs: dict[str, Config], steps: int) -> tuple[dict[str, float], float]:
    """Median CPU seconds of a step of each precision and of plain, and how far losses are apart in float32."""
    engines = {precision: Engine(config, torch.device("cpu")) for precision, config in configs.items()}
    _, plain = built(configs["fp32"])
    seconds: dict[str, list[float]] = {"plain": [], **{precision: [] for precision in engines}}
    apart = 0.0
    for _ in range(steps):
        batch = noise(configs["fp32"])
        assert batch.b is not None
        plain.follow(engines["fp32"])
        begin = time.process_time()
        expected = plain.step(batch.a, batch.b)
        seconds["plain"].append(time.process_time() - begin)
        for precision, engine in engines.items():
            begin = time.process_time()
            values = engine.step(iter([batch]), 0.0)
            seconds[precision].append(time.process_time() - begin)
            if precision == "fp32":
                found = [
                    sum(float(value) for tag, value in values.items() if tag.startswith(f"loss/{player}/"))
                    for player in ("generator", "discriminator")
                ]
                apart = max(apart, *(abs(one - two) / two for one, two in zip(found, expected, strict=True)))
    return {way: median(each) for way, each in seconds.items()}, apart


def main() -> None:
    """Times the steps in turns and prints a table as JSON, or the memory of one way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", choices=["plain", "fp32", "bf16"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, batch, assignments = arguments.size, arguments.batch, arguments.assignments
    configs = {precision: configured(size, batch, precision, assignments) for precision in ("fp32", "bf16")}
    if arguments.memory:
        way = arguments.memory
        print(memory(configs["fp32" if way == "plain" else way], plain=way == "plain") / MIB)
        return
    medians, apart = in_turns(configs, arguments.steps)
    table = {
        "environment": environment(),
        "settings": {"size": size, "batch": batch, "steps": arguments.steps},
        "cpu_seconds_per_step": {way: round(value, 4) for way, value in medians.items()},
        "times_as_fast": {way: round(medians["plain"] / value, 2) for way, value in medians.items()},
        "losses_apart": apart,
    }
    print(json.dumps(table))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
