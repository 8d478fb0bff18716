"""Exported files: they translate like the model, at any size, and ONNX without PyTorch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import load as load_onnx
from onnx.external_data_helper import convert_model_to_external_data
from onnx.helper import make_node
from PIL import ExifTags, Image

from i2i import runtime
from i2i.data.images import list_images, read_image
from i2i.errors import ConfigError, DataError
from i2i.exchange import export as export_module
from i2i.exchange.export import Apart, Exported, export_model, write_int8
from i2i.exchange.graphs import Format, read
from i2i.exchange.int8 import describe_file
from i2i.inference.load import load, load_translator
from i2i.inference.translator import Translator
from i2i.networks.at_inference import SeededLatent
from i2i.tiling.settings import Tiles
from i2i.training.start import train

from .conftest import Result, Run, draw, make_set, no_memory_beyond, small_config
from .graphs import WHOLE, exported
from .toys import assert_refused

SETTINGS = {
    "cyclegan": (  # what parts for tiles compute twice, and what is drawn for the whole image
        *("networks.generator.upsample=blurred", "networks.generator.downsample=blurred"),
        *("networks.generator.skips=true", "networks.generator.dropout=0.5", "inference.dropout=true"),
    ),
    "dualgan": ("method.noise_channels=1",),  # a U-Net whose dropout stays on
    "bicyclegan": ("networks.generator.init_gain=1",),  # a latent for all sizes
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained run of each."""
    root = tmp_path_factory.mktemp("export")
    data = make_set(root / "data", trainA=4, trainB=4, testA=5, testB=5)
    return {
        arch: train(small_config(arch, data, "training.steps=1", *settings), root / arch).run.root
        for arch, settings in SETTINGS.items()
    }


