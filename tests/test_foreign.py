"""Weights of the PyTorch code of CycleGAN, pix2pix and CUT, against those networks written down here on their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import i2i as package
from i2i.build import build_method
from i2i.config.resolve import parse_config, resolve_config
from i2i.data.images import read_image
from i2i.errors import ConfigError, DataError
from i2i.exchange.state_files import export_state, import_state
from i2i.inference.translator import Translator
from i2i.networks.at_inference import SeededDropout
from i2i.storage.files import write_atomically
from i2i.storage.weights import load_weights, save_weights

from .conftest import Run, draw, small_config
from .toys import assert_refused

TOLERANCE = 1e-5
Build = Callable[..., nn.Module]


def norm_of(norm: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels)


class Wrapped(nn.Module):
    """A module under the name that the foreign code gives it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model(x)
        return y


class Block(nn.Module):
    def __init__(self, channels: int, norm: str, dropout: bool) -> None:
        super().__init__()
        bias = norm == "instance"
        first = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias), norm_of(norm, channels), nn.ReLU()]
        second = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias), norm_of(norm, channels)]
        self.conv_block = nn.Sequential(*first, *([nn.Dropout(0.5)] if dropout else []), *second)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv_block(x)
        return x + y


class Blur(nn.Module):
    """Zhang 2019: half the side after 1-2-1, or twice the side with 1-3-3-1, cropped to the middle."""

    filt: Tensor

    def __init__(self, channels: int, *, up: bool) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0] if up else [1.0, 2.0, 1.0])
        kernel = taps[:, None] * taps[None, :]
        kernel = kernel / kernel.sum() * (4 if up else 1)
        self.register_buffer("filt", kernel.repeat(channels, 1, 1, 1))
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        if not self.up:
            padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
            return nn.functional.conv2d(padded, self.filt, stride=2, groups=channels)
        padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        doubled = nn.functional.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=channels)
        return doubled[:, :, 1:-1, 1:-1]


def resnet(
    blocks: int = 6,
    norm: str = "instance",
    *,
    channels: tuple[int, int] = (3, 3),
    width: int = 4,
    dropout: bool = False,
    blur: str = "",
) -> nn.Module:
    """c7s1-w, d2w, d4w, R4w x blocks, u2w, uw, c7s1; ``blur`` names the anti-aliased halves, "down" and "up"."""
    bias = norm == "instance"
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels[0], width, 7, bias=bias)]
    layers += [norm_of(norm, width), nn.ReLU()]
    for c in (width, 2 * width):
        layers += [nn.Conv2d(c, 2 * c, 3, 1 if "down" in blur else 2, 1, bias=bias), norm_of(norm, 2 * c), nn.ReLU()]
        layers += [Blur(2 * c, up=False)] if "down" in blur else []
    layers += [Block(4 * width, norm, dropout) for _ in range(blocks)]
    for c in (4 * width, 2 * width):
        if "up" in blur:
            layers += [Blur(c, up=True), nn.Conv2d(c, c // 2, 3, padding=1, bias=bias)]
        else:
            layers += [nn.ConvTranspose2d(c, c // 2, 3, 2, 1, output_padding=1, bias=bias)]
        layers += [norm_of(norm, c // 2), nn.ReLU()]
    return Wrapped(nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels[1], 7), nn.Tanh()))


class Level(Wrapped):
    """A level of a U-Net with all levels inside it; its input goes past it, except at the outermost."""

    def __init__(self, *layers: nn.Module, outermost: bool = False) -> None:
        super().__init__(nn.Sequential(*layers))
        self.outermost = outermost

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.outermost else torch.cat([x, super().forward(x)], 1)


def unet(
    depth: int = 7, norm: str = "batch", *, channels: tuple[int, int] = (3, 3), width: int = 4, dropout: bool = False
) -> nn.Module:
    bias, widest = norm == "instance", 8 * width

    def down(outer: int, inner: int) -> nn.Module:
        return nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)

    def up(inner: int, outer: int) -> nn.Module:
        return nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=bias)

    inside = Level(
        *(nn.LeakyReLU(0.2, True), down(widest, widest)), *(nn.ReLU(True), up(widest, widest), norm_of(norm, widest))
    )
    sides = [(widest, widest)] * (depth - 5) + [(4 * width, widest), (2 * width, 4 * width), (width, 2 * width)]
    for outer, inner in sides:
        inside = Level(
            *(nn.LeakyReLU(0.2, True), down(outer, inner), norm_of(norm, inner)),
            inside,
            *(nn.ReLU(True), up(2 * inner, outer), norm_of(norm, outer)),
            *([nn.Dropout(0.5)] if dropout and outer == inner else []),
        )
    last = nn.ConvTranspose2d(2 * width, channels[1], 4, 2, 1)
    return Wrapped(Level(down(channels[0], width), inside, nn.ReLU(True), last, nn.Tanh(), outermost=True))


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that keep the signal's size, and statistics and shifts that are far from their defaults."""
    torch.manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0.0, 0.1)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.2)
            nn.init.normal_(layer.bias, 0.0, 0.2)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            assert layer.num_batches_tracked is not None
            layer.running_mean.normal_(0.0, 0.3)
            layer.running_var.uniform_(0.5, 2.0)
            layer.num_batches_tracked.fill_(1234)
    return network


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


