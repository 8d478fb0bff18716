"""EnCo: its content loss, the choice of patches, and its updates against a plain restatement of the released code."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from i2i.batch import Batch, DataSpec
from i2i.config.resolve import resolve_config
from i2i.config.schema import ScheduleConfig
from i2i.errors import ConfigError
from i2i.losses.similarity import dissimilarity
from i2i.methods.base import Progress
from i2i.methods.enco import EnCo, patches_at
from i2i.networks.patchgan import PatchGAN
from i2i.networks.resnet import ResNetGenerator
from i2i.networks.stages import stage_outputs
from i2i.networks.unet import UNetGenerator
from i2i.training.schedule import describe, rate_factor

A, B = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(2))


def make(*, blocks: int = 6, **settings: Any) -> EnCo:
    torch.manual_seed(0)
    return EnCo(
        DataSpec(16, 3, 3),
        generator=partial(ResNetGenerator, width=4, blocks=blocks),
        discriminator=partial(PatchGAN, width=4, layers=1),
        **{"features": 8, "patches": 10**6, "random_patches": 0.0, "candidates": 1} | settings,  # every place
    )


def test_dissimilarity_by_hand() -> None:
    target = torch.tensor([[2.0, 0.0], [0.0, 3.0]], requires_grad=True)
    predicted = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = dissimilarity(predicted, target)
    assert loss.item() == pytest.approx((0 + 2) / 2)
    torch.autograd.backward(loss)
    assert target.grad is None
    assert predicted.grad is not None


def by_hand(method: EnCo, source: Tensor) -> Tensor:
    """The content loss over all places, one pair of stages after the other."""
    maps = stage_outputs(method.generator, source)
    total = torch.zeros(())
    for number, (encoder, decoder) in enumerate(method.pairs):
        key, query = (maps[stage].permute(0, 2, 3, 1).flatten(0, 2) for stage in (encoder, decoder))
        project, predict = method.projections.projectors[number], method.projections.predictors[number]
        one, other = normalize(predict(project(query)), dim=1), normalize(project(key), dim=1)
        total = total + (2 - 2 * (one * other).sum(1)).mean()
    return total / len(method.pairs)


def test_losses_are_those_of_the_released_code() -> None:
    method = make()
    assert method.pairs == (("stem", "up2"), ("down1", "up1"), ("block2", "block4"))
    discriminator, generator = method.updates(iter([Batch(A, B)]))
    g, d = method.generator, method.discriminator
    halved = 0.5 * ((d(B) - 1).square().mean() + d(g(A)).square().mean())
    torch.testing.assert_close(discriminator.losses["gan"], halved)
    torch.testing.assert_close(generator.losses["gan"], (d(g(A)) - 1).square().mean())
    torch.testing.assert_close(generator.losses["content"], 0.5 * 2 * by_hand(method, A))
    torch.testing.assert_close(generator.losses["identity"], 0.5 * 10 * (g(B) - B).abs().mean())


def test_the_identity_loss_ends_and_the_content_loss_then_counts_in_full() -> None:
    method = make(identity_until=0.5)
    method.progress = Progress(60, 120, 0.6)
    _, generator = method.updates(iter([Batch(A, B)]))
    assert set(generator.losses) == {"gan", "content"}
    torch.testing.assert_close(generator.losses["content"], 2 * by_hand(method, A))


def test_the_encoder_is_a_target_and_nothing_is_encoded_twice() -> None:
    method, passes = make(identity_weight=0.0), 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    method.generator.register_forward_hook(count)
    _, generator = method.updates(iter([Batch(A, B)]))
    assert passes == 1
    # Through the decoder alone: the last layer before the first compared stage of it, and not after the last.
    content = generator.losses["content"]
    head, block = (method.generator.get_submodule(name) for name in ("head", "block1"))
    for module, reached in ((head, False), (block, True)):
        gradients = torch.autograd.grad(content, list(module.parameters()), retain_graph=True, allow_unused=True)
        assert any(gradient is not None for gradient in gradients) == reached


def test_half_of_the_patches_are_those_that_look_least_real() -> None:
    method = make(patches=8, candidates=4, random_patches=0.5)
    scores = torch.arange(64.0).flip(0).repeat(3, 1)
    torch.manual_seed(0)
    places = method._places(scores)
    assert places.shape == (3, 8)
    chosen = scores.gather(1, places[:, :4])
    assert not torch.equal(places[0], places[1])  # each image has draws of its own
    # The four lowest of 32 candidates among 64 are low, and in order.
    assert chosen.max() < 32
    assert torch.equal(chosen, chosen.sort(1).values)
    method.candidates, method.random_patches = 8, 0.0
    assert torch.equal(method._places(scores)[0], torch.arange(63, 55, -1))


def test_the_discriminator_points_to_places_of_the_output() -> None:
    method = make(patches=1, candidates=10**6, random_patches=0.0, identity_weight=0.0)
    seen: list[Tensor] = []
    choose = method._places

    def watch(scores: Tensor) -> Tensor:
        seen.append(scores)
        return choose(scores)

    method._places = watch  # type: ignore[method-assign]
    _, _ = method.updates(iter([Batch(A, B)]))
    expected = method.discriminator(method.generator(A)).detach()
    for scores, side in zip(seen, (16, 8, 4), strict=True):
        torch.testing.assert_close(scores, interpolate(expected, size=(side, side), mode="bilinear").flatten(1))


def test_patches_are_read_at_their_places() -> None:
    maps, places = torch.randn(2, 3, 4, 5), torch.tensor([[0, 7], [19, 3]])
    found = patches_at(maps, places)
    expected = [maps[0, :, 0, 0], maps[0, :, 1, 2], maps[1, :, 3, 4], maps[1, :, 0, 3]]
    assert torch.equal(found, torch.stack(expected))


def test_stages_come_in_pairs_of_the_same_shape() -> None:
    assert make(blocks=1).pairs == (("stem", "up2"), ("down1", "up1"))
    assert make(pairs=(("down2", "block3"),)).pairs == (("down2", "block3"),)
    with pytest.raises(ConfigError, match="no stage 'block9'; it has stem"):
        make(pairs=(("down1", "block9"),))
    with pytest.raises(ConfigError, match="compare stages of the same shape"):
        make(pairs=(("down1", "block1"),))
    with pytest.raises(ConfigError, match=r"set networks\.generator\.name to resnet"):
        EnCo(DataSpec(16, 3, 3), generator=partial(UNetGenerator, width=4, depth=3), discriminator=PatchGAN)


def test_channels_that_differ_need_no_identity_loss() -> None:
    networks: dict[str, Any] = {
        "generator": partial(ResNetGenerator, width=4, blocks=1),
        "discriminator": partial(PatchGAN, width=4, layers=1),
    }
    with pytest.raises(ConfigError, match=r"set method\.identity_weight=0"):
        EnCo(DataSpec(16, 3, 1), **networks)
    method = EnCo(DataSpec(16, 3, 1), **networks, identity_weight=0.0)
    list(method.updates(iter([Batch(A, B[:, :1])])))
    assert method.preview(Batch(A, B[:, :1]))["AtoB"].shape == (2, 3, 16, 48)


def test_the_rate_rises_as_in_the_released_code() -> None:
    schedule = resolve_config("enco").training.schedule
    epochs = [rate_factor(epoch / 200, schedule) for epoch in range(201)]
    assert epochs[0] == 0.05
    # There the rate of epoch n (from 0) is (n + 1) / 20 until it is 1.
    assert max(abs(ours - (n + 1) / 20) for n, ours in enumerate(epochs[:20])) < 0.051
    assert epochs[20:101] == [1.0] * 81
    assert epochs[150] == pytest.approx(0.5)
    assert describe(schedule, 200, None) == "rising for 10%, constant until 50% of 200 steps, then linear to 0"
    with pytest.raises(ValueError, match=r"warmup 0\.6 is longer"):
        ScheduleConfig(constant=0.5, warmup=0.6)
