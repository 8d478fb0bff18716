"""The experiments of the lab: closed forms, short trainings beside them, and what they write."""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import linprog  # type: ignore[import-untyped]
from sklearn.datasets import make_swiss_roll

from i2i.data.points import ring_centres, sample_points
from i2i.lab import EXPERIMENTS, run
from i2i.lab import divergences as apart
from i2i.lab import saturation as judges
from i2i.lab.drawing import to_pixels
from i2i.lab.findings import Findings
from i2i.lab.gradients import gradients
from i2i.lab.modes import COVERED, VARIANTS, good_points_by_mode, modes
from i2i.lab.nash import LINE, OPTIMUM, RECIPE, best_discriminator, closed_form, nash, value_of_the_game, where_mass_is
from i2i.lab.play import Floats, samples, train_with_snapshots
from i2i.lab.surfaces import surfaces
from i2i.lab.toys import eight_gaussians, grid_of_gaussians, swiss_roll
from i2i.lab.transport import BLOCKS, best_critic, best_plan, cost_of, histograms, transport
from i2i.methods.gan import GAN

from .conftest import Run

SHARED_KEYS = {"lab", "seed"}
KEYS = {
    "nash": {"data", "end", "moments", "value_by_step", "fixed_generator"},
    "divergences": {"distances", "largest_difference", "gaussians"},
    "transport": {"p", "q", "plan", "critic", "cost", "distance"},
    "saturation": {
        "mean_gradient_at_generated_points",
        "median_gradient_of_minimax",
        "mean_d_at_generated_points",
        "slope_between",
    },
    "modes": {"end", "moments", "measure"},
    "gradients": {"critics"},
    "surfaces": {"surfaces"},
}


def short(seed: int) -> dict[str, Findings]:
    """Every experiment, cut to a few steps."""
    return {
        "nash": nash(seed, steps=20, critic_steps=20),
        "divergences": apart.divergences(seed, steps=4),
        "transport": transport(seed),
        "saturation": judges.saturation(seed, steps=4),
        "modes": modes(seed, shorter=100),
        "gradients": gradients(seed, steps=2),
        "surfaces": surfaces(seed, shorter=100),
    }


@pytest.fixture(scope="module")
def shown() -> dict[str, Findings]:
    return short(0)


def test_the_command_names_every_experiment(i2i: Run) -> None:
    assert EXPERIMENTS.keys() == KEYS.keys()
    help_text = i2i("lab", "--help").out
    assert all(f"  {name} " in help_text and about in help_text for name, about in EXPERIMENTS.items())
    assert all(run.experiment(name).__name__ == name for name in EXPERIMENTS)


@pytest.mark.parametrize("name", KEYS)
def test_an_experiment_writes_its_figure_and_its_metrics(
    name: str, shown: dict[str, Findings], i2i: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "experiment", lambda name: lambda seed: shown[name])
    result = i2i("lab", name, "-o", tmp_path / "lab", "--seed", 5)
    assert result.code == 0
    assert result.out.splitlines()[:-2] == shown[name].lines
    metrics = json.loads((tmp_path / "lab" / f"{name}.json").read_text())
    assert metrics.keys() == SHARED_KEYS | KEYS[name]
    assert metrics["seed"] == 5
    pixels = np.asarray(Image.open(tmp_path / "lab" / f"{name}.png"))
    assert pixels.min() < 50
    assert 0.3 < (pixels == 255).mean() < 0.99


def test_a_seed_decides_everything(shown: dict[str, Findings]) -> None:
    again = short(0)
    assert {name: found.metrics for name, found in again.items()} == {n: found.metrics for n, found in shown.items()}
    assert np.array_equal(to_pixels(again["nash"].figure), to_pixels(shown["nash"].figure))
    assert apart.divergences(1, steps=4).metrics != shown["divergences"].metrics
    assert transport(1).metrics != shown["transport"].metrics


@pytest.mark.parametrize("theta", [-1.0, -0.1, 0.1, 0.75])
def test_the_closed_forms_of_parallel_lines(theta: float) -> None:
    assert apart.kullback_leibler(theta) == math.inf
    assert apart.total_variation(theta) == 1
    assert apart.jensen_shannon(theta) == math.log(2)
    assert apart.earth_mover(theta) == abs(theta)


def test_equal_lines_have_no_distance() -> None:
    distances = (apart.kullback_leibler, apart.total_variation, apart.jensen_shannon, apart.earth_mover)
    assert [distance(0.0) for distance in distances] == [0, 0, 0, 0]


