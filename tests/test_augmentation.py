"""Augmentation of what discriminators see: its transforms by hand, and how its strength follows the discriminator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i.config.resolve import read_recipe, recipe_names
from i2i.config.schema import DiscriminatorAugmentation
from i2i.errors import ConfigError
from i2i.losses.penalties import r1_penalty
from i2i.methods import augmentation
from i2i.methods.augmentation import augmented
from i2i.methods.base import Progress
from i2i.storage.weights import load_tree, save_tree
from i2i.training.augmenting import AdaptiveAugmentation
from i2i.training.engine import Engine
from i2i.training.trainer import Trainer
from i2i.world import as_rank, own_part

from .conftest import Run, make_set, small_arguments, small_config
from .toys import CPU, assert_same, joined, prepare, stream_of

DataFor = Callable[[str], Path]
ALWAYS, NEVER = torch.ones(()), torch.zeros(())
ADAPTIVE = "discriminator_augmentation={mode: adaptive, strength: 0.5}"


def images(count: int = 64, channels: int = 3, side: int = 16) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def drawn(monkeypatch: pytest.MonkeyPatch, **numbers: float) -> None:
    """Has every image drawn these numbers in the place of random ones; transforms that are not named are not done."""
    coins = ["mirrored", "shifted", "brightened", "saturated", "contrasted", "cut"]
    how = ["mirror", "right", "down", "across", "along", "brightness", "saturation", "contrast"]
    row = [numbers.get(name, 0.99 if name in coins else 0.5) for name in (*coins, *how)]
    monkeypatch.setattr(augmentation, "drawn_for_all", lambda draw, count: torch.tensor(row).expand(count, -1))


def test_nothing_changes_by_a_bit_at_strength_0() -> None:
    assert torch.equal(augmented(images(), NEVER), images())


def test_images_are_shifted_with_reflected_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    x, half = images(2), torch.tensor(0.5)
    drawn(monkeypatch, shifted=0.0, right=0.99, down=0.0)  # two pixels, an eighth of the side, to the left and down
    moved = augmented(x, half)
    assert torch.equal(moved[:, :, 2:, :-2], x[:, :, :-2, 2:])
    assert torch.equal(moved[:, :, 0, :-2], x[:, :, 2, 2:])
    drawn(monkeypatch, mirrored=0.0, mirror=0.4)
    assert torch.equal(augmented(x, half), x.flip(3))
    drawn(monkeypatch, mirrored=0.0, mirror=0.6)
    assert torch.equal(augmented(x, half), x)


def test_a_quarter_of_the_image_is_cut_out(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, cut=0.0, across=0.25, along=0.5)
    expected = images(2).clone()
    expected[:, :, 4:12, :8] = 0
    assert torch.equal(augmented(images(2), torch.tensor(0.5)), expected)


def test_colours_change_as_in_diffaugment(monkeypatch: pytest.MonkeyPatch) -> None:
    x, half = images(2), torch.tensor(0.5)
    drawn(monkeypatch, brightened=0.0, brightness=0.9)
    torch.testing.assert_close(augmented(x, half), x + 0.4)
    drawn(monkeypatch, saturated=0.0, saturation=0.0)
    torch.testing.assert_close(augmented(x, half), x.mean(1, keepdim=True).expand_as(x))
    drawn(monkeypatch, contrasted=0.0, contrast=1.0)
    mean = x.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(augmented(x, half), (x - mean) * 1.5 + mean)


def test_of_a_pair_only_the_output_is_recoloured_and_both_move_alike() -> None:
    torch.manual_seed(0)
    x = images(64, 3)
    pair = augmented(torch.cat([x, x], 1), ALWAYS, 3)
    torch.manual_seed(0)
    alone = augmented(x, ALWAYS)
    assert torch.equal(pair[:, 3:], alone)
    values = x.flatten(1)
    for item, known in zip(pair[:, :3].flatten(1), values, strict=True):
        assert torch.isin(item[item != 0], known).all()  # moved or cut out, in its own colours
    assert torch.equal(pair[:, :3] == 0, pair[:, 3:] == 0)


def test_alpha_keeps_its_values() -> None:
    x = images(32, 4)
    alpha = augmented(x, ALWAYS)[:, 3]
    assert torch.isin(alpha[alpha != 0], x[:, 3]).all()


def test_each_transform_is_done_as_often_as_the_strength_says() -> None:
    x = images(2000, 1)
    same = (augmented(x, torch.tensor(0.3)) == x).flatten(1).all(1).float().mean().item()
    # Of six coins that of the mirror shows half of the time, and saturation does nothing to grey.
    assert same == pytest.approx(0.85 * 0.7**4, abs=0.04)


def test_penalties_see_through_it() -> None:
    weights = torch.randn(3, 16, 16, requires_grad=True)
    torch.manual_seed(0)
    penalty = r1_penalty(lambda x: (augmented(x, ALWAYS) * weights).sum((1, 2, 3)).tanh(), images(4))
    torch.autograd.backward(penalty)
    assert weights.grad is not None
    assert weights.grad.abs().sum() > 0


def test_ranks_draw_for_the_whole_batch() -> None:
    torch.manual_seed(0)
    whole = augmented(images(8), ALWAYS)
    for rank in range(2):
        torch.manual_seed(0)
        with as_rank(rank, 2):
            torch.testing.assert_close(augmented(own_part(images(8)), ALWAYS), own_part(whole))


@pytest.mark.parametrize("arch", ["cyclegan-fast", "dcgan"])
def test_its_state_is_part_of_a_checkpoint(arch: str, data_for: DataFor, tmp_path: Path) -> None:
    config, data = prepare(arch, data_for(arch), "discriminator_augmentation={mode: adaptive, strength: 0.5, rise: 20}")
    engines = [Engine(config, CPU) for _ in range(2)]
    for step in range(4):
        if step == 2:
            save_tree(tmp_path / "state.safetensors", {"engine": engines[0].state_dict()}, {}, kind="checkpoint")
            engines[1].load_state_dict(load_tree(tmp_path / "state.safetensors", kind="checkpoint")[0]["engine"])
        for engine in engines[: 1 + (step >= 2)]:
            values = engine.step(stream_of(config, data, start=step), 0.0)
    strengths = [value for tag, value in values.items() if tag.startswith("augmentation/strength")]
    assert len(strengths) == len(engines[0].method.judges())
    assert not {0.0, 0.5, 0.8} & {strength.item() for strength in strengths}
    assert_same(*(engine.state_dict() for engine in engines))


@pytest.mark.parametrize(("bias", "sign", "steps_up"), [(-9.0, 0.0, -5), (9.0, 0.59, -3 + 2)])
def test_the_strength_follows_the_sign_of_real_images(bias: float, sign: float, steps_up: int, toy_set: Path) -> None:
    config, data = prepare("cut", toy_set, ADAPTIVE, "optimizers.discriminator.lr=1e-9")
    engine, stream = Engine(config, CPU), stream_of(config, data)
    assert engine.augmentation is not None
    engine.augmentation.load_state_dict({"strength": torch.tensor(0.5), "sign": torch.tensor(sign)})
    with torch.no_grad():
        engine.method.get_submodule("discriminator.head").get_parameter("bias").fill_(bias)
    values = [engine.step(stream, 0.0) for _ in range(5)]
    assert values[0]["score/sign_of_real"] == (1 if bias > 0 else -1)
    assert values[0]["augmentation/strength"] == 0.5
    # From 0.59, the mean of 256 images passes the target in the fourth step of two.
    assert engine.augmentation.strengths()[""].item() == pytest.approx(0.5 + steps_up * 2 / 500_000, abs=5e-7)


def test_each_discriminator_has_a_strength_of_its_own(toy_set: Path) -> None:
    config, data = prepare("cyclegan", toy_set, ADAPTIVE, "optimizers.discriminator.lr=1e-9")
    engine, stream = Engine(config, CPU), stream_of(config, data)
    assert engine.augmentation is not None
    # What a checkpoint had when there was one strength for all.
    engine.augmentation.load_state_dict({"strength": torch.tensor(0.5), "sign": torch.tensor(0.6)})
    for domain, bias in (("A", 9.0), ("B", -9.0)):
        head = engine.method.get_submodule(f"discriminator_{domain}.head")
        head.get_parameter("bias").data.fill_(bias)
    values = [engine.step(stream, 0.0) for _ in range(2)]
    tags = ["augmentation/strength_A", "augmentation/strength_B"]
    assert [tag for tag in values[0] if tag.startswith("augmentation")] == tags
    assert [values[0][tag].item() for tag in tags] == [0.5, 0.5]
    assert [values[1][tag].item() - 0.5 for tag in tags] == pytest.approx([2 / 500_000, -2 / 500_000], abs=5e-7)


def test_a_discriminator_sees_images_augmented_by_its_own_strength(toy_set: Path) -> None:
    config, _ = prepare("cyclegan", toy_set, "discriminator_augmentation={mode: adaptive}")
    engine = Engine(config, CPU)
    assert engine.augmentation is not None
    engine.augmentation.load_state_dict({"strength": torch.tensor([0.0, 0.8]), "sign": torch.zeros(2)})
    method, x = engine.method, images()
    a, b = (method.get_submodule(f"discriminator_{domain}") for domain in "AB")
    assert torch.equal(method.judge(a, x), a(x))
    assert not torch.equal(method.judge(b, x), b(x))


def test_in_a_short_run_the_strength_rises_in_a_tenth_of_it() -> None:
    def after(steps: int, images: int) -> float:
        made = AdaptiveAugmentation(DiscriminatorAugmentation(mode="adaptive"), {"": nn.Identity()}, None, CPU)
        made.load_state_dict({"strength": NEVER, "sign": ALWAYS})
        for step in range(steps):
            made.adapt({"": ALWAYS}, images, Progress(step, step * images, step / 1000))
        return made.strengths()[""].item()

    assert after(51, 64) == pytest.approx(0.5, abs=1e-3)
    assert after(200, 64) == pytest.approx(0.8)  # and no further
    assert after(51, 2) == pytest.approx(50 * 2 / 1024, abs=1e-4)  # so slowly that the mean of signs can follow


def test_auto_is_on_where_a_set_is_small(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    auto = "discriminator_augmentation.mode=auto"
    enough = make_set(tmp_path / "enough", trainA=100, trainB=100, testA=1, testB=1)
    for arch, data, mode in (
        ("pix2pix", toy_set, "adaptive"),
        ("pix2pix", enough, "none"),
        ("dualgan", toy_set, "none"),  # its scores have no sign
    ):
        assert Trainer(small_config(arch, data, auto)).config.discriminator_augmentation.mode == mode
    result = i2i(*small_arguments("cut", toy_set, tmp_path / "run", steps=1), "--set", auto)
    assert "discriminators see their images augmented adaptively" in result.err


def test_recipes_stay_as_they_are_and_propose_it_for_a_small_set(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    assert not [arch for arch in recipe_names() if "discriminator_augmentation" in read_recipe(arch)]
    result = i2i(*small_arguments("cut", toy_set, tmp_path / "run", steps=1), "--set", "health.enabled=true")
    assert "discriminators see their images augmented" not in result.err
    assert "augment what discriminators see (discriminator_augmentation.mode=adaptive, or fixed" in result.err


def test_what_cannot_work_is_refused(toy_set: Path) -> None:
    with pytest.raises(ConfigError, match=r"dualgan .*set discriminator_augmentation\.mode=fixed"):
        Trainer(small_config("dualgan", toy_set, "discriminator_augmentation.mode=adaptive"))
    with pytest.raises(ConfigError, match="target would have no effect"):
        small_config("cut", toy_set, "discriminator_augmentation={mode: none, target: 0.5}")
    with pytest.raises(ConfigError, match=r"rise: .* would have no effect; set mode to adaptive"):
        small_config("cut", toy_set, "discriminator_augmentation={mode: fixed, strength: 0.2, rise: 1000}")
    with pytest.raises(ConfigError, match="strength 0"):
        small_config("cut", toy_set, "discriminator_augmentation.mode=fixed")


def test_an_augmented_step_differs_only_where_it_is_on(toy_set: Path) -> None:
    states, weights = [], []
    for setting in ("{mode: none}", "{mode: auto}", "{mode: fixed, strength: 0.5}"):
        config, data = prepare("cyclegan-fast", toy_set, f"discriminator_augmentation={setting}")
        engine = Engine(config, CPU)
        engine.step(stream_of(config, data), 0.0)
        states.append(engine.state_dict())
        weights.append(joined(engine.inference_weights()))
    assert_same(*states[:2])
    assert not torch.equal(weights[0], weights[2])
