"""The doctor: every sign on what has it and on what has not, beside a run that it leaves as it is, and its verdict."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from i2i.batch import Batch
from i2i.config.resolve import changed, parse_config, recipe_names
from i2i.config.schema import Config
from i2i.device import capabilities
from i2i.doctor import judgements, outputs, signs
from i2i.doctor.curves import Curves
from i2i.doctor.examine import look_at_judges
from i2i.doctor.watch import Watch
from i2i.errors import TrainingStopped
from i2i.losses.adversarial import Objective, boundary, discriminator_loss, generator_loss, saturated
from i2i.methods.base import Judge, Update, ending
from i2i.methods.bicyclegan import BicycleGAN
from i2i.networks.patchgan import PatchGAN
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_tree, load_weights
from i2i.training.callbacks import Callback, every
from i2i.training.engine import Engine
from i2i.training.health import TIMED, HealthCheck
from i2i.training.start import resume, train
from i2i.training.trainer import Trainer

from .conftest import Run, draw, make_set, small_arguments, small_config
from .toys import CPU, TRANSLATORS, TwoWeights, assert_same, prepare, stream_of


def discs(count: int, seed: int = 0, size: int = 32) -> Tensor:
    """Coloured discs of several places and sizes on white: (N, 3, H, W)."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images = torch.ones(count, 3, size, size)
    for image in images:
        row, column, radius = (torch.rand(3, generator=random) * torch.tensor([size, size, size / 3])).tolist()
        inside = (y - row) ** 2 + (x - column) ** 2 < (radius + 4) ** 2
        image[:, inside] = torch.rand(3, 1, generator=random) * 1.5 - 0.9
    return images


REAL, INPUTS, GOOD = discs(8, seed=1), discs(8, seed=2), discs(8, seed=3)