@pytest.fixture(scope="module")
def onnx(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each of them as ONNX."""
    root = tmp_path_factory.mktemp("onnx")
    images = [np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)] * 4
    archs = ("cyclegan", "dualgan")
    return {arch: export_model(runs[arch], images, output=root / f"{arch}.onnx").path for arch in archs}


@pytest.mark.parametrize(
    ("arch", "form"), [("cyclegan", "onnx"), ("dualgan", "onnx"), ("cyclegan", "torchscript"), ("bicyclegan", "pt2")]
)
def test_an_exported_file_translates_like_the_model_at_any_size(
    runs: dict[str, Path], onnx: dict[str, Path], tmp_path: Path, arch: str, form: Format
) -> None:
    if form == "onnx":
        file, about = onnx[arch], runtime.OnnxTranslator(onnx[arch]).about
    else:
        done = export_model(runs[arch], [draw_pixels(0, 16, 16)] * 4, form=form, output=tmp_path / "exported")
        file, about = done.path, done.about
    assert about.largest_difference < 1e-4
    assert about.compared == 4
    exported, model = read(file, form, about), load_translator(runs[arch])
    for number, (height, width) in enumerate([(16, 16), (5, 7), (33, 70), (64, 16)]):
        unit = runtime.to_unit(draw_pixels(number, height, width))
        images = np.concatenate([unit, unit[..., ::-1]])
        expected = model.translate(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(exported(images), expected, atol=1e-4)


def draw_pixels(seed: int, height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_file_refuses_the_arrays_that_it_would_misread(runs: dict[str, Path], onnx: dict[str, Path]) -> None:
    exported, pixels = runtime.OnnxTranslator(str(onnx["cyclegan"])), draw_pixels(0, 20, 24)
    made, expected = exported(pixels), load_translator(runs["cyclegan"])(pixels)
    np.testing.assert_allclose(made.astype(int), expected.astype(int), atol=1)
    for array in (pixels / 255, pixels.astype(np.uint16) * 257, pixels.astype(int), pixels[..., 0], pixels[..., :1]):
        with pytest.raises(
            DataError, match=r"^uint8 values in 3 channels are needed, as an array \(H, W, C\), and not "
        ):
            exported(array)


def test_a_large_map_that_is_nearly_flat_is_normalised_exactly(runs: dict[str, Path], onnx: dict[str, Path]) -> None:
    images = torch.ones(1, 3, 1024, 1024)
    images[:, :, ::64], images[..., ::64] = -1, -1
    with torch.no_grad():
        expected = load_translator(runs["cyclegan"]).method.directions()["AtoB"].generator(images).numpy()
    made = runtime.OnnxTranslator(onnx["cyclegan"]).translate(images.numpy())
    assert np.abs(made - expected).max() < 1e-4


def test_the_runtime_draws_what_pytorch_draws() -> None:
    for seed in (0, 1, 2**40 + 17, 2**63 - 1):
        for count in (16, 17, 48, 1000):
            random = torch.Generator().manual_seed(seed)
            np.testing.assert_array_equal(runtime.uniform(seed, count), torch.rand(count, generator=random))
            random.manual_seed(seed)
            np.testing.assert_allclose(runtime.normal(seed, count), torch.randn(count, generator=random), atol=2e-6)
        for length in (1, 8, 40):
            drawn = runtime.Draw("draw_0", "generator.latent", "latent", length, 1).drawn(seed, 64, 32)
            wanted = SeededLatent(length, seed, "generator.latent").draw((3, 64, 32))
            np.testing.assert_allclose(drawn, wanted, atol=2e-6)


def test_onnx_files_need_no_other_package(
    runs: dict[str, Path], onnx: dict[str, Path], tmp_path: Path, i2i: Run
) -> None:
    for number, size in enumerate([(24, 20), (7, 9), (40, 16)]):
        draw(tmp_path / "in" / "sub" / f"{number}.png", number, size)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    others = ("torch", "torchvision", "pydantic", "yaml", "click", "rich", "albumentations", "cv2", "safetensors")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({(*others, 'accelerate', 'tensorboard', 'platformdirs', 'jinja2')!r}))\n"
        "from i2i.runtime import main\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-c", code, onnx["cyclegan"], tmp_path / "in", "-o", tmp_path / "out"]
    command += ["--seed", 5, "--tile", 16]
    trace = tmp_path / "trace"  # where onnxruntime would keep what it tells its makers
    trace.mkdir()
    kept = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment = kept | dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(trace))
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert list(trace.iterdir()) == []
    assert result.returncode == 1
    assert result.stdout == "translated 3 of 4\n"
    assert "broken.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert i2i("translate", tmp_path / "in", "-o", tmp_path / "own", "--model", runs["cyclegan"], "--seed", 5).code == 1
    own = list_images(tmp_path / "own")
    assert len(own) == 3
    for path in own:
        other = read_image(tmp_path / "out" / path.relative_to(tmp_path / "own"))
        assert np.abs(other.astype(int) - read_image(path)).max() <= 1
    again = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("size", [(45, 37), (16, 50), (5, 3)])
def test_an_onnx_file_translates_by_tiles_as_it_does_whole(onnx: dict[str, Path], size: tuple[int, int]) -> None:
    translator = load_translator(onnx["cyclegan"])
    image = torch.from_numpy(runtime.to_unit(draw_pixels(0, *size)))[0]
    whole = translator(image, seed=3)
    tiled = translator.translate_by_tiles(image, None, Tiles(16), seed=3)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    as_large = translator.translate_by_tiles(image, None, Tiles(64, statistics="thumbnail"), seed=3)
    torch.testing.assert_close(as_large, whole, rtol=0, atol=1e-5)


def test_i2i_translates_by_tiles_with_an_onnx_file(
    runs: dict[str, Path], onnx: dict[str, Path], tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "in/a.png", 0, (37, 45))

    def translate(name: str, model: Path, *options: object) -> NDArray[np.int64]:
        result = i2i("translate", tmp_path / "in", "-o", tmp_path / name, "--model", model, *options)
        assert (result.code, result.out.count("translated 1 of 1")) == (0, 1), result.err
        return read_image(tmp_path / name / "a.png").astype(int)

    whole = translate("whole", runs["cyclegan"])
    assert np.abs(translate("tiled", onnx["cyclegan"], "--tile", 16) - whole).max() <= 1
    by_name = ("--tile", 16, "--tile-statistics", "thumbnail")
    reduced = translate("reduced", onnx["cyclegan"], *by_name)
    assert np.abs(reduced - translate("run", runs["cyclegan"], *by_name)).max() <= 1
    assert np.abs(reduced - whole).max() > 1
    monkeypatch.setattr("i2i.inference.memory.SHARE", 1e-7)
    assert np.abs(translate("auto", onnx["cyclegan"]) - whole).max() <= 1
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("tiled", "reduced", "auto")]
    assert [report["files"][0]["tile"] for report in reports] == [16, 16, 512]
    assert [report.get("tile_statistics") for report in reports] == [None, "thumbnail", None]


def test_an_onnx_file_goes_on_by_tiles_where_memory_runs_out(
    tmp_path: Path, i2i: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {"times": [1, 333, 1, 1], "twice": [1, 2, 1, 1], "from": [1], "to": [4], "channel": [1]}
    nodes = [make_node("Constant", [], [name], value_ints=values) for name, values in numbers.items()]
    nodes += [
        make_node("Tile", [runtime.IMAGES, "times"], ["large"]),  # 4 kB for a pixel, which are kept,
        make_node("Tile", ["large", "twice"], ["larger"]),  # and 8 kB more
        make_node("Slice", ["larger", "from", "to", "channel"], [runtime.TRANSLATED]),
    ]
    file = exported(tmp_path / "hungry.onnx", nodes, (WHOLE,))
    source, target = draw(tmp_path / "in.png", 0, (8192, 8)), tmp_path / "out.png"
    pixels, translator = read_image(source), load_translator(file)
    with no_memory_beyond(300 * 2**20):  # for the first map of the whole image, and not for both
        called = translator(pixels)
        result = i2i("translate", source, "-o", target, "--model", file)
        capsys.readouterr()
        assert runtime.main([str(file), str(source), "-o", str(tmp_path / "no.png")]) == 1
    assert "in.png: not enough memory for 8192x8 pixels: translate it by tiles (--tile)" in capsys.readouterr().err
    assert result.code == 0, result.err
    assert "in.png: does not fit into memory: translated by tiles of 512 pixels" in result.err
    for made in (called, read_image(target)):
        assert np.array_equal(made, pixels[..., [1, 2, 0]])


def test_i2i_translates_with_an_onnx_file_as_with_the_run(
    runs: dict[str, Path], onnx: dict[str, Path], tmp_path: Path, i2i: Run
) -> None:
    for number, size in enumerate([(24, 20), (7, 9)]):
        draw(tmp_path / "in" / f"{number}.png", number, size)
    for name, model in (("file", onnx["dualgan"]), ("run", runs["dualgan"])):
        assert i2i("translate", tmp_path / "in", "-o", tmp_path / name, "--model", model, "--seed", 5).code == 0
    for path in list_images(tmp_path / "run"):
        ours, theirs = read_image(path).astype(int), read_image(tmp_path / "file" / path.name)
        assert np.abs(ours - theirs).max() <= 1
    again = i2i("translate", tmp_path / "in", "-o", tmp_path / "file", "--model", onnx["dualgan"], "--seed", 5)
    assert "2 of 2 were translated before and are kept" in again.err
    pixels = draw_pixels(0, 12, 17)
    from_file, from_run = load(onnx["cyclegan"]), load(runs["cyclegan"])
    assert isinstance(from_file, Translator)
    assert isinstance(from_run, Translator)
    assert np.abs(from_file(pixels).astype(int) - from_run(pixels)).max() <= 1


def test_the_runtime_names_outputs_as_i2i_translate_does_and_takes_over_what_images_say(
    onnx: dict[str, Path], tmp_path: Path, i2i: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    source, file = tmp_path / "in", str(onnx["cyclegan"])
    with Image.open(draw(source / "a.png", 1)) as image:
        image.save(source / "a.png", dpi=(300, 300), exif=exif_of("Ada"))
    before = (source / "a.png").read_bytes()

    def refused(*arguments: object, why: str) -> None:
        capsys.readouterr()
        assert runtime.main([file, *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert why in said
        assert said.count("\n") == 1

    for output in (source, source / "out"):
        refused(source, "-o", output, "--overwrite", why="would be inside the input or replace it")
    refused(source / "a.png", "-o", source / "a.png", "--overwrite", why="is the input itself")
    refused(source / "a.png", "-o", tmp_path / "a.gif", why="cannot write .gif")
    assert (source / "a.png").read_bytes() == before
    assert runtime.main([file, str(source / "a.png"), "-o", str(tmp_path / "painted")]) == 0
    assert i2i("translate", source / "a.png", "-o", tmp_path / "own", "--model", file).code == 0
    with Image.open(tmp_path / "painted/a.png") as ours, Image.open(tmp_path / "own/a.png") as theirs:
        assert ours.getexif()[ExifTags.Base.Artist] == "Ada"
        assert ours.info["dpi"] == theirs.info["dpi"]
        assert ours.getexif() == theirs.getexif()
    with pytest.raises(SystemExit):
        runtime.main([file, str(source), "--tile-statistics", "thumbnail"])
    assert "give --tile N too" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        runtime.main([file, str(source), "--seed", "-1"])


def exif_of(artist: str) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = artist
    return exif


def test_onnx_files_keep_transparency_as_i2i_translate_does(
    onnx: dict[str, Path], tmp_path: Path, i2i: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(draw(tmp_path / "in" / "clear.png", 1)) as image:
        image.putalpha(Image.fromarray(np.arange(20 * 24, dtype=np.uint16).reshape(20, 24).astype(np.uint8)))
    image.save(tmp_path / "in" / "clear.png")
    draw(tmp_path / "in" / "opaque.png", 2)
    file = onnx["cyclegan"]
    assert i2i("translate", tmp_path / "in", "-o", tmp_path / "own", "--model", file, "--alpha").code == 0
    command = [str(file), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--alpha"]
    assert runtime.main(command) == 0
    for name, channels in (("clear.png", 4), ("opaque.png", 3)):
        ours, theirs = (np.asarray(Image.open(tmp_path / folder / name)).astype(int) for folder in ("own", "out"))
        assert ours.shape == theirs.shape == (20, 24, channels)
        assert np.abs(ours - theirs).max() <= 1
        assert np.array_equal(ours[..., 3:], theirs[..., 3:])
    capsys.readouterr()
    assert runtime.main([str(file), str(tmp_path / "in/clear.png"), "-o", str(tmp_path / "no.jpg"), "--alpha"]) == 2
    assert capsys.readouterr().err == "error: alpha: jpg has no transparency: use png, webp, tiff or npy\n"


def test_what_an_onnx_file_cannot_do_is_refused(onnx: dict[str, Path], tmp_path: Path, i2i: Run) -> None:
    draw(tmp_path / "in.png", 0)
    np.save(tmp_path / "in.npy", np.zeros((8, 8, 5), np.float32))
    file = onnx["cyclegan"]

    def translate(*options: object, source: str = "in.png") -> Result:
        return i2i("translate", tmp_path / source, "-o", tmp_path / "out.png", "--model", file, *options)

    without = i2i("translate", tmp_path / "in.png", "--model", onnx["dualgan"], "--tile", 16)
    assert_refused(without, "takes whole images only: its generator has no parts")
    assert_refused(translate("--direction", "BtoA"), "this model has AtoB")
    assert_refused(translate("--precision", "bf16"), "as it was exported")
    assert_refused(translate("--device", "cuda"), "exported files run on the CPU")
    deep = translate(source="in.npy")
    assert deep.code == 1
    assert "float32 values in 5 channels: 8-bit images of 1, 3 or 4 channels are needed" in deep.err
    assert_refused(i2i("evaluate", "--model", file), "is an exported file")
    assert_refused(i2i("export", file, "--images", tmp_path / "in.png"), "is an exported file")


def test_8_bit_integers_are_exported_with_their_price(runs: dict[str, Path], tmp_path: Path, i2i: Run) -> None:
    result = i2i("export", runs["cyclegan"], "--int8", "-o", tmp_path / "int8.onnx")
    assert result.code == 0, result.err
    assert re.search(
        r"8-bit integers: [\d.]+ MB instead of [\d.]+, and \d+ ms an image of 256x256 px instead", result.out
    )
    exported = runtime.OnnxTranslator(tmp_path / "int8.onnx")
    assert exported.about.precision == "int8"
    assert exported.about.compared == 2  # the others were calibrated on
    with pytest.raises(ConfigError, match="whole images only: in 8-bit integers"):
        exported(draw_pixels(0, 24, 20), tile=16)
    pixels = draw_pixels(0, 24, 20)
    apart = np.abs(exported(pixels).astype(int) - load_translator(runs["cyclegan"])(pixels))
    assert 0 < apart.mean() < 8
    assert exported.about.mean_difference * 127.5 < 8
    assert_refused(i2i("export", runs["cyclegan"], "--int8", "--format", "pt2"), "--format onnx")
    draw(tmp_path / "one.png", 0)
    few = i2i("export", runs["cyclegan"], "--int8", "--images", tmp_path / "one.png", "-o", tmp_path / "few.onnx")
    assert_refused(few, "4 at least, and here are 1")


def test_8_bit_integers_that_make_other_images_are_refused(
    runs: dict[str, Path], onnx: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "LARGEST_MEAN_OF_INT8", 1e-6)
    plain = Exported(onnx["cyclegan"], runtime.OnnxTranslator(onnx["cyclegan"]).about, Apart(0.0, 0.0, 4))
    images = [draw_pixels(number, 16, 16) for number in range(4)]
    with pytest.raises(ConfigError, match="8-bit integers differ from the model by"):
        write_int8(load_translator(runs["cyclegan"]), "AtoB", plain, images, tmp_path / "int8.onnx")


def test_all_forms_of_a_run_stand_in_one_table(runs: dict[str, Path], tmp_path: Path, i2i: Run) -> None:
    result = i2i("export", runs["cyclegan"], "--compare", "-o", tmp_path / "forms.json")
    assert result.code == 0, result.err
    rows = json.loads((tmp_path / "forms.json").read_bytes())["rows"]
    names = [row["form"] for row in rows]
    assert names == ["safetensors, fp32", "safetensors, bf16", "onnx", "onnx, int8", "torchscript", "pt2"]
    assert all(f"| {name} |" in result.out for name in names)
    assert all(row["bytes"] > 1000 and row["milliseconds"] > 0 for row in rows)
    for row in rows:
        assert (row["apart"]["largest"] < 1e-3) == ("int8" not in row["form"] and "bf16" not in row["form"])
    assert not list(runs["cyclegan"].glob("AtoB.*"))
    assert_refused(i2i("export", runs["cyclegan"], "--compare", "--format", "pt2"), "leave out --format and --int8")


def test_a_run_is_exported_beside_its_weights(runs: dict[str, Path], i2i: Run) -> None:
    result = i2i("export", runs["cyclegan"], "--direction", "BtoA", "--format", "torchscript")
    assert result.code == 0
    assert "largest difference to the model on 5 images" in result.out
    with ZipFile(runs["cyclegan"] / "BtoA.pt") as archive:
        said = next(archive.read(name) for name in archive.namelist() if name.endswith("extra/i2i"))
    assert json.loads(said)["direction"] == "BtoA"
    again = i2i("export", runs["cyclegan"], "--direction", "BtoA", "--format", "torchscript")
    assert_refused(again, "BtoA.pt", "--overwrite")


def test_a_file_that_translates_otherwise_is_not_kept(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "LARGEST_DIFFERENCE", -1.0)
    images = [draw_pixels(0, 16, 16)]
    with pytest.raises(ConfigError, match="translates otherwise than the model, by up to 0"):
        export_model(runs["cyclegan"], images, form="torchscript", output=tmp_path / "exported")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused(
    runs: dict[str, Path], tmp_path: Path, labelled_set: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = train(small_config("dcgan", labelled_set, "training.steps=1"), tmp_path / "dcgan").run.root
    assert_refused(i2i("export", noise), "use i2i sample")
    assert_refused(i2i("export", runs["cyclegan"], "--direction", "AtoC"), "this model has AtoB, BtoA")
    assert_refused(i2i("export", runs["cyclegan"], "--images", tmp_path / "nowhere"), "nowhere")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((runs["cyclegan"] / "model.safetensors").read_bytes())
    assert_refused(i2i("export", alone), "--images")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert_refused(i2i("export", runs["cyclegan"]), "needs onnxscript: ")


def test_files_that_are_no_exports_are_named(
    onnx: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "image.png", 0)
    content = onnx["cyclegan"].read_bytes()
    bad = {
        "cut.onnx": (content[: len(content) // 2], "damaged, or no ONNX file"),
        "text.onnx": (b"hello", "damaged, or no ONNX file"),
        "foreign.onnx": (content.replace(b"i2i", b"xyz"), "not exported by i2i"),
        "other.onnx": (
            content.replace(b'"format": 2', b'"format": 9'),
            "what it says of itself cannot be read (of another",
        ),
    }
    model = load_onnx(onnx["cyclegan"])
    convert_model_to_external_data(model, location="../outside", size_threshold=0)
    bad["outside.onnx"] = model.SerializeToString(), "has weights in other files, which are not read"
    for name, (changed, reason) in bad.items():
        (tmp_path / name).write_bytes(changed)
        assert runtime.main([str(tmp_path / name), str(tmp_path / "image.png")]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path / name}: {reason}"), said
        assert said.count("\n") == 1
    assert runtime.main([str(tmp_path / "nowhere.onnx"), str(tmp_path / "image.png")]) == 2
    capsys.readouterr()
    assert runtime.main([str(onnx["cyclegan"]), str(tmp_path / "nowhere"), "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such file or folder\n"
    assert runtime.main([str(onnx["cyclegan"]), str(tmp_path)]) == 0
    old = tmp_path / "old.onnx"  # of a version without tiles
    old.write_bytes(content)
    about = runtime.OnnxTranslator(old).about
    assert about.parts
    describe_file(old, replace(about, parts=None))
    assert runtime.main([str(old), str(tmp_path / "image.png"), "--overwrite"]) == 0
    assert runtime.main([str(old), str(tmp_path / "image.png"), "--overwrite", "--tile", "16"]) == 2
    assert (
        "takes whole images only: it does not say how its graph is cut for tiles: export it again"
        in capsys.readouterr().err
    )
    first, *others = about.parts
    for parts in ((replace(first, output="nowhere"),), (first.renamed({first.output: "nowhere"}), *others)):
        describe_file(old, replace(about, parts=parts))
        assert runtime.main([str(old), str(tmp_path / "image.png"), "--overwrite", "--tile", "16"]) > 0
        said = capsys.readouterr().err
        assert re.search(r"impossible parts|no node makes nowhere", said), said
        assert said.count("\n") == 1
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert runtime.main([str(onnx["cyclegan"]), str(tmp_path / "image.png")]) == 2
    assert "pip install onnxruntime" in capsys.readouterr().err
