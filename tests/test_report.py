"""The report of a run and the card of its model: what is in them, and that nothing about them can spoil a training."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from base64 import b64decode
from collections.abc import Callable
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.errors import TrainingStopped
from i2i.storage.lock import locked
from i2i.storage.runs import RunFolder
from i2i.training.callbacks import Callback, every
from i2i.training.start import resume, train
from i2i.training.trainer import Trainer

from .browser import Browser
from .conftest import Run, make_set, small_arguments, small_config
from .toys import assert_refused

HOSTILE = "</style><img src=x onerror=alert(1)>{{ 7919 * 7907 }}&\"'`|"
EVALUATION = {
    "format": "i2i evaluation 1",
    "directions": [
        {
            "direction": "AtoB",
            "data": {"title": HOSTILE, "split": "test"},
            "n": {"outputs": 20},
            "models": [{"title": HOSTILE, "step": 6, "figures": {"l1": {"value": 0.25, "spread": 0.01}}}],
            "real": {"l1": {"value": 0.0}},
            "copy": {},
            "lower_is_better": ["l1"],
            "unranked": [],
        }
    ],
}


@pytest.fixture(scope="module")
def trained(labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of a translator, with health and evaluation, and one of a generator from noise."""
    root = tmp_path_factory.mktemp("runs")
    toy_set = make_set(root / "toy", trainA=5, trainB=4, testA=12, testB=12)
    measured = ["training.sample_every=1", "health.enabled=true", "health.every=3", "evaluation.every=3"]
    wanted = small_config("cyclegan", toy_set, *measured, "evaluation.metrics=[swd]", **{"training.steps": 9})
    data = {"cyclegan": wanted, "dcgan": small_config("dcgan", labelled_set)}
    return {arch: train(config, root / arch).run.root for arch, config in data.items()}


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the translator's run, to spoil."""
    return Path(shutil.copytree(trained["cyclegan"], tmp_path / "run"))


def page_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def images_of(html: str, name: str) -> list[tuple[str, Image.Image]]:
    """The texts and pixels of the images whose text begins with ``name``."""
    found = re.findall(rf'<img src="data:image/webp;base64,([^"]*)"[^>]* alt="({name}[^"]*)"', html)
    return [(text, Image.open(BytesIO(b64decode(content)))) for content, text in found]


def charts_of(html: str) -> dict[str, str]:
    """The drawings by their titles."""
    return {
        unescape(title): drawing
        for title, drawing in re.findall(r'<svg viewBox[^>]* aria-label="([^"]*)">(.*?)</svg>', html, re.DOTALL)
    }


def points_of(drawing: str) -> list[list[tuple[float, float]]]:
    """The corners of each line."""
    lines = re.findall(r'<polyline class="[^"]*" points="([^"]*)"', drawing)
    return [[(float(x), float(y)) for x, y in (corner.split(",") for corner in line.split())] for line in lines]


