"""Networks against the papers: sizes, parameter counts, and a plain restatement with the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i.batch import DataSpec
from i2i.config.resolve import resolve_config
from i2i.errors import ConfigError
from i2i.networks.layers import BlurDown, Downsampling, Init, ReflectionPad2d, initialize
from i2i.networks.mlp import MLPDiscriminator, MLPGenerator
from i2i.networks.patchgan import PatchGAN
from i2i.networks.reflection import reflect, repeatable_reflect
from i2i.networks.resnet import ResNetGenerator
from i2i.networks.stages import stage_outputs
from i2i.networks.unet import UNetGenerator
from i2i.storage.weights import parameter_count


def test_parameter_counts_are_the_published_ones() -> None:
    assert round(parameter_count(ResNetGenerator(3, 3)) / 1e6, 3) == 11.378
    assert round(parameter_count(PatchGAN(3)) / 1e6, 3) == 2.765
    assert round(parameter_count(UNetGenerator(3, 3)) / 1e6, 3) == 54.414


class Weights:
    """Hands out a network's weights in order, for a restatement that calls plain functions."""

    def __init__(self, network: nn.Module) -> None:
        self._tensors: Iterator[Tensor] = iter([p.detach() for p in network.parameters()])

    def conv(self, x: Tensor, stride: int = 1, padding: int = 0, bias: bool = True) -> Tensor:
        return F.conv2d(x, next(self._tensors), next(self._tensors) if bias else None, stride, padding)

    def up(self, x: Tensor, padding: int, output_padding: int, bias: bool = True) -> Tensor:
        weight = next(self._tensors)
        shift = next(self._tensors) if bias else None
        return F.conv_transpose2d(x, weight, shift, 2, padding, output_padding)

    def batch_norm(self, x: Tensor) -> Tensor:
        scale, shift = next(self._tensors), next(self._tensors)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]

    def all_used(self) -> bool:
        return next(self._tensors, None) is None


def instance_norm(x: Tensor) -> Tensor:
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt()


def mirrored(x: Tensor, padding: int) -> Tensor:
    return F.pad(x, (padding,) * 4, mode="reflect")


def randomized(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.2)
    return network


def test_resnet_computes_what_the_paper_describes() -> None:
    network = randomized(ResNetGenerator(3, 2, width=4, blocks=2))
    x, w = torch.randn(2, 3, 16, 20), Weights(network)
    y = F.relu(instance_norm(w.conv(mirrored(x, 3))))
    for _ in range(2):
        y = F.relu(instance_norm(w.conv(y, stride=2, padding=1)))
    for _ in range(2):
        inner = F.relu(instance_norm(w.conv(mirrored(y, 1))))
        y = y + instance_norm(w.conv(mirrored(inner, 1)))
    for _ in range(2):
        y = F.relu(instance_norm(w.up(y, padding=1, output_padding=1)))
    y = torch.tanh(w.conv(mirrored(y, 3)))
    torch.testing.assert_close(network(x), y)
    assert w.all_used()


def test_resnet_with_skips_adds_each_encoder_stage_to_the_decoder_stage_of_its_size() -> None:
    network = randomized(
        ResNetGenerator(3, 3, width=4, blocks=1, halvings=3, skips=True, outer_kernel=3, output="residual")
    )
    x, w = torch.randn(2, 3, 16, 24), Weights(network)
    encoded = [F.relu(instance_norm(w.conv(mirrored(x, 1))))]
    for _ in range(3):
        encoded.append(F.relu(instance_norm(w.conv(encoded[-1], stride=2, padding=1))))
    assert [maps.shape[1] for maps in encoded] == [4, 8, 16, 16]
    inner = F.relu(instance_norm(w.conv(mirrored(encoded[3], 1))))
    y = encoded[3] + instance_norm(w.conv(mirrored(inner, 1)))
    for skipped in reversed(encoded[:3]):
        y = F.relu(instance_norm(w.up(y, padding=1, output_padding=1))) + skipped
    torch.testing.assert_close(network(x), x + w.conv(mirrored(y, 1)))
    assert w.all_used()