@torch.no_grad()
def run_original(network: nn.Module, x: Tensor, *, training: bool) -> Tensor:
    """The original's output in either mode, without its dropout."""
    network.train(training)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    y: Tensor = network(x)
    return y


def opened(path: Path) -> Translator:
    translator = package.load(path, device="cpu")
    assert isinstance(translator, Translator)
    return translator


def assert_equal_outputs(network: nn.Module, path: Path, x: Tensor, *, training: bool) -> None:
    """One image at a time, as the original code tests."""
    translator = opened(path)
    ours = torch.cat([translator.translate(image) for image in x.chunk(len(x))])
    theirs = torch.cat([run_original(network, image, training=training) for image in x.chunk(len(x))])
    assert theirs.std() > 0.05
    difference = (ours - theirs).abs().max().item()
    assert difference < TOLERANCE, f"largest difference {difference:.2g}"


NETWORKS: dict[str, tuple[Build, dict[str, Any]]] = {
    "resnet-9": (resnet, {"blocks": 9}),
    "resnet-6": (resnet, {"width": 6}),
    "resnet-9-batch": (resnet, {"blocks": 9, "norm": "batch"}),
    "resnet-6-batch-dropout": (resnet, {"norm": "batch", "dropout": True}),
    "resnet-9-dropout": (resnet, {"blocks": 9, "dropout": True}),
    "resnet-grey": (resnet, {"blocks": 1, "channels": (1, 3)}),
    "resnet-alpha": (resnet, {"blocks": 1, "channels": (4, 1)}),
    "cut": (resnet, {"blocks": 9, "blur": "down up"}),
    "cut-no-antialias": (resnet, {"blur": "up"}),
    "cut-no-antialias-up": (resnet, {"blur": "down", "norm": "batch", "dropout": True}),
    "unet-256": (unet, {"depth": 8}),
    "unet-128": (unet, {"depth": 7, "width": 6}),
    "unet-256-instance": (unet, {"depth": 8, "norm": "instance"}),
    "unet-128-dropout": (unet, {"depth": 7, "dropout": True}),
    "unet-grey": (unet, {"depth": 6, "channels": (1, 4)}),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def original(name: str) -> nn.Module:
    build, settings = NETWORKS[name]
    return randomized(build(**settings))


def images(name: str, count: int = 2) -> Tensor:
    build, settings = NETWORKS[name]
    side = 2 ** settings["depth"] if build is unet else 24
    return torch.rand(count, settings.get("channels", (3, 3))[0], side, side) * 2 - 1


@every_network
def test_an_imported_generator_computes_what_the_original_does(name: str, tmp_path: Path, i2i: Run) -> None:
    network = original(name)
    file = saved(network, tmp_path / "latest_net_G.pth")
    result = i2i("import", file, "-o", tmp_path / "run", "--no-dropout")
    assert (result.code, result.err) == (0, "")
    assert_equal_outputs(network, tmp_path / "run", images(name), training=True)
    if NETWORKS[name][1].get("norm", "batch" if "unet" in name else "instance") == "batch":
        arguments = ("import", file, "-o", tmp_path / "running.safetensors", "--statistics", "running")
        assert i2i(*arguments, "--no-dropout").code == 0
        network = original(name)  # running it in training mode has moved its statistics
        assert_equal_outputs(network, tmp_path / "running.safetensors", images(name), training=False)


@every_network
def test_out_and_in_again_is_the_same_file(name: str, tmp_path: Path, i2i: Run) -> None:
    network = original(name)
    model = tmp_path / "model.safetensors"
    assert i2i("import", saved(network, tmp_path / "in.pth"), "-o", model).code == 0
    assert i2i("export-state", model, "-o", tmp_path / "out.pth").code == 0
    before, after = network.state_dict(), torch.load(tmp_path / "out.pth", weights_only=True)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) and tensor.dtype == after[key].dtype for key, tensor in before.items())
    again = NETWORKS[name][0](**NETWORKS[name][1])
    again.load_state_dict(after, strict=True)


