"""The named stages of networks: what every network promises of them, and how they are read and changed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from i2i.batch import DataSpec
from i2i.errors import ConfigError
from i2i.methods.dualgan import WithNoise
from i2i.networks.base import Discriminator, Generator, Network, PatchDiscriminator, Translator
from i2i.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from i2i.networks.mlp import MLPDiscriminator, MLPGenerator
from i2i.networks.patchgan import PatchGAN
from i2i.networks.residual import ResidualDiscriminator, ResidualGenerator
from i2i.networks.resnet import ResNetGenerator
from i2i.networks.stages import changed_stage, recorded, stage_outputs
from i2i.networks.unet import UNetGenerator

SPEC = DataSpec(16, 3, 3, classes=2)
IMAGES, LATENTS, LABELS = torch.randn(2, 3, 16, 16), torch.randn(2, 8), torch.tensor([0, 1])
Case = tuple[Callable[[], Network], tuple[Tensor, ...]]
CASES: dict[str, Case] = {
    "resnet": (lambda: ResNetGenerator(3, 3, width=2, blocks=2), (IMAGES,)),
    "resnet without norm, blurred": (
        lambda: ResNetGenerator(3, 3, width=2, blocks=1, norm="none", downsample="blurred", upsample="blurred"),
        (IMAGES,),
    ),
    "unet": (lambda: UNetGenerator(3, 1, width=2, depth=3), (IMAGES,)),
    "unet without skips": (lambda: UNetGenerator(3, 1, width=2, depth=3, skips=False), (IMAGES,)),
    "unet with noise": (lambda: WithNoise(lambda a, b: UNetGenerator(a, b, width=2, depth=3), 3, 3, 2), (IMAGES,)),
    "patchgan": (lambda: PatchGAN(3, width=2, layers=2), (IMAGES,)),
    "patchgan without norm, blurred": (
        lambda: PatchGAN(3, width=2, layers=1, norm="none", downsample="blurred"),
        (IMAGES,),
    ),
    "pixelgan": (lambda: PatchGAN(3, width=2, layers=0), (IMAGES,)),
    "dcgan generator": (lambda: DCGANGenerator(SPEC, 8, width=2), (LATENTS, LABELS)),
    "dcgan discriminator": (lambda: DCGANDiscriminator(SPEC, width=2), (IMAGES, LABELS)),
    "residual generator": (lambda: ResidualGenerator(SPEC, 8, width=2, attention=8), (LATENTS, LABELS)),
    "residual discriminator": (lambda: ResidualDiscriminator(SPEC, width=2, attention=8), (IMAGES, LABELS)),
    "mlp generator": (lambda: MLPGenerator(SPEC, 8, width=4), (LATENTS, LABELS)),
    "mlp discriminator": (lambda: MLPDiscriminator(SPEC, width=4), (IMAGES, LABELS)),
}
every_network = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def built(case: Case) -> tuple[Network, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    network = case[0]().eval()
    return network, case[1]


def output_of(network: Network, inputs: tuple[Tensor, ...]) -> Tensor:
    torch.manual_seed(1)  # of noise
    output: Tensor = network(*inputs)
    return output


def test_no_network_is_left_out() -> None:
    have = {type(case[0]()) for case in CASES.values()}
    for family in (Translator, PatchDiscriminator, Generator, Discriminator):
        with pytest.raises(ConfigError, match="known: "):
            family.named("?")  # which imports all of its members
        own = [member for member in family.members.values() if member.__module__.startswith("i2i.networks.")]
        assert own
        assert set(own) <= have


@every_network
def test_stages_are_maps_under_names_of_their_own(case: Case) -> None:
    network, inputs = built(case)
    stages = network.stages()
    assert bool(stages) == (not isinstance(network, MLPGenerator | MLPDiscriminator))
    inner = dict(network.named_modules())
    assert len({id(module) for module in stages.values()}) == len(stages)
    assert all(any(module is other for other in inner.values()) for module in stages.values())
    found = stage_outputs(network, *inputs)
    assert list(found) == list(stages)  # they run in this order, or the last would have stopped it too early
    for maps in found.values():
        assert maps.ndim == 4
        assert len(maps) == 2


@every_network
def test_asking_changes_neither_the_output_nor_the_network(case: Case) -> None:
    network, inputs = built(case)
    with torch.no_grad():
        plain = output_of(network, inputs)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        with recorded(network) as found:
            asked = output_of(network, inputs)
        torch.manual_seed(1)
        stopped = stage_outputs(network, *inputs)
    assert torch.equal(asked, plain)
    assert not any(maps.shape == plain.shape and torch.equal(maps, plain) for maps in found.values())
    for name, maps in found.items():
        assert torch.equal(maps, stopped[name]), name
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(output_of(network, inputs), plain)


@every_network
def test_maps_are_as_they_were_when_their_stage_ended(case: Case) -> None:
    """Each stage asked alone is the last that runs, so that nothing behind it can have changed it."""
    network, inputs = built(case)
    for stages in (None, *([name] for name in network.stages())):
        torch.manual_seed(1)
        found = stage_outputs(network, *inputs, stages=stages)
        if stages is None:
            together = found
        else:
            assert torch.equal(found[stages[0]], together[stages[0]]), stages


class InPlace(Network):
    """A stage whose output is changed in place by what comes behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)
        self.ran: list[str] = []
        self.second.register_forward_hook(lambda *_: self.ran.append("second"))

    def forward(self, x: Tensor) -> Tensor:
        second: Tensor = self.second(self.first(x).relu_())
        return second.neg_()

    def stages(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_layers_that_work_in_place_change_nothing_that_is_returned(mode: Callable[[], torch.no_grad]) -> None:
    network, x = InPlace(), torch.randn(2, 1, 4, 4)
    with mode():
        first = network.first(x)
        second = network.second(relu(first))
        assert (first < 0).any()
        with recorded(network) as found:
            network(x)
        assert torch.equal(found["first"], first)
        assert torch.equal(found["second"], second)
        views = stage_outputs(network, x, reduce=lambda maps: maps.flatten(1))
        assert torch.equal(views["first"], first.flatten(1))
        spoilt = stage_outputs(network, x, reduce=lambda maps: maps.zero_()[:, 0])
        assert not spoilt["first"].any()
        assert torch.equal(network(x), -second)


def test_nothing_runs_behind_the_last_stage_that_is_asked_for() -> None:
    network, x = InPlace(), torch.randn(2, 1, 4, 4)
    assert list(stage_outputs(network, x, stages=["first"])) == ["first"]
    assert network.ran == []
    assert stage_outputs(network, x, stages=[]) == {}
    assert list(stage_outputs(network, x, stages=["second", "first"])) == ["first", "second"]
    assert network.ran == ["second"]


def test_maps_that_nothing_changes_are_no_copies() -> None:
    """A copy is one more node of the graph: gradients would be summed in another order."""
    network, passed = ResNetGenerator(3, 3, width=2, blocks=2), list[Tensor]()
    network.get_submodule("block2").register_forward_pre_hook(lambda _, inputs: passed.extend(inputs))
    with recorded(network, ["block1"]) as found:
        network(IMAGES)
    assert found["block1"] is passed[0]


def test_gradients_flow_through_recorded_maps() -> None:
    network, x = InPlace(), torch.randn(2, 1, 4, 4)
    with recorded(network) as found:
        network(x)
    (gradient,) = torch.autograd.grad(found["first"].sum(), network.first.weight)
    torch.testing.assert_close(gradient, x.sum().expand(2).view(2, 1, 1, 1))


def test_hooks_are_gone_after_an_error() -> None:
    network = InPlace()
    with pytest.raises(RuntimeError):
        stage_outputs(network, torch.randn(2, 5, 4, 4))
    with pytest.raises(RuntimeError), changed_stage(network, "first", torch.neg):
        network(torch.randn(2, 5, 4, 4))
    assert len(network.first._forward_hooks) == 0
    assert len(network.second._forward_hooks) == 1


def test_an_unknown_stage_and_one_that_does_not_run_are_named() -> None:
    network, x = InPlace(), torch.randn(2, 1, 4, 4)
    with pytest.raises(KeyError, match="no stage third in InPlace"):
        stage_outputs(network, x, stages=["first", "third"])
    with pytest.raises(RuntimeError, match="stage first, second of InPlace did not run"), recorded(network):
        pass


def test_a_changed_stage_is_what_the_network_goes_on_with() -> None:
    network, x = InPlace(), torch.randn(2, 1, 4, 4)
    with torch.no_grad():
        plain, first = network(x), network.first(x)
        with changed_stage(network, "first", lambda maps: maps + 1):
            changed = network(x)
        assert torch.equal(changed, -network.second(relu(first + 1)))
        assert torch.equal(network(x), plain)


def test_convolutions_of_a_chain_have_names() -> None:
    """As the recipes and files of CUT name them: before norm, activation and blur."""
    network = ResNetGenerator(3, 3, width=2, blocks=1, downsample="blurred")
    names = ["stem_conv", "stem", "down1_conv", "down1", "down2_conv", "down2", "block1", "up1", "up2"]
    assert list(network.stages()) == names
    for name, module in network.stages().items():
        assert isinstance(module, nn.Conv2d) == name.endswith("_conv")
        if isinstance(module, nn.Conv2d):
            [path] = [path for path, other in network.named_modules() if other is module]
            assert re.fullmatch(rf"{name.removesuffix('_conv')}\.\d", path)