def table_of(html: str, region: str) -> list[list[str]]:
    found = re.search(rf'aria-label="{region}[^"]*">(.*?)</table>', html, re.DOTALL)
    assert found is not None
    rows = re.findall(r"<tr>(.*?)</tr>", found[1], re.DOTALL)
    return [[unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def write_records(run: Path, *records: dict[str, Any]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_training_ends_with_its_report(i2i: Run, toy_set: Path, tmp_path: Path) -> None:
    result = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run", steps=2))
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"report: {tmp_path / 'run/report.html'}"
    assert "# cyclegan, 2 steps on toy" in (tmp_path / "run/MODEL_CARD.md").read_text()
    assert "<dt>Trained</dt><dd>2 steps, 0.5 epochs, in 0:00:" in page_of(tmp_path / "run")


def test_samples_of_the_same_inputs_stand_side_by_side(trained: dict[str, Path]) -> None:
    html = page_of(trained["cyclegan"])
    for name in ("AtoB", "BtoA"):
        shown = images_of(html, name)
        assert [text for text, _ in shown] == [f"{name} after {step} steps" for step in (0, 2, 4, 5, 7, 9)]
        sheet = Image.open(trained["cyclegan"] / f"samples/step-00000009-{name}.png").convert("RGB")
        np.testing.assert_array_equal(np.asarray(shown[-1][1].convert("RGB")), np.asarray(sheet))
    assert "The same inputs over time" in html
    assert "The same noise over time" in page_of(trained["dcgan"])
    assert len(images_of(page_of(trained["dcgan"]), "samples")) == 3


def test_a_large_sheet_is_made_smaller(i2i: Run, run: Path) -> None:
    Image.new("RGB", (700, 1400), "red").save(run / "samples/step-00000009-AtoB.png")
    assert i2i("report", run).code == 0
    assert images_of(page_of(run), "AtoB")[-1][1].size == (320, 640)


def test_every_curve_is_drawn(trained: dict[str, Path]) -> None:
    for root in trained.values():
        lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
        tags = [tag for line in lines for tag in line if tag != "step"]
        drawings = charts_of(page_of(root)).values()
        assert sum(drawing.count("<polyline") for drawing in drawings) == len({t for t in tags if tags.count(t) > 1})
        assert sum(drawing.count("<circle") for drawing in drawings) == len({t for t in tags if tags.count(t) == 1})


def test_curves_have_the_axis_that_suits_them(i2i: Run, run: Path) -> None:
    values = np.array([1000.0, 100.0, 10.0, 1.0])
    tags = {"loss/player/gan": values, "score/real": values - 5, "lr/player": values}
    write_records(run, *({"step": 10 * (i + 1)} | {tag: own[i] for tag, own in tags.items()} for i in range(4)))
    assert i2i("report", run).code == 0
    drawings = {title: np.array(points_of(drawing)[0]) for title, drawing in charts_of(page_of(run)).items()}
    across = [58 + share * (480 - 12 - 58) for share in (0.25, 0.5, 0.75, 1)]
    for title, up in {
        "player: losses, weighted, logarithmic, by step": np.log(values),
        "discriminator: mean scores, linear, by step": values,
        "learning rate, linear, by step": values,
    }.items():
        line = drawings.pop(title)
        assert line[:, 0] == pytest.approx(across, abs=0.1)
        assert np.polyval(np.polyfit(up, line[:, 1], 1), up) == pytest.approx(line[:, 1], abs=0.1)
        assert line[0, 1] < 30 < 180 < line[-1, 1], "the height is used, and the largest value is above"
    assert not drawings


def test_a_long_curve_is_drawn_as_means_in_the_band_of_its_values(i2i: Run, run: Path) -> None:
    values = np.sin(np.arange(5000) / 500)
    values[2500] = 9.0
    write_records(run, *({"step": step + 1, "loss/player/gan": value} for step, value in enumerate(values)))
    assert i2i("report", run).code == 0
    (drawing,) = charts_of(page_of(run)).values()
    (line,) = points_of(drawing)
    band = re.search(r'<polygon class="s0" points="([^"]*)"', drawing)
    assert band is not None
    assert 100 < len(line) <= 300
    highest = min(float(corner.split(",")[1]) for corner in band[1].split())
    assert highest < min(y for _, y in line) - 50, "the spike is there"


def test_what_the_doctor_says_comes_first(i2i: Run, run: Path) -> None:
    sick = {"health/diversity_AtoB": 0.1, "health/diversity_BtoA": 0.9, "health/spots_AtoB": 0.0}
    write_records(run, *({"step": 100 * number} | sick for number in range(1, 4)))
    assert i2i("report", run).code == 0
    html = page_of(run)
    assert re.findall(r'<p class="sign"><b>(.*?)</b>', html) == [
        "the outputs are almost all alike (mode collapse)",
        "so few steps are no training",
    ]
    rows = table_of(html, "All figures of health")
    assert [row[:3] for row in rows[1:]] == [
        ["SIGN", "health/diversity_AtoB", "0.1"],
        ["SIGN", "health/few_steps", "9"],
        ["ok", "health/diversity_BtoA", "0.9"],
        ["ok", "health/spots_AtoB", "0"],
    ]


def test_what_differs_from_the_recipe_stands_before_all_settings(trained: dict[str, Path]) -> None:
    html = page_of(trained["cyclegan"])
    rows = table_of(html, "Settings that differ")
    assert ["training.steps", "9", "-"] in rows
    assert ["networks.generator.width", "4", "64"] in rows
    assert not any(row[1] == row[2] for row in rows)
    settings = re.search(r"<summary>All settings</summary><pre>(.*?)</pre>", html, re.DOTALL)
    assert settings is not None
    assert unescape(settings[1]) == (trained["cyclegan"] / "config.yaml").read_text()


def test_figures_that_were_measured_into_the_folder_are_shown(i2i: Run, run: Path) -> None:
    assert i2i("evaluate", "--model", run, "--metrics", "swd,alignment", "--json", run / "evaluation.json").code == 0
    assert i2i("report", run).code == 0
    rows = {row[0]: row[1:] for row in table_of(page_of(run), "AtoB: ")}
    part = json.loads((run / "evaluation.json").read_text())["directions"][0]
    own, real = part["models"][0]["figures"], part["real"]
    assert rows["swd ↓"][:2] == [f"{each['swd']['value']:.4g}" for each in (own, real)]
    spread = own["alignment"]["spread"]
    assert rows["alignment ↑"][0] == f"{own['alignment']['value']:.4g} ± {spread:.2g}"
    card = (run / "MODEL_CARD.md").read_text()
    assert f"| swd ↓ | {' | '.join(rows['swd ↓'])} |" in card
    assert "outputs, toy (test)" in card.replace("\\", "")
    assert str(run.parent) not in card  # which may be made public


def test_no_name_becomes_markup(i2i: Run, trained: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained["cyclegan"], tmp_path / re.sub("/", "", HOSTILE)))
    (run / "evaluation.json").write_text(json.dumps(EVALUATION))
    write_records(run, {"step": 1, f"loss/{HOSTILE}": 1.0, f"health/{HOSTILE}": 1.0, HOSTILE: 2.0})
    shutil.copy(run / "samples/step-00000009-AtoB.png", run / f"samples/step-00000009-{re.sub('/', '', HOSTILE)}.png")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub("about: .*", f"about: {json.dumps(HOSTILE)}", config))
    assert i2i("report", run).code == 0
    html, card = page_of(run), (run / "MODEL_CARD.md").read_text()
    assert html.count("onerror=alert") >= 9
    assert "<img src=x" not in html
    assert re.findall(r"(?<!\\)<.{3}", card) == ["<!--"]
    assert all(line.count(" | ") == 1 for line in card.splitlines() if line.startswith("| data"))
    assert html.count("</style>") == 1
    assert "<script" not in html
    assert str(7919 * 7907) not in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)