@pytest.mark.parametrize("mu", [-1.5, 0.5, 2.0, 4.0])
def test_the_closed_forms_of_gaussians_agree_with_their_definitions(mu: float) -> None:
    x = np.linspace(-12, 12, 200_001)
    p, q = (np.exp(-0.5 * (x - mean) ** 2) / math.sqrt(2 * math.pi) for mean in (0.0, mu))
    m, width = (p + q) / 2, x[1] - x[0]
    kl, tv = (p * np.log(p / q)).sum() * width, np.abs(p - q).sum() * width / 2
    js = (p * np.log(p / m) + q * np.log(q / m)).sum() * width / 2
    assert apart.gaussian_kl(mu) == pytest.approx(kl, rel=1e-5)
    assert apart.gaussian_tv(mu) == pytest.approx(tv, rel=1e-5)
    assert apart.gaussian_js(mu) == pytest.approx(js, rel=1e-5)
    assert np.abs(p.cumsum() - q.cumsum()).sum() * width**2 == pytest.approx(abs(mu), rel=1e-3)  # W1


def test_kl_grows_as_the_square_and_js_and_total_variation_flatten() -> None:
    assert apart.gaussian_tv(2.0) == pytest.approx(0.6827, abs=1e-4)  # the 68 % within one standard deviation
    assert apart.gaussian_js(0.1) == pytest.approx(0.1**2 / 8, rel=0.01)  # its second order, by Fisher's information
    assert apart.gaussian_kl(8.0) == 4 * apart.gaussian_kl(4.0)
    assert math.log(2) - apart.gaussian_js(8.0) < 1e-4
    assert apart.gaussian_js(30.0) == pytest.approx(math.log(2))
    assert 1 - apart.gaussian_tv(8.0) < 1e-4


