"""What comes next is one file: a method, a callback, a metric and an augmentation, written here and nowhere else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import i2i as package
from i2i import extensions
from i2i.batch import Batch, DataSpec
from i2i.config.resolve import parse_config
from i2i.config.schema import Config
from i2i.losses.adversarial import discriminator_loss, generator_loss
from i2i.methods.base import Judge, Update, side_by_side
from i2i.methods.translation import Direction, TranslationMethod
from i2i.networks.base import PatchDiscriminator, Translator
from i2i.training.trainer import Trainer

from .conftest import Run


class Moods(TranslationMethod, name="moods"):
    """Two translations of each input, day and night, told from the images of B and from their halved copies."""

    def __init__(
        self,
        data: DataSpec,
        *,
        generator: Callable[..., Translator],
        discriminator: Callable[..., PatchDiscriminator],
        darkness: float = 0.5,
    ) -> None:
        super().__init__()
        self.data, self.darkness = data, darkness
        channels = (data.channels_a, data.channels_b)
        self.day, self.night = generator(*channels), generator(*channels)
        self.judge_day, self.judge_night = discriminator(channels[1]), discriminator(channels[1])

    def players(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.day, self.night], "discriminator": [self.judge_day, self.judge_night]}

    def directions(self) -> dict[str, Direction]:
        channels = (self.data.channels_a, self.data.channels_b)
        return {"day": Direction(self.day, *channels), "night": Direction(self.night, *channels)}

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        batch = next(batches)
        # Annealed by where the run is, as a schedule of a weight would be.
        night = batch.other() - self.darkness * self.progress.fraction
        real = {"day": batch.other(), "night": night}
        fake = {name: direction.generator(batch.a) for name, direction in self.directions().items()}
        judges = {"day": self.judge_day, "night": self.judge_night}
        yield Update(
            "generator", {name: generator_loss(self.judge(judges[name], fake[name]), "lsgan") for name in fake}
        )
        losses = {}
        for name in fake:
            score_real, score_fake = self.judge_together(judges[name], real[name], fake[name].detach())
            losses[name] = discriminator_loss(score_real, score_fake, "lsgan")
        yield Update("discriminator", losses)

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        return {"moods": side_by_side(batch.a, self.day(batch.a), self.night(batch.a))}


def config(data: Path) -> Config:
    optimizer = {"name": "adam", "lr": 0.01}
    return parse_config(
        {
            "arch": "moods",
            "image_size": 16,
            "data": {"path": str(data), "load_size": 16},
            "method": {"name": "moods", "darkness": 0.8},
            "networks": {
                "generator": {"name": "resnet", "width": 4, "blocks": 1},
                "discriminator": {"name": "patchgan", "width": 4, "layers": 1},
            },
            "optimizers": {"generator": optimizer, "discriminator": optimizer},
            "training": {"steps": 4, "batch_size": 2, "log_every": 2, "device": "cpu", "precision": "fp32"},
        }
    )


def test_a_method_with_several_outputs_is_one_file(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    run = package.train(config(toy_set), tmp_path / "run").run.root
    assert (run / "samples/step-00000004-moods.png").is_file()
    outputs = []
    for direction in ("day", "night"):
        result = i2i(
            *("translate", toy_set / "testA", "-o", tmp_path / direction),
            *("--model", run, "--direction", direction),
        )
        assert result.code == 0, result.err
        with Image.open(tmp_path / direction / "image00.png") as image:
            outputs.append(np.asarray(image))
    assert outputs[0].shape == outputs[1].shape == (20, 24, 3)
    assert not np.array_equal(outputs[0], outputs[1])
    refused = i2i("translate", toy_set / "testA", "-o", tmp_path / "dusk", "--model", run, "--direction", "dusk")
    assert refused.code == 2
    assert "direction dusk: this model has day, night" in refused.err


def test_a_metric_is_a_callback_that_translates_held_out_images(toy_set: Path, tmp_path: Path) -> None:
    found: list[tuple[int, float]] = []
    image = np.full((16, 16, 3), 200, np.uint8)

    def brightness(trainer: Trainer) -> None:
        with trainer.model() as model:
            assert isinstance(model, package.Translator)
            found.append((trainer.position.step, float(model(image, "night").mean())))
        assert "loss/generator/night" in trainer.metrics

    outcome = package.train(
        config(toy_set), tmp_path / "run", callbacks=[package.Callback(package.every(2), brightness)]
    )
    assert [step for step, _ in found] == [2, 4]
    translator = package.load_translator(outcome.run.root)
    assert found[-1][1] == translator(image, "night").mean()


def test_an_augmentation_of_what_discriminators_see_is_one_function(toy_set: Path, tmp_path: Path) -> None:
    """A callback sets it, before the first step of a run and of one that goes on."""
    shown: list[torch.Size] = []

    def mirror(images: Tensor, discriminator: Callable[..., Tensor]) -> Tensor:
        shown.append(images.shape)
        return images.flip(3)

    def start(trainer: Trainer) -> None:
        trainer.method.augmentation = mirror

    augmenting = package.Callback(lambda position: False, start, at_start=True, at_resume=True)
    whole = package.train(config(toy_set), tmp_path / "whole", callbacks=[augmenting]).run
    generators, discriminators = torch.Size([2, 3, 16, 16]), torch.Size([4, 3, 16, 16])
    assert shown == [generators, generators, discriminators, discriminators] * 4

    stop = package.Callback(lambda position: position.step == 2, lambda trainer: os.kill(os.getpid(), signal.SIGINT))
    run = package.train(config(toy_set), tmp_path / "run", callbacks=[augmenting, stop]).run
    assert run.model.read_bytes() != whole.model.read_bytes()
    assert package.resume(run.root, callbacks=[augmenting]).step == 4
    assert run.model.read_bytes() == whole.model.read_bytes()


def test_the_configuration_of_a_run_is_a_recipe(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    run = package.train(config(toy_set), tmp_path / "run").run
    again = i2i("train", "--config", run.config, "--run", tmp_path / "again", "--set", "method.darkness=0.8")
    assert again.code == 0, again.err
    assert (tmp_path / "again/model.safetensors").read_bytes() == run.model.read_bytes()
    refused = i2i("train", "--config", run.config, "--arch", "pix2pix", "--run", tmp_path / "other")
    assert (refused.code, "name two recipes" in refused.err) == (2, True), refused.err


def updates_of(*made: object) -> Callable[[Moods, Iterator[Batch]], Iterator[Any]]:
    """What a method yields in place of its own updates, after it has taken its batch."""

    def updates(self: Moods, batches: Iterator[Batch]) -> Iterator[Any]:
        next(batches)
        yield from made

    return updates


def greedy(self: Moods, batches: Iterator[Batch]) -> Iterator[Update]:
    next(batches)
    yield from Moods.updates(self, batches)


def lists(self: Moods, batches: Iterator[Batch]) -> list[Update]:
    return list(Moods.updates(self, batches))


def judged(names: dict[str, str]) -> Callable[[Moods], dict[str, Judge]]:
    return lambda self: {name: Judge(getattr(self, judge), ("B",), "lsgan") for name, judge in names.items()}


class Hidden(nn.Module):
    """A generator that is in nobody's sight."""

    def __init__(self, generator: Translator) -> None:
        super().__init__()
        self.generator = generator


