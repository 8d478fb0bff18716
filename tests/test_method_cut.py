"""CUT and FastCUT: the contrastive loss by hand, and updates against a plain restatement of the paper."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.batch import Batch, DataSpec
from i2i.config.resolve import resolve_config
from i2i.errors import ConfigError
from i2i.losses.contrastive import patch_nce
from i2i.methods.cut import CUT
from i2i.networks.layers import BlurDown, BlurUp
from i2i.networks.patchgan import PatchGAN
from i2i.networks.resnet import ResNetGenerator
from i2i.networks.stages import stage_outputs
from i2i.networks.unet import UNetGenerator


def make(**settings: Any) -> CUT:
    torch.manual_seed(0)
    return CUT(
        DataSpec(16, 3, 3),
        generator=partial(ResNetGenerator, width=4, blocks=6),
        discriminator=partial(PatchGAN, width=4, layers=1),
        patches=10**6,  # every place: the order of places then changes nothing
        features=8,
        **settings,
    )


def test_the_contrastive_loss_by_hand() -> None:
    query, key = torch.eye(2)[None], torch.eye(2)[None]
    # Each patch: similarity 1 to its own, 0 to the other, over the temperature 0.5.
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    torch.testing.assert_close(patch_nce(query, key, 0.5).item(), expected)
    torch.testing.assert_close(patch_nce(query, key.flip(1), 0.5).item(), expected + 2)


def test_keys_get_no_gradient_and_images_are_apart() -> None:
    query, key = torch.randn(2, 5, 3, requires_grad=True), torch.randn(2, 5, 3, requires_grad=True)
    loss = patch_nce(query, key)
    torch.autograd.backward(loss)
    assert key.grad is None
    each = [patch_nce(query[i : i + 1], key[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_similarities_are_float32_under_autocast() -> None:
    torch.manual_seed(0)
    query, key = (nn.functional.normalize(torch.randn(1, 8, 16), dim=2) for _ in range(2))
    plain = patch_nce(query, key)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(patch_nce(query, key), plain, rtol=1e-6, atol=0)


def by_hand(method: CUT, output: Tensor, source: Tensor, flipped: bool = False) -> Tensor:
    """The paper's equations 2 and 3 in plain words; the features of a mirrored output are mirrored back."""
    total = torch.zeros(())
    for stage in method.stages:
        if stage == "pixels":
            maps = output, source
        else:
            one, other = (stage_outputs(method.generator, x, stages=[stage])[stage] for x in (output, source))
            maps = one, other
        head = method.heads.get_submodule(stage)
        maps = maps[0].flip(3) if flipped else maps[0], maps[1]
        query, key = (nn.functional.normalize(head(x.flatten(2).mT), dim=2) for x in maps)
        for q, k in zip(query, key, strict=True):
            logits = q @ k.T / 0.07
            total = total - torch.log_softmax(logits, 1).diagonal().mean() / len(query)
    return total / len(method.stages)


def test_losses_are_the_papers() -> None:
    method = make()
    assert method.stages == ("pixels", "down1_conv", "down2_conv", "block1", "block5")
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    discriminator, generator = method.updates(iter([Batch(a, b)]))
    g, d = method.generator, method.discriminator
    halved = 0.5 * ((d(b) - 1).square().mean() + d(g(a)).square().mean())
    torch.testing.assert_close(discriminator.losses["gan"], halved)
    torch.testing.assert_close(generator.losses["gan"], (d(g(a)) - 1).square().mean())
    torch.testing.assert_close(generator.losses["nce"], 0.5 * by_hand(method, g(a), a))
    torch.testing.assert_close(generator.losses["nce_identity"], 0.5 * by_hand(method, g(b), b))


def test_fastcut_flips_its_input_and_the_features_back() -> None:
    method = make(flip_equivariance=True, identity_weight=0.0, contrastive_weight=10.0)
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        flipped = bool(torch.rand(()) < 0.5)
        torch.manual_seed(seed)
        _, generator = method.updates(iter([Batch(a, b)]))
        assert set(generator.losses) == {"gan", "nce"}
        output = method.generator(a.flip(3) if flipped else a)
        torch.testing.assert_close(generator.losses["gan"], (method.discriminator(output) - 1).square().mean())
        torch.testing.assert_close(generator.losses["nce"], 10 * by_hand(method, output, a, flipped))
        seen.add(flipped)
    assert seen == {True, False}


