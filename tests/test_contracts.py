"""What every recipe in configs/ must hold; a new recipe is covered by being there."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from i2i.config.resolve import changed, parse_config, read_recipe, recipe_names, resolve_config
from i2i.data.images import Pixels
from i2i.inference.load import load
from i2i.inference.sampler import Sampler
from i2i.inference.translator import Translator
from i2i.methods.base import Method, Progress
from i2i.storage.weights import load_tree, save_tree
from i2i.training.callbacks import Callback, every
from i2i.training.engine import Engine
from i2i.training.start import train
from i2i.training.trainer import Trainer

from .conftest import Run, small_config, small_settings
from .toys import CPU, SAMPLERS, TRANSLATORS, assert_same, prepare, stream_of

DataFor = Callable[[str], Path]
every_recipe = pytest.mark.parametrize("arch", recipe_names())


@every_recipe
def test_it_names_its_paper_and_resolves(arch: str) -> None:
    recipe = read_recipe(arch)
    assert recipe["arch"] == arch
    assert recipe["about"]
    assert re.search(r"[A-Z]\w+ 20\d\d, .*arXiv:\d{4}\.\d{4,5}", recipe["paper"])
    config = resolve_config(arch)
    assert parse_config(config.model_dump(mode="json")) == config


@every_recipe
def test_every_parameter_has_one_player_and_gets_a_gradient(arch: str, data_for: DataFor) -> None:
    # Two latents can leave all four units of a tiny perceptron at zero.
    config, data = prepare(arch, data_for(arch), "training.batch_size=8")
    assert config.training.batch_size == 8
    engine = Engine(config, CPU)
    trained = [id(p) for parameters in engine.parameters.values() for p in parameters]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(p) for p in engine.method.parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in engine.method.named_parameters()}
    stream = stream_of(config, data)
    steps = [engine.step(stream, 0.0) for _ in range(2)]  # a gate that starts closed opens in the first
    assert all(value.isfinite() for values in steps for value in values.values())
    assert any(tag.startswith("score/") for tag in steps[0])
    for name, parameter in engine.method.named_parameters():
        # A bias under instance norm has the gradient zero in exact arithmetic; it must still be reached.
        assert parameter.grad is not None, name
        if parameter.ndim > 1:
            assert not torch.equal(parameter, before[name]), name


@every_recipe
def test_a_player_changes_only_itself(arch: str, data_for: DataFor) -> None:
    config, data = prepare(arch, data_for(arch))
    engine = Engine(config, CPU)
    before: dict[str, Tensor] = {}
    stepped: list[str] = []

    def remember(*_: object) -> None:
        before.update({name: p.detach().clone() for name, p in engine.method.named_parameters()})

    def compare(optimizer: torch.optim.Optimizer, *_: object) -> None:
        (player,) = (player for player, own in engine.optimizers.items() if own is optimizer)
        stepped.append(player)
        own = {id(p) for p in engine.parameters[player]}
        moved = {id(p) for name, p in engine.method.named_parameters() if not torch.equal(p, before[name])}
        assert moved
        assert moved <= own

    for optimizer in engine.optimizers.values():
        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(compare)
    engine.step(stream_of(config, data), 0.0)
    assert set(stepped) == set(engine.parameters)


@every_recipe
def test_whatever_a_discriminator_scores_was_augmented(arch: str, data_for: DataFor) -> None:
    penalties = ["method.gradient_penalty=10", "method.clip=0", "networks.discriminator.norm=none"]
    extra = penalties if arch == "dualgan" else ["method.r1=1", "method.dragan=1"] if arch == "wgan-gp" else []
    if "mixed_penalty" in Method.named(read_recipe(arch)["method"]["name"]).schema().model_fields:
        extra = ["method.r1=1", "method.r2=1", "method.mixed_penalty=1", "networks.discriminator.norm=instance"]
    config, data = prepare(arch, data_for(arch), *extra)
    engine = Engine(config, CPU)
    engine.method.augmentation = lambda images, _: images * float("nan")  # whatever bypasses it stays finite
    for update in engine.method.updates(stream_of(config, data)):
        judged = {
            name: value
            for name, value in (update.losses | dict(update.scores)).items()
            if name.startswith(("gan", "real", "fake", "r1", "r2", "mixed", "dragan", "gradient_penalty"))
        }
        assert judged
        assert all(value.isnan() for value in judged.values()), judged


@every_recipe
def test_a_method_is_told_where_its_run_is(arch: str, data_for: DataFor) -> None:
    config, data = prepare(arch, data_for(arch), "training.accumulate=2")
    engine, stream = Engine(config, CPU), stream_of(config, data)
    for step in range(2):
        engine.step(stream, step / 4)
        images = step * 2 * config.training.batch_size * engine.method.batches_per_step
        assert engine.method.progress == Progress(step, images, step / 4)


@every_recipe
def test_saving_and_loading_between_steps_changes_nothing(arch: str, data_for: DataFor, tmp_path: Path) -> None:
    history = ["method.history=3"] if "history" in read_recipe(arch)["method"] else []
    config, data = prepare(arch, data_for(arch), "training.ema.half_life=10", "training.ema.start=0", *history)
    straight = Engine(config, CPU)
    stream = stream_of(config, data)
    for i in range(5):
        straight.step(stream, i / 5)

    first = Engine(config, CPU)
    stream = stream_of(config, data)
    for i in range(2):
        first.step(stream, i / 5)
    save_tree(tmp_path / "state.safetensors", {"engine": first.state_dict()}, {}, kind="checkpoint")
    second = Engine(changed(config, {"training.seed": 0}), CPU)
    torch.manual_seed(123)
    second.load_state_dict(load_tree(tmp_path / "state.safetensors", kind="checkpoint")[0]["engine"])
    stream = stream_of(config, data, start=2 * second.method.batches_per_step)
    for i in range(2, 5):
        second.step(stream, i / 5)
    assert_same(straight.state_dict(), second.state_dict())


@pytest.mark.parametrize("arch", [name for name in TRANSLATORS if "history" in read_recipe(name)["method"]])
def test_accumulated_batches_equal_one_large_batch(arch: str, data_for: DataFor) -> None:
    # Exact only where no statistics are shared over a batch; the history draws differently, so it is off.
    def gradient_step(*settings: str) -> dict[str, Tensor]:
        config, data = prepare(arch, data_for(arch), "method.history=0", *settings)
        engine = Engine(config, CPU)
        engine.step(stream_of(config, data), 0.0)
        return {
            f"{player}/{i}": p.grad
            for player, ps in engine.parameters.items()
            for i, p in enumerate(ps)
            if p.grad is not None
        }

    whole = gradient_step("training.batch_size=4")
    parts = gradient_step("training.batch_size=2", "training.accumulate=2")
    for name, gradient in whole.items():
        if name.startswith("generator"):  # the discriminator has seen a generator that moved in between
            torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("arch", TRANSLATORS)
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (33, 17)])
def test_translations_keep_odd_sizes(arch: str, data_for: DataFor, size: tuple[int, int]) -> None:
    config = small_config(arch, data_for(arch))
    engine = Engine(config, CPU)
    with engine.at_inference() as method:
        translator = Translator(method, config.model, 0, CPU)
        for direction in translator.directions:
            images = torch.rand(2, 3, *size) * 2 - 1
            translated = translator.translate(images, direction)
            assert translated.shape == images.shape
            assert translated.isfinite().all()
            assert translated.abs().max() <= 1


@pytest.mark.parametrize("arch", SAMPLERS)
def test_samples_are_a_function_of_the_seed(arch: str, data_for: DataFor) -> None:
    config, _ = prepare(arch, data_for(arch))
    engine = Engine(config, CPU)
    with engine.at_inference() as method:
        sampler = Sampler(method, config.model, 0, CPU)
        few, many, other = (np.stack(list(sampler.sample(n, seed=seed))) for n, seed in ((3, 1), (70, 1), (3, 2)))
    assert few.shape == (3, 16, 16, 3)
    assert np.abs(few.astype(int) - many[:3]).max() <= 1  # a batch of another size rounds differently
    assert not np.array_equal(few, other)


@every_recipe
def test_previews_are_rows_of_images(arch: str, data_for: DataFor) -> None:
    config, data = prepare(arch, data_for(arch), "training.ema.half_life=10")
    engine = Engine(config, CPU)
    engine.step(stream_of(config, data), 0.0)  # statistics and averages are no longer what they start as
    state = copy.deepcopy(engine.state_dict())
    previews = engine.preview(data.preview(config.training.sample_count))
    assert previews
    for rows in previews.values():
        assert rows.shape[1:3] == (3, config.image_size)
        assert rows.shape[3] % config.image_size == 0
        assert rows.isfinite().all()
    assert_same(state, engine.state_dict())
    assert all(module.training for module in engine.method.modules())


def outputs_of(model: Translator | Sampler) -> list[Pixels]:
    if isinstance(model, Sampler):
        return list(model.sample(2))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    return [model(image, direction) for direction in model.directions]


@every_recipe
def test_it_trains_and_its_weight_file_is_all_that_inference_needs(
    arch: str, data_for: DataFor, tmp_path: Path
) -> None:
    config, _ = prepare(arch, data_for(arch))
    outcome = train(small_config(arch, data_for(arch)), tmp_path / "run")
    live: list[list[Pixels]] = []

    def look(trainer: Trainer) -> None:
        torch.rand(3)  # a callback may draw
        with trainer.model() as model:
            live.append(outputs_of(model))

    config_again = small_config(arch, data_for(arch))
    watched = train(config_again, tmp_path / "watched", callbacks=[Callback(every(3), look, at_start=True)])
    assert len(live) == 3
    assert watched.run.model.read_bytes() == outcome.run.model.read_bytes()
    names = [path.name for path in outcome.run.checkpoints()]
    for name in names:
        trees = [load_tree(run.run.root / "checkpoints" / name, kind="checkpoint")[0] for run in (outcome, watched)]
        assert_same(trees[0]["engine"], trees[1]["engine"])
    moved = (tmp_path / "run/model.safetensors").rename(tmp_path / "alone.safetensors")
    model = load(moved)
    assert (outcome.step, model.step) == (6, 6)
    assert model.config == config.model
    if isinstance(model, Translator):
        assert model.directions[0] == "AtoB"
    for output, before in zip(outputs_of(model), live[-1], strict=True):
        assert output.shape == (16, 16, 3)
        assert np.array_equal(output, before)


@pytest.mark.parametrize("arch", SAMPLERS)
def test_it_trains_on_a_built_in_set(arch: str, tmp_path: Path, i2i: Run) -> None:
    settings = [part for setting in small_settings(arch) for part in ("--set", setting)]
    size = [] if read_recipe(arch)["data"]["path"] == "ring2d" else ["--image-size", 16]
    result = i2i("train", "--arch", arch, "--run", tmp_path / "run", "--steps", 5, "--batch-size", 4, *size, *settings)
    assert result.code == 0, result.err
    assert "using the built-in set" in result.err
    assert (tmp_path / "run/samples").is_dir()