def with_masks(network: nn.Module, masks: Iterator[SeededDropout]) -> nn.Module:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                parent.register_module(name, next(masks))
    assert next(masks, None) is None
    return network


@pytest.mark.parametrize("name", ["unet-128-dropout", "resnet-6-batch-dropout", "resnet-9-dropout"])
def test_dropout_stays_on_as_the_original_code_tests(name: str, tmp_path: Path, i2i: Run) -> None:
    result = i2i("import", saved(original(name), tmp_path / "G.pth"), "-o", tmp_path / "run")
    assert "dropout on" in result.out
    translator = opened(tmp_path / "run")
    masks = [layer for layer in translator.method.modules() if isinstance(layer, SeededDropout)]
    assert masks
    network, x = with_masks(original(name), iter(masks)), images(name)
    assert_equal_outputs(network, tmp_path / "run", x, training=True)
    without = run_original(original(name), x[:1], training=True)
    assert (translator.translate(x[:1]) - without).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "options", "said", "statistics", "dropout"),
    [
        ("unet-256", [], "batch norm by the statistics of each image, dropout on", "image", True),
        ("unet-256", ["--no-dropout"], "each image, dropout off", "image", False),
        ("unet-256", ["--statistics", "running"], "statistics of training, dropout on", "running", True),
        ("unet-256-instance", [], "at inference: dropout off", "running", False),
        ("unet-256-instance", ["--dropout"], "at inference: dropout on", "running", True),
        ("resnet-9-dropout", [], "at inference: dropout on", "running", True),
        ("resnet-9-batch", [], "at inference: batch norm by the statistics of each image (", "image", False),
    ],
)
def test_inference_is_the_original_codes_unless_chosen(
    name: str, options: list[str], said: str, statistics: str, dropout: bool, tmp_path: Path, i2i: Run
) -> None:
    result = i2i("import", saved(original(name), tmp_path / "G.pth"), "-o", tmp_path / "run", *options)
    assert said in result.out
    inference = load_weights(tmp_path / "run/model.safetensors")[0].inference
    assert (inference.statistics, inference.dropout) == (statistics, dropout)


def test_choices_that_the_network_does_not_have_are_refused(tmp_path: Path, i2i: Run) -> None:
    file = saved(original("resnet-6"), tmp_path / "G.pth")
    for options, said in ((["--statistics", "running"], "no batch norm"), (["--dropout"], "without dropout layers")):
        result = i2i("import", file, "-o", tmp_path / "run", *options)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert said in result.err
    assert not (tmp_path / "run").exists()