def test_what_is_broken_is_left_out_and_named(i2i: Run, run: Path) -> None:
    lines = [
        '{"step": 5, "health/diversity": "x", "loss/a/b": null, "loss/a/c": 1e999, "loss/a/d": NaN, "loss/a/e": 2}',
        '{"step": 6, "health/diversity": [1], "loss/a/e": -1e300, "lr/a": true}',
        '{"step": -1, "loss/a/f": 1}',
        f'{{"step": 7, "loss/a/g": 1{"0" * 400}}}',
        "[" * 100_000,
        '{"step": 8, "loss/a/e": 3, "loss/a/h": 5e-324',
    ]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    (run / "samples/step-00000007-AtoB.png").write_text("no image")
    (run / "other.json").write_text('{"format": "i2i evaluation 1", "directions": [{}]}')
    for checkpoint in RunFolder(run).checkpoints():
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    assert i2i("report", run).code == 0
    html = page_of(run)
    assert list(charts_of(html)) == ["a: losses, weighted, linear, by step"]
    broken = [unescape(line) for line in re.findall(r"not shown: (.*?)</p>", html)]
    assert [re.sub(r"[^ ]*/run/", "", line)[:36] for line in broken] == [
        "checkpoints/step-00000009.safetensor",
        "samples/step-00000007-AtoB.png: not ",
        "other.json: not a report of i2i eval",
    ]
    assert i2i("doctor", run, "--device", "cpu").code in (0, 1), "the doctor reads the same lines"


def test_a_run_that_has_only_begun_has_a_report(i2i: Run, run: Path) -> None:
    for name in ("checkpoints", "samples", "tb"):
        shutil.rmtree(run / name)
    for name in ("metrics.jsonl", "model.safetensors", "images.json", "report.html", "MODEL_CARD.md"):
        (run / name).unlink()
    result = i2i("report", run)
    assert (result.code, result.out) == (0, f"report: {run / 'report.html'}\n")
    assert "The run has recorded no curves yet." in page_of(run)
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "report.html"], "no model, no card"


def test_a_run_that_trains_says_so(i2i: Run, run: Path) -> None:
    with locked(run / "run.lock", "the run"):
        lock = (run / "run.lock").read_text()
    (run / "run.lock").write_text(lock.replace('"host": "', '"host": "another-'))
    assert i2i("report", run).code == 0
    assert "<dd>training now</dd>" in page_of(run)
    (run / "run.lock").write_text(lock)
    assert i2i("report", run).code == 0
    assert "<dd>complete</dd>" in page_of(run), "the process that began it runs no more"


