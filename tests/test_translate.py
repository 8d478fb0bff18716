"""Translating files and folders, and the Python translator: nothing lost, nothing overwritten, sizes kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import i2i as package
from i2i.config.schema import ModelConfig
from i2i.data.images import read_image
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.inference.padding import pad_to
from i2i.inference.translator import Translator
from i2i.storage.weights import load_weights, save_weights
from i2i.training.start import train

from .conftest import Run, draw, small_config
from .toys import assert_refused


@pytest.fixture(scope="module")
def run(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config("cyclegan", toy_set), tmp_path_factory.mktemp("runs") / "run").run.root


@pytest.fixture(scope="module")
def translator(run: Path) -> Translator:
    loaded = package.load(run, device="cpu")
    assert isinstance(loaded, Translator)
    return loaded


def test_a_tree_is_translated_with_names_and_sizes_kept(tmp_path: Path, run: Path, i2i: Run) -> None:
    sizes = {"a.png": (1, 1), "deep/er/b.JPG": (37, 5), "deep/c.webp": (16, 16), "d.png": (16, 16), "e.bmp": (64, 3)}
    for number, (name, size) in enumerate(sizes.items()):
        draw(tmp_path / "in" / name, number, size)
    (tmp_path / "in/notes.txt").write_text("not an image")
    result = i2i("translate", tmp_path / "in", "--model", run)
    assert result.code == 0, result.err
    output = tmp_path / "in-translated"
    assert "translated 5 of 5 with cyclegan (6 steps)" in result.out
    for name, size in sizes.items():
        with Image.open((output / name).with_suffix(".png")) as image:
            assert image.size == size
    report = json.loads((output / "report.json").read_text())
    assert (report["translated"], report["skipped"], report["direction"]) == (5, 0, "AtoB")
    assert {Path(entry["input"]).name for entry in report["files"]} == {Path(name).name for name in sizes}


def test_outputs_are_what_python_gives_in_any_batch(
    tmp_path: Path, run: Path, translator: Translator, i2i: Run
) -> None:
    for number in range(5):
        draw(tmp_path / "in" / f"{number}.png", number, (20, 12))
    for direction in ("AtoB", "BtoA"):
        output = tmp_path / direction
        arguments = ("translate", tmp_path / "in", "-o", output, "--model", run, "--direction", direction)
        assert i2i(*arguments, "--device", "cpu").code == 0
        first = {path.name: path.read_bytes() for path in output.glob("*.png")}
        again = tmp_path / f"{direction} again"
        assert i2i(*arguments, "--device", "cpu", "-o", again).code == 0
        assert first == {path.name: path.read_bytes() for path in again.glob("*.png")}
        for number in range(5):
            with Image.open(tmp_path / "in" / f"{number}.png") as image:
                alone = np.asarray(translator(image, direction)).astype(int)
            assert np.abs(alone - read_image(output / f"{number}.png")).max() <= 1


def test_unreadable_files_are_named_and_the_rest_is_done(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/good.png", 0)
    whole = draw(tmp_path / "in/cut.jpg", 1).read_bytes()
    (tmp_path / "in/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/text.png").write_text("hello")
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run)
    assert result.code == 1
    assert "translated 1 of 3" in result.out
    assert "cut.jpg" in result.err
    assert "text.png" in result.err
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["skipped"] == 2
    assert [entry["output"] is None for entry in report["files"]] == [True, False, True]


def test_no_distance_is_said_where_nothing_was_compared(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/large.png", 0, (20, 12))
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run, "--max-pixels", 100)
    assert result.code == 1
    assert "differs from fp32" not in result.err
    assert "translated 0 of 1" in result.out


def test_images_that_are_no_translations_are_not_written_over(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/a.png", 0)
    truth = draw(tmp_path / "truth/a.png", 1)
    before = truth.read_bytes()
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "truth", "--model", run)
    assert_refused(result, "choose another folder with -o")
    assert truth.read_bytes() == before
    draw(tmp_path / "truth/b.png", 2)
    (tmp_path / "in/a.png").rename(tmp_path / "in/c.png")
    assert i2i("translate", tmp_path / "in", "-o", tmp_path / "truth", "--model", run).code == 0


def test_a_seed_without_noise_is_no_silent_wish(tmp_path: Path, run: Path, i2i: Run) -> None:
    result = i2i("translate", draw(tmp_path / "a.png", 0), "--model", run, "--seed", 3)
    assert (result.code, "--seed changes nothing" in result.err) == (0, True)


def test_the_report_names_the_seed_that_was_used(tmp_path: Path, toy_set: Path, run: Path, i2i: Run) -> None:
    noisy = small_config("dualgan", toy_set, "method.noise_channels=2", "inference.seed=5", "training.steps=1")
    model = train(noisy, tmp_path / "run").run.root
    source = draw(tmp_path / "in/a.png", 0)
    for number, (of, given, used) in enumerate(((model, (), 5), (model, ("--seed", 7), 7), (run, (), None))):
        output = tmp_path / f"out{number}"
        assert i2i("translate", source.parent, "-o", output, "--model", of, "--device", "cpu", *given).code == 0
        report = json.loads((output / "report.json").read_text())
        assert report["seed"] == used
        again = package.load_translator(of, device="cpu")(read_image(source), report["direction"], seed=report["seed"])
        np.testing.assert_array_equal(again, read_image(output / "a.png"))


def test_equal_stems_get_different_names(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/a.jpg", 0)
    draw(tmp_path / "in/a.png", 1)
    draw(tmp_path / "in/b.png", 2)
    assert i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run).code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.jpg.png", "a.png.png", "b.png"]


def test_one_file_goes_beside_itself_or_where_asked(tmp_path: Path, run: Path, i2i: Run) -> None:
    source = draw(tmp_path / "a.jpg", 0)
    assert i2i("translate", source, "--model", run).code == 0
    assert (tmp_path / "a-translated.png").is_file()
    assert i2i("translate", source, "--model", run, "-o", tmp_path / "x/named.webp").code == 0
    assert (tmp_path / "x/named.webp").is_file()
    assert i2i("translate", source, "--model", run, "-o", tmp_path / "folder", "--format", "jpg").code == 0
    two = i2i("translate", source, "--model", run, "-o", tmp_path / "two.png", "--format", "jpg")
    assert_refused(two, "--format jpg and two.png name two formats")
    assert i2i("translate", source, "--model", run, "-o", tmp_path / "one.JPEG", "--format", "jpg").code == 0
    assert (tmp_path / "folder/a.jpg").is_file()


def test_it_refuses_to_write_into_or_over_its_input(tmp_path: Path, run: Path, i2i: Run) -> None:
    source = draw(tmp_path / "in/sub/a.png", 0)
    before = source.read_bytes()
    for arguments in (
        (tmp_path / "in", "-o", tmp_path / "in"),
        (tmp_path / "in", "-o", tmp_path / "in/sub/out"),
        (source, "-o", source),
        (source, "-o", tmp_path / "in/sub"),
    ):
        result = i2i("translate", *arguments, "--model", run)
        assert result.code == 2
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1
    # An output folder above the input, from which the names lead back into it.
    nested = tmp_path / "a"
    draw(nested / "a/b.png", 0)
    assert i2i("translate", nested, "-o", tmp_path, "--model", run).code == 2
    assert source.read_bytes() == before


def test_it_refuses_to_write_over_what_its_input_links_to(tmp_path: Path, run: Path, i2i: Run) -> None:
    original = draw(tmp_path / "originals/a.png", 0)
    before = original.read_bytes()
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen/a.png").symlink_to(original)
    assert i2i("translate", tmp_path / "chosen", "-o", tmp_path / "originals", "--model", run).code == 2
    assert original.read_bytes() == before


def test_outputs_that_would_meet_are_refused(tmp_path: Path, run: Path, i2i: Run) -> None:
    for number, name in enumerate(("a.jpg", "a.png", "a.jpg.png")):
        draw(tmp_path / "in" / name, number)
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run)
    assert result.code == 2
    assert "rename one" in result.err
    assert not (tmp_path / "out").exists()


def test_formats_that_cannot_be_written_are_refused_at_once(tmp_path: Path, toy_set: Path, run: Path, i2i: Run) -> None:
    source = draw(tmp_path / "a.png", 0)
    gif = i2i("translate", source, "-o", tmp_path / "a.gif", "--model", run)
    assert_refused(gif, "cannot write .gif")
    settings = ["data.channels_b=4", "method.identity_weight=0", "training.steps=1"]
    with_alpha = train(small_config("cyclegan", toy_set, *settings), tmp_path / "run").run.root
    jpg = i2i("translate", source, "--model", with_alpha, "--format", "jpg")
    assert_refused(jpg, "use --format png")
    assert i2i("translate", source, "--model", with_alpha).code == 0
    with Image.open(tmp_path / "a-translated.png") as image:
        assert image.mode == "RGBA"


def test_the_current_folder_has_a_default_output(
    tmp_path: Path, run: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "here/a.png", 0)
    monkeypatch.chdir(tmp_path / "here")
    assert i2i("translate", ".", "--model", run).code == 0
    assert (tmp_path / "here-translated/a.png").is_file()


def test_names_that_are_no_text_are_kept_and_reported(tmp_path: Path, toy_set: Path, run: Path, i2i: Run) -> None:
    names = [b"\xff.png", b":smile: [red]x.png", "é\n.png".encode()]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes((toy_set / "testA/image00.png").read_bytes())
    assert i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run).code == 0
    assert {os.fsencode(path.name) for path in (tmp_path / "out").glob("*.png")} == set(names)
    broken = tmp_path / "in" / "smile :smile:\n[red].png"
    broken.write_bytes(b"")
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run)
    assert result.code == 1
    assert "smile :smile:\\n[red].png" in result.err


def test_the_newest_run_is_the_default(
    tmp_path: Path, toy_set: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = draw(tmp_path / "a.png", 0)
    none = i2i("translate", source)
    assert none.code == 2
    assert "no trained run under runs/" in none.err
    train(small_config("cyclegan", toy_set, "training.steps=1"))
    train(small_config("cyclegan-fast", toy_set, "training.steps=1"))
    result = i2i("translate", source)
    assert result.code == 0
    assert "with cyclegan-fast (1 step)" in result.out
    assert "cyclegan-fast" in i2i("info").out


def test_python_gives_back_the_kind_that_it_was_given(translator: Translator) -> None:
    grey = Image.new("L", (9, 4))
    assert translator(grey).size == (9, 4)
    array = np.zeros((4, 9, 3), np.uint8)
    translated = translator(array)
    assert translated.shape == (4, 9, 3)
    assert translated.dtype == np.uint8
    assert translator(np.zeros((4, 9), np.uint8)).shape == (4, 9, 3)
    assert translator(torch.zeros(3, 4, 9)).shape == (3, 4, 9)
    assert translator(torch.zeros(2, 3, 4, 9), "BtoA").shape == (2, 3, 4, 9)
    np.testing.assert_array_equal(translated, np.asarray(translator(Image.fromarray(array))))
    with pytest.raises(ConfigError, match="has AtoB, BtoA"):
        translator(array, "AtoC")
    clear = np.dstack((array, np.arange(36, dtype=np.uint8).reshape(4, 9)))
    kept = translator(clear, alpha=True)
    np.testing.assert_array_equal(kept, np.dstack((translator(clear), clear[..., 3])))
    np.testing.assert_array_equal(kept, np.asarray(translator(Image.fromarray(clear), alpha=True)))
    np.testing.assert_array_equal(translator(array, alpha=True), translated)
    with pytest.raises(ConfigError, match="alpha: tensors have the channels of the model alone"):
        translator(torch.zeros(3, 4, 9), alpha=True)
    assert translator(torch.zeros(3, 4, 9, dtype=torch.float64)).shape == (3, 4, 9)
    assert translator(np.zeros((4, 9, 1), np.uint8)).shape == (4, 9, 3)
    empty = (torch.zeros(3, 0, 9), np.zeros((0, 9, 3), np.uint8), Image.new("RGB", (0, 4)))
    strange = (torch.zeros(1, 4, 9), torch.zeros(3, 4, 9, dtype=torch.uint8), "a.png", np.zeros((4, 9)))
    for wrong in (*empty, *strange, np.zeros((4, 9, 5), np.uint8)):
        with pytest.raises(DataError):
            translator(wrong)  # type: ignore[type-var]


def test_padding_mirrors_where_it_can() -> None:
    x = torch.arange(5.0).reshape(1, 1, 1, 5).expand(1, 1, 5, 5)
    assert pad_to(x, 4, 8)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert pad_to(x[..., :1], 4, 8)[0, 0, 0].tolist() == [0] * 8
    assert pad_to(x, 5, 1) is x


def test_weights_that_do_not_fit_are_refused_with_the_reason(run: Path, tmp_path: Path) -> None:
    config, step, weights = load_weights(run / "model.safetensors")

    def other(**settings: int) -> ModelConfig:
        return config.model_copy(
            update={"networks": config.networks | {"generator": config.networks["generator"] | settings}}
        )

    save_weights(tmp_path / "blocks.safetensors", weights, other(blocks=2), step)
    with pytest.raises(WeightsError, match=r"blocks\.safetensors: the weights do not fit .*block2"):
        package.load(tmp_path / "blocks.safetensors")
    save_weights(tmp_path / "width.safetensors", weights, other(width=8), step)
    with pytest.raises(WeightsError, match="size mismatch"):
        package.load(tmp_path / "width.safetensors")
    with pytest.raises(WeightsError, match="not a file of i2i weights"):
        package.load(next((run / "checkpoints").iterdir()))


def test_links_that_lead_in_a_circle_are_named(tmp_path: Path, run: Path, toy_set: Path, i2i: Run) -> None:
    draw(tmp_path / "in/a.png", 0)
    (tmp_path / "in/circle.png").symlink_to("circle.png")
    (tmp_path / "in/again").symlink_to(".")
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run)
    assert (result.code, "in/circle.png" in result.err) == (1, True), result.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "report.json"}
    circle = tmp_path / "one"
    circle.symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    assert_refused(i2i("translate", tmp_path / "in", "-o", circle, "--model", run), str(circle))
    assert i2i("translate", tmp_path / "in/a.png", "-o", circle / "b.png", "--model", run).code == 1
    with pytest.raises(DataError, match="cannot make the run folder"):
        train(small_config("cyclegan", toy_set), circle / "run")