def grown_old(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The statistics that instance norm kept before PyTorch 0.4.1."""
    statistics = {"running_mean": torch.ones(4), "running_var": torch.ones(4), "num_batches_tracked": torch.tensor(9)}
    return state | {f"model.2.{key}": tensor for key, tensor in statistics.items()}


CONTAINERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "DataParallel": lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
    "state_dict": lambda state: {"epoch": 200, "state_dict": state},
    "both": lambda state: {"state_dict": {f"module._orig_mod.{key}": tensor for key, tensor in state.items()}},
    "old instance norm": grown_old,
    "parameters": lambda state: {key: nn.Parameter(tensor) for key, tensor in state.items()},
    "doubles": lambda state: {key: tensor.double() for key, tensor in state.items()},
}


@pytest.mark.parametrize("kind", [*CONTAINERS, "safetensors", "before 1.6"])
def test_every_way_of_keeping_a_state_dict_is_understood(kind: str, tmp_path: Path, i2i: Run) -> None:
    state = original("resnet-grey").state_dict()
    file = tmp_path / ("G.safetensors" if kind == "safetensors" else "G.pth")
    if kind == "safetensors":
        save_file(state, file)
    elif kind == "before 1.6":
        torch.save(state, file, _use_new_zipfile_serialization=False)
    else:
        torch.save(CONTAINERS[kind](state), file)
    result = i2i("import", file, "-o", tmp_path / "model.safetensors")
    assert (result.code, result.err) == (0, "")
    assert_equal_outputs(original("resnet-grey"), tmp_path / "model.safetensors", images("resnet-grey"), training=True)


def test_batch_norm_that_has_counted_no_batches_is_taken(tmp_path: Path, i2i: Run) -> None:
    network = original("resnet-9-batch")
    state = {key: tensor for key, tensor in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "G.pth")
    assert i2i("import", tmp_path / "G.pth", "-o", tmp_path / "run", "--statistics", "running").code == 0
    assert_equal_outputs(network, tmp_path / "run", images("resnet-9-batch"), training=False)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_to_run_code_is_refused(zipped: bool, tmp_path: Path, i2i: Run) -> None:
    state: dict[str, Any] = dict(original("resnet-grey").state_dict()) | {"note": Malicious(tmp_path / "ran")}
    torch.save(state, tmp_path / "G.pth", _use_new_zipfile_serialization=zipped)
    result = i2i("import", tmp_path / "G.pth", "-o", tmp_path / "run")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "wants to run code (" in result.err
    assert "ask its maker for a plain state dict" in result.err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()
    torch.save(original("resnet-grey"), tmp_path / "network.pth")
    assert "wants to run code" in i2i("import", tmp_path / "network.pth", "-o", tmp_path / "run").err


def altered(name: str, key: str, tensor: Tensor | None) -> Callable[[], dict[str, Any]]:
    """The state dict of a network with an entry replaced, added or (None) taken away."""

    def make() -> dict[str, Any]:
        state = {other: value for other, value in original(name).state_dict().items() if other != key}
        return state if tensor is None else state | {key: tensor}

    return make


UNUSABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown": (altered("resnet-6", "extra.weight", torch.ones(1)), "extra.weight is unknown: a resnet-6"),
    "missing": (altered("resnet-6", "model.4.bias", None), "model.4.bias is missing: a resnet-6"),
    "shape": (altered("resnet-6", "model.4.weight", torch.ones(12, 6, 4, 4)), "(12, 6, 4, 4), and in a resnet-6"),
    "affine": (altered("resnet-6", "model.2.weight", torch.ones(6)), "model.2.weight is unknown"),
    "no norm": (altered("resnet-6", "model.1.bias", None), "model.1.bias is missing"),
    "flat": (altered("resnet-6", "model.1.weight", torch.ones(6)), "that of a convolution was expected"),
    "not finite": (altered("resnet-6", "model.4.bias", torch.full((12,), torch.nan)), "model.4.bias is not finite"),
    "filter": (altered("cut", "model.7.filt", torch.ones(8, 1, 3, 3)), "model.7.filt is another filter"),
    "half blurred": (altered("cut", "model.11.filt", None), "model.11.filt is missing"),
    "twice": (altered("resnet-6", "module.model.4.bias", torch.ones(12)), "model.4.bias is there twice"),
    "whole numbers": (altered("resnet-6", "model.4.bias", torch.ones(12, dtype=torch.int64)), "torch.int64"),
    "no content": (altered("resnet-6", "model.4.bias", torch.ones(12, device="meta")), "'model.4.bias' is no plain"),
    "long number": (altered("resnet-6", f"model.{'9' * 5000}.bias", torch.ones(12)), "is unknown"),
    "channels": (lambda: resnet(1, channels=(19, 3)).state_dict(), "takes 19 channels and makes 3"),
    "no blocks": (lambda: {"model.1.weight": torch.ones(4, 3, 7, 7)}, "a ResNet has residual blocks"),
    "no end": (lambda: {"model.model.0.weight": torch.ones(4, 3, 4, 4)}, "model.model.3.weight is missing"),
    "discriminator": (lambda: {"model.0.weight": torch.ones(4, 3, 4, 4)}, "the first entry is model.0.weight"),
    "training state": (lambda: {"netG": {}, "epoch": 3}, "entry 'netG' is no plain tensor"),
    "optimiser": (lambda: {"state_dict": {"state": {}, "param_groups": []}}, "entry 'state' is no plain tensor"),
    "list": (lambda: [torch.ones(1)], "contains no state dict"),
    "empty": (dict, "contains no state dict"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_is_not_recognised_is_named(kind: str, tmp_path: Path, i2i: Run) -> None:
    make, said = UNUSABLE[kind]
    torch.save(make(), tmp_path / "G.pth")
    result = i2i("import", tmp_path / "G.pth", "-o", tmp_path / "run")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert result.err.startswith(f"error: {tmp_path / 'G.pth'}: ")
    assert said in result.err
    assert not (tmp_path / "run").exists()


def test_damaged_files_are_named(tmp_path: Path, i2i: Run) -> None:
    whole = saved(original("resnet-grey"), tmp_path / "G.pth").read_bytes()
    torch.save(original("resnet-grey").state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pth").read_bytes()
    contents = {"half": whole[: len(whole) // 2], "empty": b"", "text": b"not weights", "old": old[: len(old) // 2]}
    contents |= {"few": old[:100], "short": whole[:-30]}
    for name, content in contents.items():
        (tmp_path / f"{name}.pth").write_bytes(content)
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        for suffix in ("pth", "safetensors"):
            result = i2i("import", tmp_path / f"{name}.{suffix}", "-o", tmp_path / "run")
            assert (result.code, result.err.count("\n")) == (2, 1), name
            assert f"{name}.{suffix}: damaged" in result.err
    assert "no such file" in i2i("import", tmp_path / "missing.pth", "-o", tmp_path / "run").err
    assert "a folder; give the file" in i2i("import", tmp_path, "-o", tmp_path / "run").err


@pytest.mark.parametrize(
    ("name", "wanted", "said"),
    [
        ("resnet-9", "resnet-6", "--as resnet-6: the file holds a resnet-9; leave out --as"),
        ("resnet-9", "unet_256", "--as unet-256: the file holds a resnet-9"),
        ("unet-128", "unet-256", "--as unet-256: the file holds a unet-128"),
        ("unet-128", "vgg", "--as vgg: write resnet-9"),
    ],
)
def test_another_network_than_the_wanted_one_is_refused(
    name: str, wanted: str, said: str, tmp_path: Path, i2i: Run
) -> None:
    file = saved(original(name), tmp_path / "G.pth")
    result = i2i("import", file, "-o", tmp_path / "run", "--as", wanted)
    assert_refused(result, said)
    torch.save({"strange": torch.ones(1)}, file)
    if wanted != "vgg":
        start = "model.model.0.weight (unet-256)" if "unet" in wanted else "model.1.weight (resnet-6)"
        result = i2i("import", file, "-o", tmp_path / "run", "--as", wanted)
        assert f"the first entry is strange, and {start} was expected" in result.err


def test_the_wanted_network_is_taken(tmp_path: Path, i2i: Run) -> None:
    for name, wanted in (("resnet-9", "resnet-9"), ("resnet-6", "resnet_6blocks"), ("unet-128", "unet_128")):
        file = saved(original(name), tmp_path / f"{name}.pth")
        result = i2i("import", file, "-o", tmp_path / name, "--as", wanted)
        assert (result.code, f"imported {name} of width" in result.out) == (0, True)


def test_an_imported_run_translates_and_cannot_be_trained(
    tmp_path: Path, toy_set: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert i2i("import", saved(original("resnet-9"), tmp_path / "latest_net_G.pth")).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    source = draw(tmp_path / "a.png", 0)
    result = i2i("translate", source, "--device", "cpu")
    assert "translated 1 of 1 with a resnet-9 from latest_net_G.pth" in result.out
    assert read_image(tmp_path / "a-translated.png").shape == (20, 24, 3)
    assert "a resnet-9 from latest_net_G.pth" in i2i("info").out
    commands = [
        ("train", "--resume", run),
        ("train", "--arch", "imported", "--data", toy_set),
        ("train", "--config", run / "config.yaml", "--data", toy_set),
        ("sample", "--model", run),
    ]
    for arguments in commands:
        result = i2i(*arguments)
        assert (result.code, result.err.count("\n")) == (2, 1), arguments
    model = load_weights(run / "model.safetensors").config
    assert (model.data, "training" in model.model_dump()) == ("", False)
    settings = {"method": model.method, "networks": {"generator": model.networks["generator"]}, "optimizers": {}}
    config = parse_config(small_config("cut", toy_set).model_dump(mode="json") | settings)
    with pytest.raises(ConfigError, match="method imported only translates"):
        package.train(config, tmp_path / "training")
    assert not (tmp_path / "training").exists()


def test_nothing_is_written_over(tmp_path: Path, i2i: Run) -> None:
    file = saved(original("resnet-grey"), tmp_path / "G.pth")
    before = file.read_bytes()
    assert i2i("import", file, "-o", tmp_path / "run").code == 0
    model = tmp_path / "run/model.safetensors"
    for arguments in (
        ("import", file, "-o", tmp_path / "run"),
        ("import", file, "-o", model),
        ("import", file, "-o", file),
        ("export-state", model, "-o", file),
        ("export-state", model, "-o", model),
    ):
        result = i2i(*arguments)
        assert_refused(result, "exists: choose another")
    assert file.read_bytes() == before
    assert "ends in .safetensors" in i2i("import", file, "-o", tmp_path / "new.pth").err
    assert "of i2i already" in i2i("import", model, "-o", tmp_path / "new").err
    assert "ends in .pth" in i2i("export-state", model, "-o", tmp_path / "new.png").err


def test_an_output_that_is_no_file_is_left_alone(tmp_path: Path, i2i: Run) -> None:
    assert i2i("import", saved(original("resnet-grey"), tmp_path / "G.pth"), "-o", tmp_path / "run").code == 0
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "nowhere.pth")
    for name in ("pipe.pth", "link.pth"):
        result = i2i("export-state", tmp_path / "run", "-o", tmp_path / name)
        assert_refused(result, "exists: choose another")
    with pytest.raises(DataError, match="not a regular file"):
        write_atomically(tmp_path / "pipe.pth", b"")
    assert (tmp_path / "pipe.pth").is_fifo()


@pytest.mark.parametrize(("tensor", "said"), [(None, "is missing"), (torch.ones(2), "has the shape (2,)")])
def test_damaged_weights_are_not_exported(tensor: Tensor | None, said: str, tmp_path: Path, i2i: Run) -> None:
    assert i2i("import", saved(original("resnet-grey"), tmp_path / "G.pth"), "-o", tmp_path / "run").code == 0
    config, _, weights = load_weights(tmp_path / "run/model.safetensors")
    key = next(key for key in weights if key.endswith(".bias"))
    kept = {name: value for name, value in weights.items() if name != key}
    save_weights(tmp_path / "bad.safetensors", kept if tensor is None else kept | {key: tensor}, config, 0)
    result = i2i("export-state", tmp_path / "bad.safetensors", "-o", tmp_path / "out.pth")
    assert_refused(result, said)
    assert "bad.safetensors" in result.err
    assert not (tmp_path / "out.pth").exists()


def drawn(tmp_path: Path, arch: str, *settings: str) -> Path:
    """A weight file of a recipe as it is before training."""
    config = resolve_config(arch, options={"image_size": 32}, assignments=["networks.generator.width=4", *settings])
    torch.manual_seed(0)
    save_weights(tmp_path / "model.safetensors", build_method(config.model).inference_state(), config.model, 1)
    return tmp_path / "model.safetensors"


def test_what_was_trained_here_runs_there(tmp_path: Path) -> None:
    model, x = drawn(tmp_path, "cyclegan"), torch.rand(1, 3, 16, 16)
    for direction in ("AtoB", "BtoA"):
        network = resnet(6)
        export_state(model, tmp_path / f"{direction}.pth", direction)
        network.load_state_dict(torch.load(tmp_path / f"{direction}.pth", weights_only=True), strict=True)
        theirs = run_original(network, x, training=True)
        assert (opened(model).translate(x, direction) - theirs).abs().max() < TOLERANCE
    assert not torch.equal(*(torch.load(tmp_path / f"{d}.pth")["model.1.weight"] for d in ("AtoB", "BtoA")))
    with pytest.raises(ConfigError, match="has AtoB, BtoA"):
        export_state(model, tmp_path / "new.pth", "AtoC")


@pytest.mark.parametrize(
    ("arch", "setting", "said"),
    [
        ("cyclegan", "networks.generator.upsample=resize", "upsample resize has no counterpart"),
        ("cyclegan", "networks.generator.norm=none", "any other than instance and batch has no counterpart"),
        ("cyclegan", "networks.generator.halvings=3", "other halvings than the paper's has no counterpart"),
        ("cyclegan", "networks.generator.skips=true", "other skips than"),
        ("cyclegan", "networks.generator.outer_kernel=3", "other outer_kernel than"),
        ("cyclegan", "networks.generator.output=residual", "other output than"),
        ("cyclegan-fast", "networks.generator.width=4", "other halvings, skips, outer_kernel than"),
        ("pix2pix", "networks.generator.depth=4", "5 levels or more"),
        ("dualgan", "method.noise_channels=1", "WithNoise has no counterpart"),
        ("dcgan", "data.channels_a=3", "only translators can be exported"),
    ],
)
def test_what_has_no_counterpart_there_is_refused(arch: str, setting: str, said: str, tmp_path: Path, i2i: Run) -> None:
    result = i2i("export-state", drawn(tmp_path, arch, setting), "-o", tmp_path / "G.pth")
    assert_refused(result, said)
    assert not (tmp_path / "G.pth").exists()


def test_python_imports_too(tmp_path: Path) -> None:
    taken = import_state(saved(original("cut"), tmp_path / "G.pth"), tmp_path / "run")
    assert taken.network == "resnet-9 of width 4 with instance norm, anti-aliased down, anti-aliased up"
    assert opened(taken.path).directions == ("AtoB",)
