"""The experiments of the lab: closed forms, short trainings beside them, and what they write."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.cli import lab as lab_command
from i2i.data.points import ring_centres
from i2i.lab import run
from i2i.lab.divergences import divergences, earth_mover, jensen_shannon, trained_earth_mover, trained_jensen_shannon
from i2i.lab.drawing import to_pixels
from i2i.lab.findings import Findings
from i2i.lab.gradients import gradients
from i2i.lab.modes import COVERED, good_points_by_mode, modes
from i2i.lab.nash import LINE, best_discriminator, closed_form, nash, where_mass_is

from .conftest import Run

SHARED_KEYS = {"lab", "seed"}
KEYS = {
    "nash": {"data", "end", "moments", "fixed_generator"},
    "divergences": {"distances", "largest_difference"},
    "modes": {"end", "moments", "measure"},
    "gradients": {"critics"},
}


def short(seed: int) -> dict[str, Findings]:
    """Every experiment, cut to a few steps."""
    return {
        "nash": nash(seed, steps=50, critic_steps=20),
        "divergences": divergences(seed, steps=4),
        "modes": modes(seed, shorter=100),
        "gradients": gradients(seed, steps=4),
    }


@pytest.fixture(scope="module")
def shown() -> dict[str, Findings]:
    return short(0)


def test_the_command_names_every_experiment() -> None:
    assert set(run.experiments()) == set(KEYS)
    assert lab_command.help is not None
    assert all(name in lab_command.help for name in KEYS)


@pytest.mark.parametrize("name", KEYS)
def test_an_experiment_writes_its_picture_and_its_figures(
    name: str, shown: dict[str, Findings], i2i: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "experiments", lambda: {name: lambda seed: shown[name]})
    result = i2i("lab", name, "-o", tmp_path / "lab", "--seed", 5)
    assert result.code == 0
    assert result.out.splitlines()[:-2] == shown[name].lines
    figures = json.loads((tmp_path / "lab" / f"{name}.json").read_text())
    assert figures.keys() == SHARED_KEYS | KEYS[name]
    assert figures["seed"] == 5
    pixels = np.asarray(Image.open(tmp_path / "lab" / f"{name}.png"))
    assert pixels.min() < 50
    assert 0.3 < (pixels == 255).mean() < 0.99


def test_a_seed_decides_everything(shown: dict[str, Findings]) -> None:
    again = short(0)
    assert {name: found.figures for name, found in again.items()} == {n: found.figures for n, found in shown.items()}
    assert np.array_equal(to_pixels(again["nash"].picture), to_pixels(shown["nash"].picture))
    assert divergences(1, steps=4).figures != shown["divergences"].figures


@pytest.mark.parametrize("theta", [-1.0, -0.1, 0.1, 0.75])
def test_the_closed_forms_of_parallel_lines(theta: float) -> None:
    assert jensen_shannon(theta) == math.log(2)
    assert earth_mover(theta) == abs(theta)
    assert (jensen_shannon(0.0), earth_mover(0.0)) == (0.0, 0.0)


@pytest.mark.parametrize("theta", [0.0, 0.5])
def test_critics_find_the_closed_forms(theta: float) -> None:
    torch.manual_seed(0)
    assert trained_jensen_shannon(theta, 200) == pytest.approx(jensen_shannon(theta), abs=0.02)
    assert trained_earth_mover(theta, 200) == pytest.approx(earth_mover(theta), abs=0.05)


def test_a_discriminator_finds_the_closed_form_where_there_is_mass() -> None:
    # 0.3989 / 0.5 and 0.3989 / 0.9 * exp(-0.5 * (1.2 / 0.9) ** 2) at the data's mean, worked out by hand.
    assert closed_form(np.array([3.0], np.float32))[0] == pytest.approx(0.79788 / (0.79788 + 0.18223), abs=1e-4)
    difference = np.abs(best_discriminator(0, 300) - closed_form(LINE))[where_mass_is(LINE)]
    assert difference.mean() < 0.03


def test_clipping_shrinks_gradients_and_the_penalty_does_not(shown: dict[str, Findings]) -> None:
    critics = shown["gradients"].figures["critics"]
    assert critics["clipping at 0.01"]["growth_per_layer"] < 0.3
    assert critics["gradient penalty"]["growth_per_layer"] > 0.5


def test_points_count_for_the_centre_that_they_are_close_to() -> None:
    centres = ring_centres()
    close, far = [0.04, 0.04], [0.05, 0.05]  # 2.8 and 3.5 standard deviations
    points = np.concatenate([np.tile(centres[1] + close, (COVERED, 1)), centres[3:4] - close, centres[5:6] + far])
    assert good_points_by_mode(points.astype(np.float32)).tolist() == [0, COVERED, 0, 1, 0, 0, 0, 0]


def test_the_unrolled_generator_covers_what_the_plain_one_does_not() -> None:
    # A fifth of the experiment's steps: nobody has settled, but only the plain GAN is a small cloud somewhere.
    end = modes(0, shorter=5).figures["end"]
    assert end["unrolled GAN"]["spread"] > 2 * end["GAN"]["spread"]


def test_mistakes_are_one_line(i2i: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = i2i("lab", "nahs", "-o", tmp_path)
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "known: divergences, gradients, modes, nash" in unknown.err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    missing = i2i("lab", "nash", "-o", tmp_path)
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "pip install 'i2i[demo]'" in missing.err
    assert not list(tmp_path.iterdir())