def test_the_discriminators_loss_is_halved_whatever_the_objective() -> None:
    method = make(objective="non_saturating")
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    discriminator, _ = method.updates(iter([Batch(a, b)]))
    real, fake = (torch.sigmoid(method.discriminator(x)) for x in (b, method.generator(a)))
    halved = -0.5 * (real.log().mean() + (1 - fake).log().mean())
    torch.testing.assert_close(discriminator.losses["gan"], halved)


def test_an_input_is_encoded_once_and_with_its_translation() -> None:
    method, calls = make(), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    method.generator.get_submodule("stem").register_forward_hook(count)
    list(method.updates(iter([Batch(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))])))
    assert calls == 2  # inputs on their way to the outputs, and the outputs


def test_as_many_patches_as_asked_are_compared() -> None:
    sizes: list[int] = []
    method = make()
    method.patches = 7
    method.heads.register_forward_hook(lambda _m, _i, found: sizes.extend(x.shape[1] for x in found.values()))
    list(method.updates(iter([Batch(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))])))
    assert set(sizes) == {7}


def test_stages_are_named_and_not_counted() -> None:
    assert make(stages=("down2",)).stages == ("down2",)
    with pytest.raises(ConfigError, match="no stage 'block7'; it has pixels, stem_conv, stem, down1_conv"):
        make(stages=("block7",))


def test_a_generator_without_the_papers_stages_takes_named_ones() -> None:
    torch.manual_seed(0)
    unet = partial(UNetGenerator, width=4, depth=3, norm="instance")
    method = CUT(
        DataSpec(16, 3, 3),
        generator=unet,
        discriminator=partial(PatchGAN, width=4, layers=1),
        stages=("down1", "down2"),
    )
    a, b = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    _, generator = method.updates(iter([Batch(a, b)]))
    torch.testing.assert_close(generator.losses["nce"], 0.5 * by_hand(method, method.generator(a), a))


def test_features_run_no_further_than_their_last_stage() -> None:
    method, ran = make(stages=("pixels", "down1_conv", "block1")), []
    for name in ("block2", "up1", "head"):
        method.generator.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    list(method.updates(iter([Batch(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))])))
    assert ran == ["block2", "up1", "head"]  # on the way to the outputs, and not again for the features of these


def test_stages_see_as_many_pixels_as_the_papers_do() -> None:
    network = ResNetGenerator(1, 1, width=2, blocks=6, norm="none", downsample="blurred")
    for parent in [module for module in network.modules() if not isinstance(module, nn.ReLU)]:
        for name, layer in parent.named_children():
            if isinstance(layer, nn.ReLU):  # which could hide a pixel
                parent.register_module(name, nn.Identity())
    x = torch.randn(1, 1, 160, 160, requires_grad=True)
    for stage, field in (("down1_conv", 9), ("down2_conv", 15), ("block1", 35), ("block5", 99)):
        maps = stage_outputs(network, x, stages=[stage])[stage]
        (gradient,) = torch.autograd.grad(maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum(), x)
        rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
        assert rows[-1] - rows[0] + 1 == field


def test_what_has_no_stages_or_no_negatives_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"set networks\.generator\.name to resnet"):
        CUT(DataSpec(16, 3, 3), generator=partial(UNetGenerator, width=4, depth=3), discriminator=PatchGAN)
    with pytest.raises(ConfigError, match=r"method\.patches"):
        resolve_config("cut", assignments=["method.patches=1"])


def test_anti_aliased_layers_keep_a_constant_and_blur_a_point() -> None:
    constant = torch.full((1, 2, 8, 8), 3.0)
    torch.testing.assert_close(BlurDown(2)(constant), torch.full((1, 2, 4, 4), 3.0))
    torch.testing.assert_close(BlurUp(2)(constant), torch.full((1, 2, 16, 16), 3.0))
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 16.0
    torch.testing.assert_close(BlurDown(1)(point)[0, 0, 1:4, 1:4], torch.tensor([[0.0, 0, 0], [0, 4, 0], [0, 0, 0]]))
    taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
    doubled = BlurUp(1)(point)
    torch.testing.assert_close(doubled[0, 0, 7:11, 7:11], 16 * torch.outer(taps, taps))
    assert doubled.sum().item() == pytest.approx(64.0)


def test_the_blurred_generator_keeps_sizes() -> None:
    network = ResNetGenerator(3, 3, width=4, blocks=1, downsample="blurred", upsample="blurred")
    assert network(torch.rand(1, 3, 24, 16)).shape == (1, 3, 24, 16)
    assert all("filter" not in key for key in network.state_dict())
