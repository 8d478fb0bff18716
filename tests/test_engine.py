"""One training step: what it logs, what it holds in memory, and what a method may not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.batch import Batch
from i2i.config.resolve import parse_config
from i2i.config.schema import AverageConfig, Config
from i2i.methods.base import Update
from i2i.networks.recompute import recomputed
from i2i.training.average import WeightAverage, average_decay
from i2i.training.engine import Engine
from i2i.training.logging import Meters

from .conftest import make_set, small_config
from .memory import TensorMemory
from .toys import CPU, TRANSLATORS_OF_PAPERS, TwoWeights, prepare, stream_of


class Weighted(TwoWeights, name="weighted"):
    """Two players of one weight each: the critic steps on 1 w and then on 3 w, the generator on 5 w."""

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        for factor in (1.0, 3.0):
            yield Update("critic", {"slope": factor * self.critic.weight.sum()}, {"factor": torch.tensor(factor)})
        yield Update("generator", {"slope": 5 * self.generator.weight.sum()})


class Growing(TwoWeights, name="growing"):
    """A critic that steps on 1 w in the first micro-batch, on 2 w in the second, and so on."""

    calls = 0

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        self.calls += 1
        slope = self.calls * self.critic.weight.sum()
        yield Update("critic", {"slope": slope}, {"factor": torch.tensor(float(self.calls))})


class Undecided(Weighted, name="undecided"):
    """Its second micro-batch starts with the other player."""

    calls = 0

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        self.calls += 1
        updates = list(super().updates(batches))
        yield from updates if self.calls == 1 else reversed(updates)


def toy_config(method: str, **training: object) -> Config:
    optimizer = {"name": "sgd", "lr": 1e-9}
    return parse_config(
        {
            "arch": "toy",
            "image_size": 1,
            "data": {"load_size": 1},
            "method": {"name": method},
            "networks": {},
            "optimizers": {"critic": optimizer, "generator": optimizer},
            "training": {"steps": 1, "precision": "fp32", "device": "cpu"} | training,
        }
    )


@pytest.mark.parametrize("accumulate", [1, 3])
def test_logged_values_are_means_over_updates_and_micro_batches(accumulate: int) -> None:
    values = Engine(toy_config("weighted", accumulate=accumulate), CPU).step(iter(()), 0.0)
    expected = {
        "loss/critic/slope": 2.0,
        "score/factor": 2.0,
        "health/gradient_norm_critic": 2.0,
        "loss/generator/slope": 5.0,
        "health/gradient_norm_generator": 5.0,
    }
    assert {tag: value.item() for tag, value in values.items()} == pytest.approx(expected)


def test_logged_values_are_means_over_micro_batches_that_differ() -> None:
    values = Engine(toy_config("growing", accumulate=3), CPU).step(iter(()), 0.0)
    assert {tag: value.item() for tag, value in values.items()} == pytest.approx(
        {"loss/critic/slope": 2.0, "score/factor": 2.0, "health/gradient_norm_critic": 2.0}
    )


def test_a_critic_that_steps_five_times_logs_what_one_step_would(labelled_set: Path) -> None:
    def real_score(steps: int) -> float:
        settings = [f"method.discriminator_steps={steps}", "networks.discriminator.norm=none"]
        settings += ["optimizers.discriminator.name=sgd", "optimizers.discriminator.lr=1e-12"]
        config, data = prepare("wgan-gp", labelled_set, *settings)
        first = next(stream_of(config, data))
        return Engine(config, CPU).step(iter([first] * steps), 0.0)["score/real"].item()

    assert real_score(5) == pytest.approx(real_score(1), rel=1e-5)


def test_a_value_that_some_steps_lack_is_the_mean_of_the_others() -> None:
    meters = Meters()
    meters.add({"each": torch.tensor(1.0), "rare": torch.tensor(4.0)})
    meters.add({"each": torch.tensor(3.0)})
    again = Meters()
    again.load_state_dict(meters.state_dict(), CPU)
    assert meters.take() == again.take() == {"each": 2.0, "rare": 4.0}


def test_micro_batches_that_disagree_on_the_player_are_an_error() -> None:
    engine = Engine(toy_config("undecided", accumulate=2), CPU)
    with pytest.raises(ValueError, match="undecided: micro-batches of one step update critic and generator"):
        engine.step(iter(()), 0.0)


@pytest.mark.parametrize("clip_norm", [None, 10.0, 0.5])
def test_gradients_are_clipped_to_the_norm_and_otherwise_left_alone(clip_norm: float | None) -> None:
    engine = Engine(toy_config("weighted", clip_norm=clip_norm), CPU)
    values = engine.step(iter(()), 0.0)
    gradient = engine.parameters["generator"][0].grad
    assert gradient is not None
    assert gradient.item() == pytest.approx(5.0 if clip_norm != 0.5 else 0.5, rel=1e-5)
    assert values["health/gradient_norm_generator"].item() == 5.0


@pytest.fixture(scope="session")
def wide_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("data") / "wide", trainA=8, trainB=8)


@pytest.mark.parametrize("arch", TRANSLATORS_OF_PAPERS)
def test_accumulation_needs_the_memory_of_one_micro_batch(arch: str, wide_set: Path) -> None:
    def peak(accumulate: int) -> tuple[float, float]:
        """The most bytes in a step, and those of all gradients."""
        resolved, data = prepare(arch, wide_set, *settings, f"training.accumulate={accumulate}")
        engine, stream = Engine(resolved, CPU), stream_of(resolved, data)
        with TensorMemory() as memory:
            engine.step(stream, 0.0)  # from here on the gradients of the last step are there
            memory.peak = memory.now
            engine.step(stream, 0.0)
        return memory.peak, sum(4 * each.numel() for player in engine.parameters.values() for each in player)

    config = small_config(arch, wide_set)
    wide = {"width": 16, "blocks": 2, "depth": 3}
    settings = [
        f"networks.{role}.{k}={v}" for role, has in config.networks.items() for k, v in wide.items() if k in has
    ]
    settings += ["image_size=64", "data.load_size=64"]
    settings += [f"method.{key}=16" for key in ("patches", "features") if key in config.method]
    of_one, gradients = peak(1)
    assert peak(4)[0] <= 1.15 * of_one + gradients  # which are there in the forward pass of all but the first


def test_what_is_computed_again_is_the_same_and_moves_statistics_once() -> None:
    def gradients(call: Callable[[nn.Module, Tensor], Tensor]) -> list[Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 3))
        call(network, torch.rand(2, 3, 8, 8)).square().sum().backward()  # type: ignore[no-untyped-call]
        return [*(p.grad for p in network.parameters() if p.grad is not None), *network.buffers()]

    plain = gradients(lambda network, x: network(x))
    again = gradients(lambda network, x: recomputed(network, network, x))
    assert len(plain) == len(again) == 6 + 3
    for left, right in zip(plain, again, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("arch", ["pix2pix", "cut"])
def test_accumulation_computes_what_it_did_with_every_graph_in_memory(arch: str, toy_set: Path) -> None:
    def state(recomputes: bool) -> dict[str, Tensor]:
        config, data = prepare(arch, toy_set, "training.accumulate=2")
        engine = Engine(config, CPU)
        assert engine.method.recomputes
        engine.method.recomputes = recomputes
        engine.step(stream_of(config, data), 0.0)
        return engine.method.state_dict()

    kept, again = state(recomputes=False), state(recomputes=True)
    for name, value in kept.items():
        torch.testing.assert_close(again[name], value, msg=name)


def test_the_average_has_its_half_life_in_images() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = WeightAverage({"g": module}, AverageConfig(half_life=12), images=4)
    nn.init.ones_(module.weight)
    for step in range(3):
        average.update(step)
    assert average.state_dict()["g.weight"].item() == pytest.approx(0.5)


def test_the_average_starts_late_and_remembers_a_fraction_of_a_short_run() -> None:
    # As BigGAN's authors: a copy before step 20,000, and 0.9999 from there on.
    late = AverageConfig(half_life=443_600, start=1_280_000)
    assert average_decay(late, 19_999, 64) == 0.0
    assert average_decay(late, 20_000, 64) == pytest.approx(0.9999, abs=1e-8)
    ramped = AverageConfig(half_life=1000, ramp=0.1)
    assert average_decay(ramped, 99, 4) == pytest.approx(0.5 ** (4 / 40))
    assert average_decay(ramped, 10_000, 4) == pytest.approx(0.5 ** (4 / 1000))