def checkered(images: Tensor, amplitude: float, period: int = 2) -> Tensor:
    """The images with a pattern as a layer that doubles the size leaves it: half of each period is lighter."""
    stripe = (torch.arange(images.shape[2]) % period < period // 2).float() * 2 - 1
    return images * 0.8 + amplitude * stripe[:, None] * stripe


def spotted(images: Tensor) -> Tensor:
    """White spots of 2x2 on a darker copy."""
    made = images * 0.5 - 0.3
    made[:, :, 10::8, 10::8] = made[:, :, 11::8, 10::8] = made[:, :, 10::8, 11::8] = made[:, :, 11::8, 11::8] = 1.0
    return made


OUTPUTS: dict[str, tuple[Callable[[], float | None], Callable[[], float | None]]] = {
    "diversity": (
        lambda: outputs.diversity(GOOD[:1].expand(8, -1, -1, -1) + 0.01 * torch.randn(8, 3, 32, 32), REAL),
        lambda: outputs.diversity(GOOD, REAL),
    ),
    "change": (lambda: outputs.change(INPUTS, INPUTS + 0.005), lambda: outputs.change(INPUTS, INPUTS * 0.8)),
    "tones": (
        lambda: outputs.tones(INPUTS, -INPUTS, REAL, paired=False),
        lambda: outputs.tones(INPUTS, 0.6 * INPUTS + 0.1, REAL, paired=False),
    ),
    "checkerboard": (
        lambda: outputs.checkerboard(checkered(GOOD, 0.15), REAL),
        lambda: outputs.checkerboard(GOOD, REAL),
    ),
    "spots": (lambda: outputs.spots(spotted(GOOD), REAL), lambda: outputs.spots(GOOD, REAL)),
    "blobs": (
        lambda: outputs.blobs((GOOD * 50).clamp(-1, 1), REAL * 0.9, INPUTS * 0.9),
        lambda: outputs.blobs(GOOD, REAL, INPUTS),
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_figure_of_outputs_tells_the_sick_from_the_healthy(name: str) -> None:
    torch.manual_seed(0)
    sick, healthy = (measure() for measure in OUTPUTS[name])
    assert sick is not None
    assert healthy is not None
    assert signs.ALL[name].beyond(sick), sick
    assert not signs.ALL[name].beyond(healthy), healthy


def test_a_pattern_of_period_four_is_a_checkerboard_too() -> None:
    found = outputs.checkerboard(checkered(GOOD, 0.3, period=4), REAL)
    assert found is not None
    assert signs.CHECKERBOARD.beyond(found)


def test_the_correlation_is_that_of_numpy() -> None:
    x, y = torch.rand(3, 1, 9, 9) - 0.5, torch.rand(3, 1, 9, 9) - 0.5
    expected = np.mean([np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(x.numpy(), y.numpy(), strict=True)])
    assert outputs.tones(x, y, x, paired=False) == pytest.approx(expected, abs=1e-5)


def test_domains_or_pairs_may_want_light_and_dark_exchanged() -> None:
    assert outputs.tones(INPUTS, -INPUTS, -REAL, paired=False) == pytest.approx(1)
    assert outputs.tones(INPUTS, -INPUTS, -INPUTS, paired=True) == pytest.approx(1)
    assert outputs.tones(INPUTS, -INPUTS, torch.ones_like(INPUTS), paired=True) is None  # the truth says nothing


def test_images_of_one_label_are_compared_with_each_other() -> None:
    label = torch.tensor([0, 0, 1, 1])
    collapsed = REAL[[0, 0, 1, 1]]  # another for each label, and always the same of one
    assert outputs.diversity(collapsed, REAL[:4], label) == 0
    assert (outputs.diversity(collapsed, REAL[:4]) or 0) > 0.3


def hiding(inputs: Tensor, back: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The figure of a cycle whose first half is grey all over, but for the input in amplitudes that nobody sees."""
    made = 0.01 * inputs
    faint = outputs.as_from_a_file(made, torch.Generator().manual_seed(0))
    return outputs.hidden_signal(inputs, back(made, inputs), back(faint, inputs))


def test_a_cycle_that_hides_its_input_is_told_from_one_that_does_not() -> None:
    hidden = hiding(INPUTS, lambda seen, _: seen * 100)
    honest = hiding(INPUTS, lambda seen, inputs: inputs * 0.9 + seen)
    assert signs.HIDDEN_SIGNAL.beyond(hidden), hidden
    assert not signs.HIDDEN_SIGNAL.beyond(honest), honest


@pytest.mark.parametrize("objective", ["non_saturating", "minimax", "lsgan", "hinge"])
def test_the_boundary_is_where_both_answers_cost_the_same(objective: Objective) -> None:
    middle = boundary(objective)
    assert middle is not None
    scores = torch.tensor([middle])
    one = discriminator_loss(scores, scores + 1e-3, objective) - discriminator_loss(scores, scores, objective)
    other = discriminator_loss(scores - 1e-3, scores, objective) - discriminator_loss(scores, scores, objective)
    assert one.item() == pytest.approx(other.item(), rel=1e-2)
    assert boundary("wasserstein") is None


def test_what_is_saturated_teaches_the_minimax_generator_nothing() -> None:
    sure = torch.tensor([-6.0], requires_grad=True)
    generator_loss(sure, "minimax").backward()  # type: ignore[no-untyped-call]
    assert sure.grad is not None
    assert abs(sure.grad.item()) < 0.01
    assert saturated(torch.tensor([6.0]), sure, "minimax") == 1
    assert saturated(torch.tensor([1.0]), torch.tensor([-6.0]), "minimax") == 0.5
    assert saturated(torch.tensor([1.05, 0.5]), torch.tensor([0.0, 0.4]), "lsgan") == 0.5
    assert saturated(torch.tensor([1.5]), torch.tensor([-0.5]), "hinge") == 0.5
    assert saturated(torch.tensor([99.0]), torch.tensor([-99.0]), "wasserstein") == 0


def measured(real: Tensor, held_out: Tensor, fake: Tensor) -> dict[str, float]:
    figures = judgements.answers(real, fake, "non_saturating")
    figures["held_out_gap"] = judgements.held_out_gap(real, held_out, fake)
    return {f"health/{name}": value for name, value in figures.items()}


def rung(*times: dict[str, float]) -> set[str]:
    watch = Watch()
    return {finding.sign.name for values in times for finding in watch.add(values)}


def test_scores_of_a_discriminator_that_wins_and_of_one_that_learns_by_heart() -> None:
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 32, generator=random)
    wins = measured(8 + noise[0], 8 + noise[1], -8 + noise[2])
    by_heart = measured(4 + noise[0], -1 + noise[1], -3 + noise[2])
    fair = measured(1 + 2 * noise[0], 1 + 2 * noise[1], -1 + 2 * noise[2])
    blind = measured(noise[0], noise[1], noise[2])
    assert rung(wins, wins, wins) == {"right_answers", "saturated_scores"}
    assert rung(by_heart, by_heart, by_heart) == {"sign_of_real", "held_out_gap"}
    assert rung(fair, fair, fair) == rung(blind, blind, blind) == set()
    assert by_heart["health/held_out_gap"] == pytest.approx(5 / 7, abs=0.15)


def curves(**values: Callable[[int], float]) -> dict[str, float]:
    names = {"loss": "loss/generator/gan", "norm": "health/gradient_norm_generator"}
    records = [{names[name]: value(i) for name, value in values.items()} for i in range(40)]
    return {f"health/{k}": v for k, v in Curves(records).figures(["generator"], ["generator"]).items()}


CURVES: dict[str, dict[str, Callable[[int], float]]] = {
    "exploding": {"loss": lambda i: 2 * 1.3**i},
    "oscillating": {"loss": lambda i: 1 + 0.95 * (-1) ** i},
    "stalled": {"loss": lambda i: 0.7},
    "vanishing_gradient": {"loss": lambda i: 0.7 + 0.1 * (i % 3), "norm": lambda i: 5 * 0.8**i},
}


@pytest.mark.parametrize("name", CURVES)
def test_curves_of_every_sick_kind_ring_that_alarm_alone(name: str) -> None:
    times = [curves(**CURVES[name])] * 3
    assert rung(*times) == {name}


def test_curves_that_fall_or_hover_are_healthy() -> None:
    falling = curves(loss=lambda i: 5 * 0.9**i + 0.1 * (i % 2), norm=lambda i: 3 - 0.05 * i)
    hovering = curves(loss=lambda i: (-1) ** i * 0.1 + 0.02 * (i % 3), norm=lambda i: 1 + (i % 5))  # wasserstein's
    assert rung(*[falling] * 3) == rung(*[hovering] * 3) == set()


def test_each_of_several_discriminators_of_one_domain_is_looked_at(toy_set: Path) -> None:
    config, data = prepare("bicyclegan", toy_set)
    method, batch = Engine(config, CPU).method, next(stream_of(config, data))
    found = look_at_judges(method, batch, batch, batch_size=2)
    kinds = {tag.removeprefix("health/right_answers") for tag in found if "right_answers" in tag}
    assert kinds == {f"_{kind}{size}" for kind in ("random", "encoded") for size in ("", "_halved")}


def test_two_discriminators_of_one_domain_and_other_inputs_are_told_apart(toy_set: Path) -> None:
    config, data = prepare("bicyclegan", toy_set)
    method, batch = Engine(config, CPU).method, next(stream_of(config, data))
    assert isinstance(method, BicycleGAN)
    judges = method.judges()
    first, second = list(judges)[:2]
    pair = PatchGAN(6, width=4, layers=1)
    method.judges = lambda: {first: judges[first], second: Judge(pair, ("A", "B"), "lsgan")}  # type: ignore[method-assign]
    found = look_at_judges(method, batch, batch, batch_size=2)
    kinds = {tag.removeprefix("health/right_answers") for tag in found if "right_answers" in tag}
    assert kinds == {ending(first), ending(second)}


def test_a_loss_that_is_rarely_logged_has_no_curve() -> None:
    common = {"loss/generator/gan": 1.0, "health/gradient_norm_generator": 1.0}
    records = [common | ({"loss/generator/r1": 0.5} if i == 39 else {}) for i in range(40)]
    assert Curves(records).figures(["generator"], ["generator"])["oscillating_generator"] == 0


def test_a_sign_needs_patience_and_is_told_once() -> None:
    watch, low, high = Watch(), {"health/diversity_AtoB": 0.1}, {"health/diversity_AtoB": 0.9}
    told = [len(watch.add(values)) for values in (low, low, high, low, low, low, low, low)]
    assert told == [0, 0, 0, 0, 0, 1, 0, 0]
    assert watch.add({"health/diversity_BtoA": 0.1}, over=True) == []  # said of the other direction
    assert [finding.on for finding in watch.findings()] == [True, True]
    assert len(Watch().add(low, over=True)) == 1
    assert Watch().add({"health/gradient_norm_generator": 1e9, "loss/generator/gan": 1e9}, over=True) == []


def test_the_page_says_of_every_sign_its_threshold_and_what_to_do() -> None:
    page = (Path(__file__).parent.parent / "docs/doctor.md").read_text()
    sections = dict(re.findall(r"^### `(\w+)`(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert sections.keys() == signs.ALL.keys()
    for name, sign in signs.ALL.items():
        assert f"**{sign.bounds}**" in sections[name], name
        assert "What to do:" in sections[name], name


# Beside a run.


def watched(arch: str, data: Path, *settings: str, **options: Any) -> Config:
    return small_config(arch, data, "health.enabled=true", "health.every=2", *settings, **options)


HEALTH = ("--set", "health.enabled=true")


def lines_of(root: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in RunFolder(root).metrics.read_text().splitlines()]


def health_of(root: Path) -> list[dict[str, float]]:
    return [record for record in lines_of(root) if "health/few_images" in record]


def state_of(root: Path) -> Any:
    tree, _ = load_tree(RunFolder(root).checkpoints()[-1], kind="checkpoint")
    return {key: value for key, value in tree.items() if key != "seconds"}


@pytest.mark.parametrize("arch", ["cyclegan-fast", "infogan"])
def test_the_doctor_changes_a_run_by_no_bit(arch: str, data_for: Callable[[str], Path], tmp_path: Path) -> None:
    options = {"training.steps": 4}
    train(watched(arch, data_for(arch), **options), tmp_path / "with")
    train(small_config(arch, data_for(arch), **options), tmp_path / "without")
    assert_same(state_of(tmp_path / "with"), state_of(tmp_path / "without"))
    plain = [record for record in lines_of(tmp_path / "with") if "health/few_images" not in record]
    assert plain == lines_of(tmp_path / "without")
    assert [record["step"] for record in health_of(tmp_path / "with")] == [2, 4]
    events = EventAccumulator(str(tmp_path / "with/tb"))
    events.Reload()
    figures = {tag for record in health_of(tmp_path / "with") for tag in record if tag != "step"}
    assert figures <= set(events.Tags()["scalars"])
    assert all(map(signs.sign_of, figures))


@pytest.mark.parametrize("arch", recipe_names())
def test_a_look_at_any_recipe_leaves_it_as_it_is(
    arch: str, data_for: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawing = ["networks.generator.init_gain=1"] if arch == "bicyclegan" else []  # it starts at an even grey
    trainer = Trainer(watched(arch, data_for(arch), "training.ema.half_life=10", "training.ema.start=0", *drawing))
    check = HealthCheck(trainer, tmp_path / "none")
    trainer.probe(1)
    before = copy.deepcopy(trainer.engine.state_dict())
    modes = [module.training for module in trainer.method.modules()]
    found = check.measure(trainer)
    assert_same(trainer.engine.state_dict(), before)
    assert [module.training for module in trainer.method.modules()] == modes
    assert all(map(math.isfinite, found.values()))
    names = {sign.name for sign, _ in filter(None, map(signs.sign_of, found))}
    judged = (
        {"right_answers", "saturated_scores", "sign_of_real"} if "wgan" not in arch and arch != "dualgan" else set()
    )
    translated = {"change", "tones"} if arch in TRANSLATORS else set()
    both = {"hidden_signal"} if arch.startswith("cyclegan") or arch == "dualgan" else set()
    expected = {"diversity", "checkerboard", "spots", "blobs", "held_out_gap", "few_images", "rate_at_zero"}
    assert expected | judged | translated | both == names


def test_a_run_that_was_interrupted_measures_and_says_the_same(
    toy_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = watched("cyclegan", toy_set, "training.log_every=1", **{"training.steps": 8})
    train(config, tmp_path / "whole")
    assert caplog.text.count("few images for this recipe") == 1
    caplog.clear()
    stop = Callback(every(5), lambda trainer: signal_self() if trainer.position.step == 5 else None)
    assert train(config, tmp_path / "parts", callbacks=[stop]).interrupted
    resume(tmp_path / "parts")
    assert lines_of(tmp_path / "parts") == lines_of(tmp_path / "whole")
    assert caplog.text.count("few images for this recipe") == 1


def signal_self() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_discriminator_that_wins_is_told_while_the_run_goes_on(
    labelled_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ["method.objective=minimax", "optimizers.generator.lr=1e-9", "optimizers.discriminator.lr=0.01"]
    settings += ["health.every=10", "training.sample_every=100"]
    config = watched("dcgan", labelled_set, *settings, **{"training.steps": 100})
    last = Callback(lambda position: position.step == 90, lambda trainer: told.append(caplog.text))
    told = list[str]()
    train(config, tmp_path / "run", callbacks=[last])
    for sign in (signs.RIGHT_ANSWERS, signs.SATURATED_SCORES, signs.VANISHING_GRADIENT, signs.DIVERSITY):
        assert told[0].count(sign.says) == caplog.text.count(sign.says) == 1, sign.name
    assert signs.RIGHT_ANSWERS.remedy in caplog.text


def test_a_rate_of_zero_before_the_end_is_told(toy_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = watched("pix2pix", toy_set, "training.schedule.constant=0", **{"training.steps": 4})
    run = train(config, tmp_path / "falling").run
    assert [record["health/rate_at_zero"] for record in health_of(run.root)] == [0.0, 0.0]
    trainer = Trainer(config)
    trainer.fit(RunFolder(tmp_path / "spent"), [Callback(lambda position: position.step == 1, without_rates)])
    assert caplog.text.count("the learning rate is zero long before the end") == 1


def without_rates(trainer: Trainer) -> None:
    """From here on no player learns, as with a schedule that ends too early."""
    rates = {f"optimizers.{player}.lr": 1e-30 for player in trainer.engine.optimizers}
    trainer.engine.config = changed(trainer.engine.config, rates)


def test_a_run_says_what_its_time_will_give(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    arguments = small_arguments("pix2pix", toy_set, tmp_path / "short", steps=100_000)
    result = i2i(*arguments, "--max-time", "1s", *HEALTH)
    assert re.search(r"a step takes \S+ s: 0:00:01 will give about \d+ steps, [\d.]+ epochs", result.err), result.err
    assert "so few steps are no training" in result.err
    free = i2i(*small_arguments("pix2pix", toy_set, tmp_path / "free"), *HEALTH)
    assert "6 steps will take about 0:00:0" in free.err
    assert "so few steps" not in free.err
    done = i2i(*small_arguments("pix2pix", toy_set, tmp_path / "done", steps=TIMED), *HEALTH)
    assert "a step takes" not in done.err  # nothing is left to foretell


# What is not finite.


class Diverging(TwoWeights, name="diverging"):
    """A critic and a generator of one weight each; the generator's third step has the loss that ``at_third`` makes."""

    at_third: Callable[[Tensor], Tensor] = staticmethod(lambda weight: weight * torch.nan)

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        yield Update("critic", {"slope": self.critic.weight.sum()})
        weight = self.generator.weight.sum()
        third = self.progress.step == 2
        yield Update("generator", {"slope": weight, "rest": type(self).at_third(weight) if third else 0 * weight})


def diverging(optimizer: str = "adam") -> Engine:
    settings = {"name": optimizer, "lr": 0.1}
    config = parse_config(
        {
            "arch": "toy",
            "image_size": 1,
            "data": {"load_size": 1},
            "method": {"name": "diverging"},
            "networks": {},
            "optimizers": {"critic": settings, "generator": settings},
            "training": {"steps": 9, "precision": "fp32", "device": "cpu"},
        }
    )
    return Engine(config, CPU)


BAD: dict[str, Callable[[Tensor], Tensor]] = {
    "loss rest": lambda weight: weight * torch.nan,
    "gradient": lambda weight: (0 * weight).sqrt(),  # 0, with an infinite slope
}


@pytest.mark.parametrize("named", BAD)
def test_a_cpu_stops_before_the_update_is_applied(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Diverging, "at_third", staticmethod(BAD[named]))
    engine = diverging()
    for _ in range(2):
        engine.step(iter(()), 0.0)
    before = engine.method.state_dict()["generator.weight"].clone()
    with pytest.raises(TrainingStopped, match=f"the generator's {named}.* became (nan|inf) in step 3"):
        engine.step(iter(()), 0.0)
    assert torch.equal(engine.method.state_dict()["generator.weight"], before)
    assert engine.step_count == 2


@pytest.mark.parametrize("named", BAD)
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_an_accelerator_leaves_the_update_out_and_goes_on(
    optimizer: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Diverging, "at_third", staticmethod(BAD[named]))
    asynchronous = replace(capabilities(CPU), asynchronous=True, fused=True)
    monkeypatch.setattr("i2i.training.engine.capabilities", lambda device: asynchronous)
    engine = diverging(optimizer)
    weights, values = [1.0], list[dict[str, Tensor]]()
    for _ in range(4):
        values.append(engine.step(iter(()), 0.0))
        weights.append(engine.method.state_dict()["generator.weight"].item())
    assert weights[0] > weights[1] > weights[2] == weights[3] > weights[4]
    finite = [all(value.isfinite() for value in each.values()) for each in values]
    assert finite == [True, True, False, True]


def test_a_run_that_stops_itself_names_the_way_on(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    run = tmp_path / "the run"
    options = ("--set", "optimizers.generator.lr=1e30", "--set", "training.checkpoint_seconds=1e6")
    result = i2i(*small_arguments("cyclegan", toy_set, run), *options)
    assert result.code == 3
    last = result.err.splitlines()[-1]
    assert re.search("error: the generator's (loss|gradient).* in step 2; no checkpoint was written yet", last), last
    again = i2i(*way_on(last), "--run", tmp_path / "again", "--set", "optimizers.generator.lr=1e-4")
    assert again.code == 0, again.err
    assert "cpu in fp32" in again.err
    weights = load_weights(RunFolder(run).model)
    assert weights.step == 1
    assert all(weight.isfinite().all() for weight in weights.tensors.values())
    verdict = i2i("doctor", run)
    assert verdict.code == 1
    assert "SIGN  health/not_finite_generator" in verdict.out


def test_the_way_on_starts_from_the_last_good_checkpoint(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    def spoil(trainer: Trainer) -> None:
        trainer.method.augmentation = lambda images, _: images * torch.nan

    config = small_config("cyclegan", toy_set, "training.checkpoint_seconds=0")
    callback = Callback(lambda position: position.step == 3, spoil)
    with pytest.raises(TrainingStopped, match=r"the generator's loss gan_A .* in step 4; .*step-00000003") as stop:
        train(config, tmp_path / "run", callbacks=[callback])
    again = i2i(*way_on(str(stop.value)), "--run", tmp_path / "again")
    assert again.code == 0, again.err
    assert f"from {tmp_path / 'run'}: generator_AtoB" in again.err


def way_on(message: str) -> list[str]:
    """The command that a message ends with."""
    command = re.search(r"i2i (train .*) \(docs", message)
    assert command is not None, message
    return shlex.split(command[1])


# The command.


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs: discs, and the same in other colours."""
    root = make_set(tmp_path_factory.mktemp("data") / "coloured", trainA=110, testA=6)
    for part in ("train", "test"):
        for path in sorted((root / f"{part}A").iterdir()):
            target = root / f"{part}B" / path.name
            target.parent.mkdir(exist_ok=True)
            with Image.open(path) as image:
                red, green, blue = image.split()
                Image.merge("RGB", (green, blue, ImageOps.posterize(red, 2))).save(target)
    return root


def test_the_verdict_of_a_healthy_run(coloured: Path, tmp_path: Path, i2i: Run) -> None:
    run = tmp_path / "run"
    settings = ["optimizers.generator.lr=0.002", "training.batch_size=4", "health.every=50", "training.log_every=10"]
    settings += ["training.sample_every=240"]
    train(watched("pix2pix", coloured, *settings, **{"training.steps": 240}), run)
    result = i2i("doctor", run, "--json", tmp_path / "verdict.json")
    assert result.code == 0, result.out
    assert "healthy: none of" in result.out
    report = json.loads((tmp_path / "verdict.json").read_text())
    assert report["step"] == 240
    assert {finding["sign"] for finding in report["findings"]} == {False}
    assert {"health/diversity", "health/few_steps", "health/right_answers", "health/tones"} <= {
        finding["figure"] for finding in report["findings"]
    }


def test_the_verdict_of_a_sick_run_says_what_to_do(toy_set: Path, tmp_path: Path, i2i: Run) -> None:
    run = tmp_path / "run"
    assert i2i(*small_arguments("cyclegan", toy_set, run)).code == 0
    result = i2i("doctor", run)
    assert result.code == 1
    assert "SIGN  health/few_steps" in result.out
    assert "SIGN  there are few images for this recipe" in result.out
    assert "gather more" in result.out
    for file in ("model.safetensors", "metrics.jsonl"):  # as early in a run, or after an accident
        (run / file).unlink()
    bare = i2i("doctor", run)
    assert bare.code == 1
    assert bare.out.count("not measured: ") == 2


def test_the_doctor_wants_a_run(tmp_path: Path, i2i: Run) -> None:
    draw(tmp_path / "image.png", 0)
    result = i2i("doctor", tmp_path)
    assert result.code == 2
    assert result.err == f"error: {tmp_path} is not a run folder: it has no config.yaml\n"