def hide(self: Moods) -> list[nn.Module]:
    return [Hidden(self.day).generator, Hidden(self.night)]


A_FLOAT: dict[str, Any] = {"gan": 1.0}
SLOPE = torch.ones((), requires_grad=True)
BREACHES: dict[str, tuple[dict[str, Any], str]] = {
    "in no player": ({"players": lambda self: {"generator": [self.day, self.night], "discriminator": [self.judge_day]}},
                     "judge_night.layer1.0.weight would never be trained"),
    "in two players": ({"players": lambda self: {"generator": [self.day], "discriminator": [self.day, self.judge_day]}},
                       "belongs to player generator and to discriminator"),
    "without parameters": ({"players": lambda self: {"generator": [*self.children()], "discriminator": [nn.Tanh()]}},
                           "player discriminator has no parameters to train"),
    "out of sight": ({"kept_for_inference": hide}, "kept_for_inference has a Hidden that is no attribute"),
    "no judge": ({"judges": judged({"judge": "judge_day"})}, "judges names judge, which is not the attribute"),
    "no update": ({"updates": updates_of()}, "updates yields no update in a step"),
    "no iterator": ({"updates": lists}, "updates has to yield its updates"),
    "no player": ({"updates": updates_of(Update("judge", {"gan": SLOPE}))}, "an update of 'judge', which players does"),
    "no loss": ({"updates": updates_of(Update("generator", {}))}, "an update of generator has no loss"),
    "a float": ({"updates": updates_of(Update("generator", A_FLOAT))}, "loss gan of generator has to be a scalar"),
    "detached": ({"updates": updates_of(Update("generator", {"gan": torch.ones(())}))}, "depends on a weight"),
    "a tuple": ({"updates": updates_of(("generator", {"gan": SLOPE}))}, "yields a tuple, and not an Update"),
    "two batches": ({"updates": greedy}, "took 2 batches in a step, and batches_per_step means 1"),
}  # fmt: skip