@pytest.mark.parametrize("theta", [0.0, 0.5])
def test_critics_find_the_closed_forms(theta: float) -> None:
    torch.manual_seed(0)
    assert apart.trained_jensen_shannon(theta, 200) == pytest.approx(apart.jensen_shannon(theta), abs=0.02)
    assert apart.trained_earth_mover(theta, 200) == pytest.approx(apart.earth_mover(theta), abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_the_plan_is_the_cheapest_and_the_critic_proves_it(seed: int) -> None:
    p, q = histograms(seed)
    plan, critic = best_plan(p, q), best_critic(p, q)
    assert (plan.sum(1).tolist(), plan.sum(0).tolist()) == (p.tolist(), q.tolist())
    assert np.abs(np.diff(critic)).max() <= 1
    bins = len(p)
    distance = np.abs(np.subtract.outer(np.arange(bins), np.arange(bins)))
    leaves, arrives = np.kron(np.eye(bins), np.ones(bins)), np.kron(np.ones(bins), np.eye(bins))
    solved = linprog(distance.ravel(), A_eq=np.concatenate([leaves, arrives]), b_eq=np.concatenate([p, q]))
    assert cost_of(plan) == pytest.approx(solved.fun)
    assert critic @ (p - q) == pytest.approx(solved.fun)


def test_earth_that_is_in_place_stays() -> None:
    p = np.array([BLOCKS - 1, 0, 1])
    assert cost_of(best_plan(p, p)) == 0
    assert cost_of(best_plan(p, p[::-1])) == 2 * (BLOCKS - 2)


def test_a_discriminator_finds_the_closed_form_where_there_is_mass() -> None:
    # 0.3989 / 0.5 and 0.3989 / 0.9 * exp(-0.5 * (1.2 / 0.9) ** 2) at the data's mean, worked out by hand.
    assert closed_form(np.array([3.0], np.float32))[0] == pytest.approx(0.79788 / (0.79788 + 0.18223), abs=1e-4)
    difference = np.abs(best_discriminator(0, 300) - closed_form(LINE))[where_mass_is(LINE)]
    assert difference.mean() < 0.03


def test_the_value_of_the_game() -> None:
    undecided, sure = torch.zeros(5), torch.full((5,), 30.0)
    assert value_of_the_game(undecided, undecided) == pytest.approx(OPTIMUM)
    assert value_of_the_game(sure, -sure) == pytest.approx(0, abs=1e-6)
    # log(1/2) + log(1 - 3/4), with log 3 the logit of 3/4
    assert value_of_the_game(undecided, torch.full((5,), math.log(3))) == pytest.approx(-math.log(8))


def test_the_game_is_minimax_and_its_value_is_reported(shown: dict[str, Findings]) -> None:
    draw = partial(sample_points, "line1d")
    game = train_with_snapshots("gan", RECIPE, draw=draw, steps=1, fractions=(0.0,), seed=0, label="test")
    _, method = next(game)
    assert isinstance(method, GAN)
    assert method.objective == "minimax"
    metrics = shown["nash"].metrics
    assert metrics["value_by_step"][-1] == [20, metrics["end"]["value"]]
    assert metrics["end"]["value_minus_optimum"] == pytest.approx(metrics["end"]["value"] + math.log(4))


def test_a_good_discriminator_leaves_no_gradient_and_a_critic_does() -> None:
    # At the generated mean D* = sigmoid(-18) and the logit's slope is -6.
    assert abs(judges.best_gradient(np.array([3.0], np.float32))[0]) == pytest.approx(6 / (1 + math.exp(18)), rel=1e-4)
    found = judges.saturation(0, steps=300).metrics
    assert found["median_gradient_of_minimax"]["trained"] < 0.01
    assert found["mean_gradient_at_generated_points"]["penalised_critic"] > 0.5
    assert found["mean_gradient_at_generated_points"]["clipped_critic"] > 0.2


def test_clipping_shrinks_gradients_and_the_penalty_does_not(shown: dict[str, Findings]) -> None:
    critics = shown["gradients"].metrics["critics"]
    assert critics["clipping at 0.01"]["growth_per_layer"] < 0.3
    assert critics["gradient penalty"]["growth_per_layer"] > 0.5


def test_the_toy_sets_are_those_of_the_paper() -> None:
    random = np.random.default_rng(0)
    ring, grid, roll = (draw(20_000, random) for draw in (eight_gaussians, grid_of_gaussians, swiss_roll))
    theirs = make_swiss_roll(20_000, noise=0.25, random_state=0)[0][:, [0, 2]] / 7.5
    assert np.quantile(roll, [0.05, 0.5, 0.95], axis=0) == pytest.approx(
        np.quantile(theirs, [0.05, 0.5, 0.95], axis=0), abs=0.04
    )
    assert np.linalg.norm(ring, axis=1).mean() == pytest.approx(2 / 1.414, abs=1e-3)
    assert len(np.unique((grid * 2.828 / 2).round(), axis=0)) == 25
    assert all(points.std() == pytest.approx(1, abs=0.1) for points in (ring, grid, roll))


def test_points_count_for_the_centre_that_they_are_close_to() -> None:
    centres = ring_centres()
    close, far = [0.04, 0.04], [0.05, 0.05]  # 2.8 and 3.5 standard deviations
    points = np.concatenate([np.tile(centres[1] + close, (COVERED, 1)), centres[3:4] - close, centres[5:6] + far])
    assert good_points_by_mode(points.astype(np.float32)).tolist() == [0, COVERED, 0, 1, 0, 0, 0, 0]


def learnt(options: dict[str, object]) -> Floats:
    """What a variant of the ring has learnt after a few steps."""
    training = train_with_snapshots(
        "unrolled",
        options,
        draw=partial(sample_points, "ring2d"),
        steps=20,
        fractions=(1.0,),
        seed=0,
        label="test",
    )
    (_, method) = next(training)
    return samples(method, 100, 0).numpy()


def test_the_baseline_of_unrolling_is_the_same_method_without_it() -> None:
    gan, unrolled, *_ = VARIANTS
    steps = {name: value for name, value in gan.options.items() if unrolled.options[name] != value}
    assert steps == {"method.unrolled_steps": 0}
    assert gan.steps == unrolled.steps
    minimax = {"name": "gan", "objective": "minimax", "latent": gan.options["method.latent"]}
    plain = {name: value for name, value in gan.options.items() if not name.startswith("method")}
    assert np.allclose(learnt(gan.options), learnt(plain | {"method": minimax}), atol=1e-4)
    assert not np.allclose(learnt(gan.options), learnt(unrolled.options), atol=1e-2)


def test_mistakes_are_one_line(i2i: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = i2i("lab", "nahs", "-o", tmp_path)
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert all(name in unknown.err for name in EXPERIMENTS)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    missing = i2i("lab", "nash", "-o", tmp_path)
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "pip install 'i2i[demo]'" in missing.err
    assert not list(tmp_path.iterdir())
