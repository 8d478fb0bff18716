"""DualGAN: updates against a plain restatement, clipped critics, and noise in the generators."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.batch import Batch, DataSpec
from i2i.errors import ConfigError
from i2i.inference.load import load_translator
from i2i.methods.dualgan import DualGAN
from i2i.networks.layers import Norm
from i2i.networks.patchgan import PatchGAN
from i2i.networks.unet import UNetGenerator
from i2i.training.engine import Engine
from i2i.training.start import train

from .conftest import small_config
from .toys import CPU, prepare, stream_of


def make(norm: Norm = "instance", **settings: Any) -> DualGAN:
    torch.manual_seed(0)
    return DualGAN(
        DataSpec(16, 3, 3),
        generator=partial(UNetGenerator, width=4, depth=3, norm="instance"),
        discriminator=partial(PatchGAN, width=4, layers=1, norm=norm),
        **settings,
    )


def test_losses_are_the_papers() -> None:
    method = make(critic_steps=2, reconstruction_a=100.0, reconstruction_b=300.0)
    batches = [Batch(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)) for _ in range(3)]
    assert method.batches_per_step == 3
    *critics, generator = method.updates(iter(batches))
    assert [update.player for update in critics] == ["discriminator"] * 2
    g, f, c_a, c_b = method.generator_AtoB, method.generator_BtoA, method.critic_A, method.critic_B
    a, b = batches[2].a, batches[2].other()  # algorithm 1 draws anew for the generators
    expected = {
        "gan_A": -c_a(f(b)).mean(),
        "gan_B": -c_b(g(a)).mean(),
        "cycle_A": 100 * (f(g(a)) - a).abs().mean(),
        "cycle_B": 300 * (g(f(b)) - b).abs().mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(generator.losses[name], value)
    a, b = batches[1].a, batches[1].other()
    # the second critic update was made after the first clipping, of which this batch is the only other change
    torch.testing.assert_close(critics[1].losses["gan_A"], c_a(f(b)).mean() - c_a(a).mean())
    torch.testing.assert_close(critics[1].losses["gan_B"], c_b(g(a)).mean() - c_b(b).mean())


def test_squares_are_forgotten_as_in_the_released_code(toy_set: Path) -> None:
    config, _ = prepare("dualgan", toy_set)
    rates = [group["alpha"] for o in Engine(config, CPU).optimizers.values() for group in o.param_groups]
    assert rates == [0.9, 0.9]


def test_critics_stay_clipped(toy_set: Path) -> None:
    config, data = prepare("dualgan", toy_set, "method.clip=0.02")
    engine = Engine(config, CPU)
    engine.step(stream_of(config, data), 0.0)
    for name in ("critic_A", "critic_B"):
        assert all(p.abs().max() <= 0.02 for p in engine.method.get_submodule(name).parameters())


def test_the_penalty_takes_the_place_of_clipping() -> None:
    method = make(clip=0.0, gradient_penalty=10.0)
    update = next(iter(method.updates(iter([Batch(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16))]))))
    assert {"gan_A", "gradient_penalty_A", "gan_B", "gradient_penalty_B"} == set(update.losses)
    with pytest.raises(ConfigError, match=r"set method\.clip or method\.gradient_penalty"):
        make(clip=0.0)
    with pytest.raises(ConfigError, match="batch norm"):
        make(norm="batch", clip=0.0, gradient_penalty=10.0)


@pytest.mark.parametrize("noise", ["dropout", "channels"])
def test_another_seed_is_another_translation(toy_set: Path, tmp_path: Path, noise: str) -> None:
    """The difference to CycleGAN: generators receive noise, at translation too."""
    settings = ["networks.generator.depth=6", "image_size=64", "data.load_size=64"]
    if noise == "channels":
        settings += ["networks.generator.dropout=0", "method.noise_channels=2"]
    run = train(small_config("dualgan", toy_set, *settings, "training.steps=1"), tmp_path / "run").run.root
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    translator = load_translator(run)
    first, again, other = (translator(image, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.testing.assert_close(translator(image[1:], seed=1), first[1:], atol=1e-5, rtol=1e-5)