def test_a_run_of_epochs_knows_when_it_is_complete(toy_set: Path, tmp_path: Path) -> None:
    settings = ["training.steps=null", "training.epochs=2", "training.accumulate=3"]

    def stop(trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    run = train(
        small_config("cyclegan", toy_set, *settings),
        tmp_path / "run",
        callbacks=[Callback(lambda at: at.step == 1, stop)],
    ).run
    assert "<dd>2 epochs (4 steps)</dd>" in page_of(run.root)
    assert "<dd>ended before its full length; it can be resumed</dd>" in page_of(run.root)
    resume(run.root)
    assert "<dd>complete</dd>" in page_of(run.root)
    assert "<dd>4 steps, 3.0 epochs, in 0:00:" in page_of(run.root)


def test_a_training_that_was_stopped_or_stops_itself_leaves_its_report(toy_set: Path, tmp_path: Path) -> None:
    def spoil(trainer: Trainer) -> None:
        for parameter in trainer.method.parameters():
            parameter.data.fill_(float("nan"))

    config = small_config("cyclegan", toy_set, "health.enabled=true")
    with pytest.raises(TrainingStopped):
        train(config, tmp_path / "run", callbacks=[Callback(every(4), spoil)])
    assert "stopped itself: a loss or gradient was not finite" in page_of(tmp_path / "run")
    assert "a loss or gradient was not finite, and the run stopped" in page_of(tmp_path / "run")


@pytest.mark.parametrize("name", ["report.html", "MODEL_CARD.md"])
def test_a_report_that_cannot_be_written_ends_no_training(
    i2i: Run, toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before: Callable[[RunFolder, Any], None] = RunFolder.write_config

    def with_obstacle(run: RunFolder, config: Any) -> None:
        before(run, config)
        (run.root / name).mkdir()

    monkeypatch.setattr(RunFolder, "write_config", with_obstacle)
    result = i2i(*small_arguments("cyclegan", toy_set, tmp_path / "run", steps=1))
    assert result.code == 0
    assert (tmp_path / "run/model.safetensors").is_file()
    assert ("the report of" in result.err) == (name == "report.html")


def test_a_card_is_renewed_until_somebody_edits_it(i2i: Run, run: Path) -> None:
    card = run / "MODEL_CARD.md"
    assert "# cyclegan, 9 steps on toy" in card.read_text()
    resume(run, steps=11)
    assert "# cyclegan, 11 steps on toy" in card.read_text()
    edited = card.read_text().replace("of the weights: (to fill in)", "of the weights: MIT")
    card.write_text(edited)
    result = i2i("report", run)
    assert (result.code, card.read_text()) == (0, edited)
    assert "has been edited and stays as it is" in result.err
    card.unlink()
    assert i2i("report", run).code == 0
    assert "# cyclegan, 11 steps on toy" in card.read_text()


def test_a_report_elsewhere_replaces_nothing_unasked(i2i: Run, run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert i2i("report", run).code == 0
    (run / "MODEL_CARD.md").unlink()
    assert i2i("report", run, "-o", page).code == 0
    assert page.read_text(encoding="utf-8") == page_of(run)
    assert not (run / "MODEL_CARD.md").exists()
    assert_refused(i2i("report", run, "-o", page), "exists: choose another name")
    assert i2i("report", run, "-o", page, "--overwrite").code == 0
    assert_refused(i2i("report", run, "-o", tmp_path / "page.png"), "end the name in .html")
    assert_refused(i2i("report", tmp_path), "is not a run folder")
    assert_refused(i2i("report", tmp_path / "nowhere"), "is not a run folder")


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1400, False)])
def test_the_page_fits_its_screen_and_its_light(
    browser: Browser, trained: dict[str, Path], width: int, dark: bool
) -> None:
    browser.open(trained["cyclegan"] / "report.html", width, 844, dark=dark, touch=width < 500)
    browser.ask("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("Promise.all([...document.images].map(image => image.decode())).then(all => all.length)") == 12
    light = "Number(getComputedStyle({}).{}.match(/\\d+/)[0])"
    assert (browser.ask(light.format("document.body", "backgroundColor")) < 128) == dark
    lines = "[...document.querySelectorAll('.chart > svg polyline')]"
    assert browser.ask(f"{lines}.every(line => line.getTotalLength() > 20)")
    assert browser.ask(f"{lines}.every(line => getComputedStyle(line).stroke != getComputedStyle(document.body).color)")
    assert browser.problems == []