@pytest.mark.parametrize("breach", BREACHES)
def test_a_method_that_breaks_the_contract_is_named(breach: str, toy_set: Path, tmp_path: Path) -> None:
    changes, words = BREACHES[breach]
    name, broken = f"moods, {breach}", config(toy_set)
    broken = broken.model_copy(update={"method": broken.method | {"name": name}})
    type(name, (Moods,), changes, name=name)
    try:
        with pytest.raises(package.ConfigError) as refused:
            package.train(broken, tmp_path / "run")
    finally:
        del Moods.members[name]
    assert name in str(refused.value)
    assert words in str(refused.value)


def test_a_name_stands_for_one_class() -> None:
    with pytest.raises(package.ConfigError, match=r"method 'moods' is defined twice.*test_extending.Moods.*Other"):
        type("Other", (Moods,), {}, name="moods")
    with pytest.raises(package.ConfigError, match="needs is 'pairs', and has to be one of"):
        type("Paired", (Moods,), {"needs": "pairs"}, name="moods of pairs")
    hidden: Any = type("Other", (Moods,), {"__init__": lambda self, data, **settings: None})
    with pytest.raises(package.ConfigError, match=r"has to name its settings, not \*\*settings"):
        hidden.schema()


def halved(images: Tensor) -> Tensor:
    return images[..., ::2, ::2]


def test_a_generator_keeps_the_size(toy_set: Path) -> None:
    trainer = Trainer(config(toy_set))
    assert isinstance(trainer.method, Moods)
    trainer.method.day.forward = halved
    with trainer.model() as model:
        assert isinstance(model, package.Translator)
        with pytest.raises(package.ConfigError, match="day makes 8x10 from 16x20: outputs have to have the size"):
            model.translate(torch.zeros(1, 3, 20, 16), "day")


def test_what_a_checkpoint_holds_fits_the_order_of_players_modules(toy_set: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(toy_set))
    state = trainer.engine.state_dict()
    state["parameters"] = state["parameters"] | {"generator": state["parameters"]["generator"][::-1]}
    with pytest.raises(ValueError, match="list them in another order"):
        trainer.engine.load_state_dict(state)


def test_an_installed_package_brings_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As pip installs one: modules, and beside them a folder that names them."""
    (tmp_path / "brought.py").write_text(
        "from i2i.methods.base import Method\nPix2Pix = Method.named('pix2pix')\n"
        "class Brought(Pix2Pix, name='brought'): pass\n"
    )
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "brought-1.dist-info").mkdir()
    (tmp_path / "brought-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1\n")
    (tmp_path / "brought-1.dist-info/entry_points.txt").write_text("[i2i]\none = brought\nother = broken\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(extensions, "_begun", False)
    try:
        found = package.resolve_config("pix2pix", assignments=["method.name=brought"])
        assert found.method == package.resolve_config("pix2pix").method | {"name": "brought"}
        assert (found.about, found.paper) == ("", "")
        told = "the extension other cannot be imported (broken: No module named 'nothing_of_this_name')"
        assert caplog.text.count(told) == 1
    finally:
        del Moods.members["brought"]
