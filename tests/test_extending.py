"""What comes next is one file: a method, a callback, a metric and an augmentation, written here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import i2i as package
from i2i.batch import Batch, DataSpec
from i2i.config.resolve import parse_config
from i2i.config.schema import Config
from i2i.losses.adversarial import discriminator_loss, generator_loss
from i2i.methods.base import Update, side_by_side
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
    shown: list[torch.Size] = []

    def mirror(images: Tensor, discriminator: Callable[..., Tensor]) -> Tensor:
        shown.append(images.shape)
        return images.flip(3)

    def start(trainer: Trainer) -> None:
        trainer.method.augmentation = mirror

    callback = package.Callback(lambda position: False, start, at_start=True)
    package.train(config(toy_set), tmp_path / "run", callbacks=[callback])
    generators, discriminators = torch.Size([2, 3, 16, 16]), torch.Size([4, 3, 16, 16])
    assert shown == [generators, generators, discriminators, discriminators] * 4