@pytest.mark.parametrize("halvings", [1, 2, 4])
def test_resnet_takes_what_it_says_that_it_takes(halvings: int) -> None:
    network = ResNetGenerator(1, 3, width=2, blocks=1, halvings=halvings, skips=True)
    assert (network.multiple, network.minimum) == (2**halvings, 2 * 2**halvings)
    x = torch.randn(1, 1, network.minimum, network.minimum + network.multiple)
    assert network(x).shape == (1, 3, *x.shape[2:])


def test_a_residual_output_needs_equal_channels() -> None:
    with pytest.raises(ConfigError, match="and 1 become 3: set it to tanh"):
        ResNetGenerator(1, 3, output="residual")


@pytest.mark.parametrize("layers", [1, 3])
def test_patchgan_computes_what_the_paper_describes(layers: int) -> None:
    network = randomized(PatchGAN(3, width=4, layers=layers))
    x, w = torch.randn(2, 3, 40, 36), Weights(network)
    y = F.leaky_relu(w.conv(x, stride=2, padding=1), 0.2)
    for i in range(layers):
        y = F.leaky_relu(instance_norm(w.conv(y, stride=2 if i < layers - 1 else 1, padding=1)), 0.2)
    torch.testing.assert_close(network(x), w.conv(y, padding=1))
    assert w.all_used()


def test_pixel_discriminator_sees_single_pixels() -> None:
    network = randomized(PatchGAN(3, width=4, layers=0, norm="none"))
    x = torch.randn(1, 3, 6, 5)
    changed = x.clone()
    changed[..., 2, 3] += 1
    differs = (network(changed) != network(x))[0, 0]
    assert differs.shape == (6, 5)
    assert differs.nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("layers", "downsample", "field"), [(1, "strided", 16), (2, "strided", 34), (3, "strided", 70), (3, "blurred", 84)]
)
def test_patches_have_the_papers_size(layers: int, downsample: Downsampling, field: int) -> None:
    network = PatchGAN(1, width=2, layers=layers, norm="none", downsample=downsample)
    x = torch.randn(1, 1, 128, 128, requires_grad=True)
    scores = network(x)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert x.grad is not None
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == field


def test_a_blurred_patchgan_gives_as_many_scores() -> None:
    kinds: tuple[Downsampling, ...] = ("strided", "blurred")
    strided, blurred = (PatchGAN(3, width=4, layers=3, downsample=kind) for kind in kinds)
    x = torch.rand(1, 3, 24, 40)
    assert blurred(x).shape == strided(x).shape
    assert [p.shape for p in blurred.parameters()] == [p.shape for p in strided.parameters()]
    assert sum(isinstance(module, BlurDown) for module in blurred.modules()) == 3


def test_unet_computes_what_the_paper_describes() -> None:
    network = randomized(UNetGenerator(3, 2, width=4, depth=3))
    x = torch.randn(2, 3, 16, 8)
    # Registered level by level: down1, up1, down2, up2, down3, up3.
    weights = [Weights(network.get_submodule(f"{kind}{level}")) for level in (1, 2, 3) for kind in ("down", "up")]
    down1, up1, down2, up2, down3, up3 = weights
    a = down1.conv(x, stride=2, padding=1, bias=False)
    b = down2.batch_norm(down2.conv(F.leaky_relu(a, 0.2), stride=2, padding=1, bias=False))
    c = down3.conv(F.leaky_relu(b, 0.2), stride=2, padding=1, bias=False)
    y = torch.cat([b, up3.batch_norm(up3.up(F.relu(c), 1, 0, bias=False))], 1)
    y = torch.cat([a, up2.batch_norm(up2.up(F.relu(y), 1, 0, bias=False))], 1)
    torch.testing.assert_close(network(x), torch.tanh(up1.up(F.relu(y), 1, 0)))
    assert all(w.all_used() for w in weights)


def test_the_encoder_decoder_is_the_unet_without_its_skips() -> None:
    """Isola et al. 2017, section 4.3: nothing reaches the decoder but through the bottleneck."""
    unet = UNetGenerator(3, 2, width=4, depth=4)
    plain = UNetGenerator(3, 2, width=4, depth=4, skips=False)
    shapes = [{name: tuple(p.shape) for name, p in network.named_parameters()} for network in (unet, plain)]
    narrower = {
        name: (shape[0] // 2, *shape[1:]) for name, shape in shapes[0].items() if name[:3] in ("up1", "up2", "up3")
    }
    kept = {name: shape for name, shape in shapes[0].items() if name not in narrower or len(shape) == 1}
    assert shapes[1] == narrower | kept
    names = [name for name, _ in plain.named_modules() if "up4" not in name]
    assert names == [name for name, _ in unet.named_modules() if "up4" not in name]

    x, reached = torch.randn(1, 3, 16, 16), []
    for network in (unet, plain):
        whole = network(x)
        bottleneck = network.get_submodule("down4").register_forward_hook(lambda *_: torch.ones(1, 32, 1, 1))
        one, other = network(x), network(x + 1)
        bottleneck.remove()
        reached.append(not torch.equal(one, other))
        assert whole.shape == one.shape == (1, 2, 16, 16)
    assert reached == [True, False]


def test_unet_depth_follows_the_image_size() -> None:
    assert UNetGenerator.settings_for(256) == {"depth": 8}
    assert UNetGenerator.settings_for(64) == {"depth": 6}
    assert UNetGenerator.settings_for(1024) == {"depth": 8}


def test_unet_keeps_running_at_a_bottleneck_of_one_pixel() -> None:
    network = UNetGenerator(3, 1, width=2, depth=4, norm="instance", dropout=0.5)
    assert network(torch.randn(1, 3, 16, 16)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize(
    ("depth", "first", "inner"),
    [(8, ["up6", "up7", "up8"], ["up5", "up6", "up7"]), (6, ["up4", "up5", "up6"], ["up5"]), (2, ["up2"], [])],
)
def test_unet_drops_out_where_the_paper_does_at_any_depth(depth: int, first: list[str], inner: list[str]) -> None:
    for places, expected in (("first", first), ("inner", inner)):
        unet = UNetGenerator(3, 1, width=2, depth=depth, dropout=0.5, dropout_in=places)  # type: ignore[arg-type]
        found = [name.split(".")[0] for name, module in unet.named_modules() if isinstance(module, nn.Dropout)]
        assert sorted(found) == expected


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_generators_keep_the_size(upsample: str) -> None:
    resnet = ResNetGenerator(1, 3, width=2, blocks=1, upsample=upsample)  # type: ignore[arg-type]
    unet = UNetGenerator(1, 3, width=2, depth=3, upsample=upsample)  # type: ignore[arg-type]
    for network, size in ((resnet, (8, 20)), (unet, (8, 24))):
        out = network(torch.randn(2, 1, *size))
        assert out.shape == (2, 3, *size)
        assert out.abs().max() <= 1


def test_stages_have_names() -> None:
    network = ResNetGenerator(3, 3, width=2, blocks=2)
    x = torch.randn(1, 3, 16, 16)
    found = stage_outputs(network, x, stages=["down1", "up2", "block2"])
    assert list(found) == ["down1", "block2", "up2"]
    assert found["block2"].shape == (1, 8, 4, 4)
    torch.testing.assert_close(network.get_submodule("head")(found["up2"]), network(x))
    assert list(network.stages())[:4] == ["stem_conv", "stem", "down1_conv", "down1"]
    convolved = stage_outputs(network, x, stages=["down1_conv", "down1"])
    torch.testing.assert_close(F.relu(F.instance_norm(convolved["down1_conv"])), convolved["down1"])
    with pytest.raises(KeyError, match="block9"):
        stage_outputs(network, x, stages=["block9"])
    unet = UNetGenerator(3, 3, width=2, depth=3)
    assert stage_outputs(unet, x, stages=["down3"])["down3"].shape == (1, 8, 2, 2)


def test_initialisation_has_the_papers_spread() -> None:
    network = nn.Sequential(nn.Conv2d(64, 64, 5), nn.BatchNorm2d(4096))
    torch.manual_seed(0)
    initialize(network, "normal")
    conv, norm = network[0], network[1]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert conv.bias is not None
    assert abs(conv.weight.std().item() - 0.02) < 2e-4
    assert conv.bias.abs().max() == 0
    assert abs(norm.weight.mean().item() - 1) < 1e-3
    assert abs(norm.weight.std().item() - 0.02) < 1e-3


def test_padding_stays_in_the_precision_of_its_input() -> None:
    x = torch.randn(1, 1, 4, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        padded = ReflectionPad2d(2)(x)
    assert padded.dtype == torch.bfloat16
    torch.testing.assert_close(padded, mirrored(x, 2))


@pytest.mark.parametrize(("padding", "size"), [(1, (2, 3)), (1, (4, 9)), (3, (4, 7)), (3, (8, 11))])
def test_repeatable_reflection_is_reflection(padding: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn_like(mirrored(x, padding))
    gradients = []
    for padded in (repeatable_reflect(x, padding), mirrored(x, padding)):
        (gradient,) = torch.autograd.grad((padded * weight).sum(), x)
        gradients.append(gradient)
        assert torch.equal(padded, reflect(x, padding))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_repeatable_reflection_differentiates_twice() -> None:
    x = torch.randn(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: repeatable_reflect(x, 2).square(), x)


def test_other_devices_than_a_cpu_reflect_repeatably() -> None:
    padded = reflect(torch.empty(1, 3, 8, 6, device="meta", requires_grad=True), 2)
    assert padded.shape == (1, 3, 12, 10)
    repeatable = repeatable_reflect(torch.ones(1, 1, 4, 5, requires_grad=True), 2)
    assert type(padded.grad_fn) is type(repeatable.grad_fn)


@pytest.mark.parametrize(
    ("init", "gain", "expected"),
    [
        ("normal", None, 0.02),
        ("normal", 0.1, 0.1),
        ("xavier", None, math.sqrt(2 / (400 + 100))),
        ("xavier", 0.02, 0.02 * math.sqrt(2 / (400 + 100))),
        ("orthogonal", None, math.sqrt(1 / 400)),
        ("orthogonal", 0.8, 0.8 * math.sqrt(1 / 400)),
        ("kaiming", None, math.sqrt(2 / 1.04 / 400)),
    ],
)
def test_initial_weights_have_the_spread_of_their_papers(init: Init, gain: float | None, expected: float) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(400, 100), nn.BatchNorm1d(100))
    initialize(layers, init, gain)
    linear, norm = layers
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    assert linear.weight.std().item() == pytest.approx(expected, rel=0.02)
    # DCGAN's choice is for its own initialisation; elsewhere scales start at 1.
    assert norm.weight.std().item() == pytest.approx(expected if init == "normal" else 0.0, rel=0.3)


def test_sagan_starts_with_glorots_spread_and_cut_with_a_fiftieth() -> None:
    def spread(arch: str) -> float:
        config = resolve_config(arch)
        assert config.networks["generator"]["init"] == "xavier"
        return float(config.networks["generator"]["init_gain"] or 1.0)

    assert (spread("sagan"), spread("cut"), spread("fastcut")) == (1.0, 0.02, 0.02)


def test_perceptrons_scale_their_input_and_their_first_weights() -> None:
    """As the points of Metz et al. 2017, appendix A, want it: input / 4, orthogonal weights times 0.8."""
    torch.manual_seed(0)
    points = DataSpec(1, 2, 2)
    generator = MLPGenerator(points, 16, width=16, depth=2, init="orthogonal", init_gain=0.8)
    for layer in generator.modules():
        if isinstance(layer, nn.Linear):
            torch.testing.assert_close(torch.linalg.svdvals(layer.weight), torch.full((min(layer.weight.shape),), 0.8))
    discriminator = MLPDiscriminator(points, width=8, depth=1, activation="relu", input_scale=0.25)
    x = torch.randn(5, 2, 1, 1)
    hidden, linear = discriminator.hidden[0], discriminator.head.linear
    assert isinstance(hidden, nn.Linear)
    expected = F.relu(x.flatten(1) / 4 @ hidden.weight.T + hidden.bias) @ linear.weight[0] + linear.bias
    torch.testing.assert_close(discriminator(x), expected)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(lambda: ResNetGenerator(3, 3, width=4, blocks=1, skips=True), id="resnet with skips"),
        pytest.param(lambda: UNetGenerator(3, 3, width=4, depth=4), id="unet"),
        pytest.param(lambda: PatchGAN(3, width=4), id="patchgan"),
    ],
)
def test_a_network_can_be_compiled_as_one_graph(network: Callable[[], nn.Module]) -> None:
    plain = network()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(torch.compile(plain, backend="eager", fullgraph=True)(images), plain(images))
