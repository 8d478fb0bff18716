"""Images of 16 bits, floats and arrays of many channels: from a folder through training to a translated folder."""

from __future__ import annotations

import ast
import io
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

import i2i as package
from i2i import runtime
from i2i.config.schema import Depth
from i2i.data.batches import unit_batch
from i2i.data.depth import as_shown, from_unit_values
from i2i.data.images import encode_image, opened, read_image, read_values
from i2i.data.stored import ArrayFile
from i2i.errors import ConfigError, DataError
from i2i.inference.plan import plan
from i2i.inference.translate import translate_files
from i2i.inference.translator import Translator
from i2i.kinds import Kind
from i2i.storage.weights import load_weights
from i2i.training.settling import data_of
from i2i.training.start import resume, train

from .conftest import Run, draw, make_set, small_arguments, small_config
from .toys import CPU, stream_of

Values = NDArray[Any]


def noise(kind: Kind, channels: int, seed: int, size: tuple[int, int] = (20, 24)) -> Values:
    random = np.random.default_rng(seed)
    if kind == "float32":
        return (random.random((*size, channels)) * 300 - 100).astype(np.float32)
    return random.integers(0, 256 if kind == "uint8" else 65_536, (*size, channels)).astype(kind)


def put(path: Path, values: Values) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(path, values))
    return path


def fill(root: Path, a: tuple[Kind, int, str], b: tuple[Kind, int, str]) -> Path:
    """A set of two domains, each of a kind, channels and a suffix."""
    for side, (kind, channels, suffix) in zip("AB", (a, b), strict=True):
        for part, count in (("train", 3), ("test", 2)):
            for number in range(count):
                seed = 100 * "AB".index(side) + 10 * len(part) + number
                put(root / f"{part}{side}" / f"{number}{suffix}", noise(kind, channels, seed))
    return root


GREY: tuple[Kind, int, str] = ("uint16", 1, ".png")
BANDS: tuple[Kind, int, str] = ("float32", 5, ".npy")
NO_IDENTITY = "method.identity_weight=0"


@pytest.fixture(scope="module")
def deep_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("deep") / "set", GREY, BANDS)


@pytest.fixture(scope="module")
def run(deep_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config("cyclegan", deep_set, NO_IDENTITY, "training.steps=2")
    return train(config, tmp_path_factory.mktemp("runs") / "run").run.root


@pytest.mark.parametrize(
    ("name", "kind", "channels"),
    [
        *(("x.png", kind, channels) for kind in ("uint8", "uint16") for channels in (1, 3, 4)),
        *(("x.tiff", kind, channels) for kind in ("uint8", "uint16", "float32") for channels in (1, 2, 3, 4, 7)),
        *(("x.npy", kind, channels) for kind in ("uint8", "uint16", "float32") for channels in (1, 2, 6)),
    ],
)
def test_what_is_written_is_read_back(tmp_path: Path, name: str, kind: Kind, channels: int) -> None:
    values = noise(kind, channels, 0)
    path = put(tmp_path / name, values)
    read = read_values(path, kind, channels)
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


def test_files_of_other_programs_keep_their_values(tmp_path: Path) -> None:
    rgb, many, floats = noise("uint16", 3, 1), noise("uint16", 7, 2), noise("float32", 1, 3)
    cv2.imwrite(str(tmp_path / "lzw.tiff"), rgb[..., ::-1])
    tifffile.imwrite(tmp_path / "planes.tiff", many.transpose(2, 0, 1), photometric="minisblack", planarconfig=2)
    tifffile.imwrite(tmp_path / "big.tiff", floats[..., 0], bigtiff=True)
    np.save(tmp_path / "columns.npy", np.asfortranarray(many.astype(">u2")))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(floats[..., 0]).save(tmp_path / "turned.tiff", exif=exif)
    assert np.array_equal(read_values(tmp_path / "lzw.tiff", "uint16", 3), rgb)
    assert np.array_equal(read_values(tmp_path / "planes.tiff", "uint16", 7), many)
    assert np.array_equal(read_values(tmp_path / "big.tiff", "float32", 1), floats)
    assert np.array_equal(read_values(tmp_path / "columns.npy", "uint16", 7), many)
    assert np.array_equal(read_values(tmp_path / "turned.tiff", "float32", 1), np.rot90(floats, -1))


@pytest.mark.parametrize(
    "depth",
    [
        Depth(kind="uint8"),
        Depth(kind="uint16", high=65_535),
        Depth(kind="uint16", low=100, high=4196),
        Depth(kind="float32", low=-1024.5, high=3071),
    ],
)
def test_every_value_of_a_depth_comes_back(depth: Depth) -> None:
    is_float = depth.kind == "float32"
    steps = np.linspace(depth.low, depth.high, 2**16) if is_float else np.arange(depth.low, depth.high + 1)
    values = steps.astype(depth.kind)[None, :, None]
    back = from_unit_values(unit_batch([values], depth, CPU), depth)[0]
    assert back.dtype == values.dtype
    assert np.abs(back.astype(np.float64) - values).max() <= (1e-3 if is_float else 0)
    assert (as_shown(values, depth)[0, 0, 0], as_shown(values, depth)[0, -1, 0]) == (0, 255)


@pytest.mark.parametrize(
    ("kind", "channels", "suffix"),
    [("uint16", 1, ".png"), ("uint16", 3, ".tiff"), ("float32", 1, ".tiff"), ("uint8", 7, ".npy")],
)
def test_a_folder_keeps_its_values_through_a_network_that_changes_nothing(
    tmp_path: Path, kind: Kind, channels: int, suffix: str
) -> None:
    data = fill(tmp_path / "set", (kind, channels, suffix), (kind, channels, suffix))
    trained = train(small_config("cyclegan", data, "training.steps=1"), tmp_path / "run").run.root
    model = package.load(trained, device="cpu")
    assert isinstance(model, Translator)
    model.method.directions()["AtoB"].generator.forward = lambda x: x
    low, high = model.depths("AtoB")[0].low, model.depths("AtoB")[0].high
    one_step = 1 if kind != "float32" else 1e-5 * (high - low)
    form: Any = suffix[1:]
    results = translate_files(model, plan(data / "testA", tmp_path / "out", form), "AtoB")
    assert [result.error for result in results] == [None, None]
    target = model.depths("AtoB")[1]
    for number in range(2):
        given = read_values(data / "testA" / f"{number}{suffix}", kind, channels).astype(np.float64)
        made = read_values(tmp_path / "out" / f"{number}{suffix}", kind, channels).astype(np.float64)
        # A float domain has its own range, to which that of the other is brought.
        expected = (given.clip(low, high) - low) / (high - low) * (target.high - target.low) + target.low
        assert np.abs(made - expected).max() <= one_step


def test_depths_are_found_kept_and_written(tmp_path: Path, deep_set: Path, i2i: Run) -> None:
    arguments = [*small_arguments("cyclegan", deep_set, tmp_path / "run", steps=2), "--set", NO_IDENTITY]
    result = i2i(*arguments)
    assert result.code == 0, result.err
    floats = [np.load(path) for path in sorted((deep_set / "trainB").iterdir())]
    low, high = min(map(np.min, floats)), max(map(np.max, floats))
    assert (
        "depth of A: uint16, 1 channel, values from 0 to 65,535; of B: float32, 5 channels, values from" in result.err
    )
    assert "previews show the first three channels" in result.err
    shutil.move(tmp_path / "run/model.safetensors", tmp_path / "alone.safetensors")
    images = load_weights(tmp_path / "alone.safetensors").config.images
    assert (images.channels_a, images.channels_b) == (1, 5)
    assert images.depth_b == Depth(kind="float32", low=low, high=high)
    model = ("--model", tmp_path / "alone.safetensors", "--device", "cpu")
    assert i2i("translate", deep_set / "testA", "-o", tmp_path / "B", *model).code == 0
    made = np.load(tmp_path / "B/0.npy")
    assert (made.shape, made.dtype) == ((20, 24, 5), np.float32)
    assert low <= made.min() < made.max() <= high
    assert i2i("translate", deep_set / "testB", "-o", tmp_path / "A", *model, "--direction", "BtoA").code == 0
    with Image.open(tmp_path / "A/0.png") as image:
        assert (image.mode, image.size) == ("I;16", (24, 20))
        assert len(np.unique(np.asarray(image))) > 300
    refused = i2i("translate", deep_set / "testA", "-o", tmp_path / "C", *model, "--format", "jpg")
    assert (refused.code, "use --format npy" in refused.err) == (2, True)
    alone = put(tmp_path / "high.npy", noise("float32", 5, 0) + 400)
    assert "are outside of" in i2i("translate", alone, "-o", tmp_path / "high.png", *model, "--direction", "BtoA").err


def test_other_depths_than_those_of_the_model_are_refused(tmp_path: Path, run: Path, i2i: Run) -> None:
    draw(tmp_path / "in/8-bit.png", 0)
    put(tmp_path / "in/floats.tiff", noise("float32", 1, 0))
    put(tmp_path / "in/good.png", noise("uint16", 1, 0))
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", run)
    assert result.code == 1
    assert "8-bit.png: holds 8-bit pixels, and uint16 values in 1 channel are needed" in result.err
    assert "floats.tiff: holds float32 values in 1 channel, and uint16" in result.err
    assert [path.name for path in (tmp_path / "out").glob("*.npy")] == ["good.npy"]


def test_a_run_goes_on_exactly(tmp_path: Path, deep_set: Path) -> None:
    settings = (NO_IDENTITY, "data.augment=[{name: RandomBrightnessContrast}, {name: Transpose}]")
    whole = train(small_config("cyclegan", deep_set, *settings, "training.steps=4"), tmp_path / "whole")
    train(
        small_config("cyclegan", deep_set, *settings, "training.steps=4", "training.max_time=1e-9"), tmp_path / "part"
    )
    resumed = resume(tmp_path / "part", 4)
    assert resumed.step == 4
    ours, theirs = (load_weights(outcome.run.model).tensors for outcome in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_pair_keeps_one_geometry(tmp_path: Path) -> None:
    for number in range(2):
        values = noise("uint16", 1, number)
        put(tmp_path / f"trainA/{number}.png", values)
        put(tmp_path / f"trainB/{number}.npy", np.concatenate([values, 65_535 - values], axis=2).astype(np.float32))
    whole = "data.depth_b={kind: float32, low: 0, high: 65535}"
    augment = "data.augment=[{name: Transpose}, {name: RandomBrightnessContrast, p: 1.0}]"
    plain, changed = (
        small_config("pix2pix", tmp_path, whole, *more, "data.load_size=20", "data.fit=shorter")
        for more in ((), (augment,))
    )
    batch = next(stream_of(plain, data_of(plain)))
    assert batch.b is not None
    assert torch.allclose(batch.a, batch.b[:, :1], atol=1e-4)
    batch = next(stream_of(changed, data_of(changed)))
    assert batch.b is not None
    assert torch.allclose(batch.b[:, :1], -batch.b[:, 1:], atol=1e-4)
    assert not torch.allclose(batch.a, batch.b[:, :1], atol=1e-2)
    spread = torch.corrcoef(torch.stack([batch.a.flatten(), batch.b[:, :1].flatten()]))
    assert float(spread[0, 1]) > 0.9


def test_colours_that_five_channels_do_not_have_are_refused(deep_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ToSepia cannot be used"):
        train(small_config("cyclegan", deep_set, NO_IDENTITY, "data.augment=[{name: ToSepia}]"), tmp_path / "run")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda folder: draw(folder / "z.png", 0), "8-bit pixels"),
        (lambda folder: put(folder / "z.npy", noise("uint16", 2, 0)), "uint16 values in 2 channels"),
    ],
)
def test_a_mix_is_refused_with_two_names(tmp_path: Path, other: Callable[[Path], Path], said: str, i2i: Run) -> None:
    data = fill(tmp_path / "set", GREY, GREY)
    odd = other(data / "trainA")
    result = i2i(*small_arguments("cyclegan", data, tmp_path / "run", steps=1))
    assert result.code == 2
    assert f"0.png holds uint16 values in 1 channel, and {odd} {said}" in result.err
    checked = i2i("data", "check", data, "--unpaired")
    assert checked.code == 1
    assert f"and {odd} {said}" in checked.err


def test_a_given_range_and_other_channels(tmp_path: Path) -> None:
    data = fill(tmp_path / "set", GREY, GREY)
    config = small_config("cyclegan", data, "data.depth_a={kind: uint16, low: 0, high: 4095}")
    assert data_of(config).config.images.depth_a.high == 4095
    bands = fill(tmp_path / "bands", GREY, BANDS)
    assert data_of(small_config("cyclegan", bands, "data.channels_b=5")).config.images.channels_b == 5
    with pytest.raises(ConfigError, match="channels_b is 4, and the images of domain B have 1"):
        data_of(small_config("cyclegan", data, "data.channels_b=4"))
    with pytest.raises(DataError, match=r"holds uint16 .* data.depth_a.kind is float32"):
        data_of(small_config("cyclegan", data, "data.depth_a={kind: float32, low: 0, high: 1}"))


def test_tiles_give_what_whole_images_give(run: Path) -> None:
    model = package.load(run, device="cpu")
    assert isinstance(model, Translator)
    image = noise("uint16", 1, 5, (40, 36))
    whole, tiled = model(image), model(image, tile=16)
    assert whole.dtype == tiled.dtype == np.float32
    assert np.abs(whole - tiled).max() < 1e-4 * (whole.max() - whole.min())
    grey = model(image[..., 0])
    assert np.array_equal(grey, whole)
    with pytest.raises(DataError, match="uint16 values in 1 channel are needed"):
        model(noise("uint8", 1, 0))


def test_models_are_exported_with_their_range(
    tmp_path: Path, deep_set: Path, run: Path, i2i: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file, given, direction = tmp_path / "BtoA.onnx", deep_set / "testB", ("--direction", "BtoA")
    exported = i2i("export", run, *direction, "-o", file)
    assert exported.code == 0, exported.err
    assert "largest difference to the model on 2 images" in exported.out
    assert i2i("translate", given, "-o", tmp_path / "run", "--model", run, *direction).code == 0
    assert i2i("translate", given, "-o", tmp_path / "file", "--model", file).code == 0
    assert runtime.main([str(file), str(given), "-o", str(tmp_path / "runtime")]) == 0
    assert "--seed" not in capsys.readouterr().err
    assert runtime.main([str(file), str(given / "0.npy"), "-o", str(tmp_path / "runtime/0.npy"), "--seed", "3"]) == 0
    assert "--seed changes nothing: this model draws no noise" in capsys.readouterr().err
    expected = {name: read_values(tmp_path / "run" / name, "uint16", 1).astype(int) for name in ("0.png", "1.png")}
    for name, values in expected.items():
        for other in ("file", "runtime"):
            assert np.abs(read_values(tmp_path / other / name, "uint16", 1) - values).max() <= 8
    assert np.abs(np.load(tmp_path / "runtime" / "0.npy") - expected["0.png"][..., 0]).max() <= 8


def test_models_are_measured_by_what_is_shown(tmp_path: Path, deep_set: Path, run: Path, i2i: Run) -> None:
    result = i2i("evaluate", "--model", run, "--metrics", "l1", "--device", "cpu")
    assert result.code == 0, result.err
    assert "measured as 8-bit images of the range of training" in result.out
    refused = i2i("filters", deep_set, "--model", run, "-o", tmp_path / "x.png")
    assert (refused.code, (tmp_path / "x.png").exists()) == (2, False)
    assert "8" in refused.err


def test_data_check_says_what_there_is(deep_set: Path, i2i: Run) -> None:
    result = i2i("data", "check", deep_set)
    assert result.code == 0, result.err
    assert "depth      uint16 values in 1 channel in A" in result.out
    assert "depth      float32 values in 5 channels in B from -" in result.out


def test_recipes_from_noise_bring_16_bits_to_8_and_refuse_floats(deep_set: Path, tmp_path: Path, i2i: Run) -> None:
    result = i2i(*small_arguments("dcgan", deep_set / "trainA", tmp_path / "run", steps=1))
    assert result.code == 0, result.err
    assert "16-bit values are divided by 257" in result.err
    result = i2i(*small_arguments("dcgan", deep_set / "trainB", tmp_path / "other", steps=1))
    assert (result.code, "holds float32 values in 5 channels, and recipes that make" in result.err) == (2, True)


def test_8_bit_models_take_16_bits_and_arrays_as_before(tmp_path: Path) -> None:
    values = noise("uint16", 3, 0)
    for name in ("x.png", "x.npy"):
        assert np.abs(read_image(put(tmp_path / name, values)) - values / 257).max() <= 1
    assert np.array_equal(read_image(put(tmp_path / "y.npy", noise("uint8", 3, 0))), noise("uint8", 3, 0))
    with pytest.raises(DataError, match="float32 values in 3 channels: 8-bit images"):
        read_image(put(tmp_path / "z.npy", noise("float32", 3, 0)))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pickled",)


def npy(array: Any, *, version: tuple[int, int] | None = None) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array), version)
    return content.getvalue()


def header(text: str, *, says: int | None = None) -> bytes:
    written = text.encode()
    return b"\x93NUMPY\x01\0" + (len(written) if says is None else says).to_bytes(2, "little") + written


def described(shape: str, dtype: str = "'<u2'") -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n")


BAD = {
    "objects": (npy(np.array([[Evil()]], object)), "holds objects"),
    "records": (npy(np.zeros((2, 2), [("x", "u1")])), "holds objects"),
    "doubles": (npy(np.zeros((2, 2))), "holds float64"),
    "one dimension": (npy(np.zeros(9, np.uint8)), "the shape (9,)"),
    "no pixels": (npy(np.zeros((0, 9), np.uint8)), "the shape (0, 9)"),
    "channels first": (npy(np.zeros((3, 32, 32), np.uint8)), "the axes are (H, W, C)"),
    "many channels": (npy(np.zeros((9, 9, 2000), np.uint8)), "2,000 channels"),
    "2^62 pixels": (described(f"({2**31}, {2**31})"), "0 bytes of values"),
    "more than it has": (described("(64, 64)") + bytes(99), "99 bytes of values"),
    "less than it has": (npy(np.zeros((4, 4), np.uint8)) + b"x", "17 bytes of values"),
    "negative": (described("(-4, -4)"), "shape"),
    "no tuple": (described("__import__('os').mkdir('pickled')"), "bad.npy"),
    "nested": (header("(" * 4000), "bad.npy"),
    "long header": (header(" " * 9000), "more than 4,096 bytes"),
    "header that is not there": (header("{", says=4000), "bad.npy"),
    "strange version": (npy(np.zeros((2, 2), np.uint8), version=(3, 0)), "version (3, 0)"),
    "NaN": (npy(np.full((4, 4), np.nan, np.float32)), "NaN or infinity"),
    "magic alone": (b"\x93NUMPY", "bad.npy"),
}


@pytest.mark.parametrize("name", BAD)
def test_hostile_arrays_are_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    content, said = BAD[name]
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_values(path, "float32", 1)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "pickled").exists()


def test_a_translation_takes_over_profile_exif_and_resolution(tmp_path: Path) -> None:
    data = make_set(tmp_path / "set", trainA=2, trainB=2)
    run = train(small_config("cyclegan", data, "training.steps=1"), tmp_path / "run").run.root
    model = package.load(run, device="cpu")
    assert isinstance(model, Translator)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] = 35.0
    pixels = Image.fromarray(noise("uint8", 3, 0))
    pixels.save(tmp_path / "x.jpg", exif=exif, icc_profile=profile, dpi=(300, 300))
    for form in ("png", "jpg", "webp", "tiff"):
        target = tmp_path / f"y.{form}"
        translate_files(model, plan(tmp_path / "x.jpg", target, "png"), "AtoB")
        with Image.open(target) as image:
            assert image.size == (20, 24)
            assert image.info["icc_profile"] == profile
            found = image.getexif()
            assert ExifTags.Base.Orientation not in found or (form == "tiff" and found[ExifTags.Base.Orientation] == 1)
            assert found[ExifTags.Base.Make] == "Maker"
            assert found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] == 35
            if form != "webp":
                assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    pixels.save(tmp_path / "a.png", exif=exif, icc_profile=profile, dpi=(300, 300))
    (tmp_path / "behind.png").write_bytes(with_exif_behind_pixels((tmp_path / "a.png").read_bytes()))
    pixels.save(tmp_path / "a.webp", exif=exif, icc_profile=profile)
    for compression in ("raw", "tiff_lzw"):
        pixels.save(tmp_path / f"{compression}.tiff", exif=exif, icc_profile=profile, compression=compression)
    for name in ("a.png", "behind.png", "a.webp", "raw.tiff", "tiff_lzw.tiff"):
        (result,) = translate_files(model, plan(tmp_path / name, tmp_path / f"of-{name}.png", "png"), "AtoB")
        assert result.input_sha256 == sha256((tmp_path / name).read_bytes()).hexdigest(), name
        with Image.open(tmp_path / f"of-{name}.png") as image:
            assert (image.size, image.info["icc_profile"]) == ((20, 24), profile), name
            assert image.getexif()[ExifTags.Base.Make] == "Maker", name
            inner = image.getexif().get_ifd(ExifTags.IFD.Exif)  # which Pillow leaves out of TIFF files
            assert name.endswith(".tiff") or inner[ExifTags.Base.FocalLength] == 35, name


def with_exif_behind_pixels(content: bytes) -> bytes:
    """A PNG whose EXIF comes after the image, as the format allows."""
    at = content.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(content[at : at + 4])
    last = content.index(b"IEND") - 4
    return content[:at] + content[end:last] + content[at:end] + content[last:]


def test_an_array_is_read_without_parsing_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which fails now and then where two threads do it, and the image would count as unreadable."""
    arrays: list[NDArray[Any]] = [np.arange(24, dtype=kind).reshape(4, 6) for kind in ("u1", "<u2", ">u2", "f4")]
    arrays += [np.asfortranarray(arrays[3]), arrays[1].reshape(3, 4, 2)]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array)
    monkeypatch.setattr(ast, "literal_eval", None)
    for number, array in enumerate(arrays):
        with opened(tmp_path / f"{number}.npy") as file:
            assert isinstance(file, ArrayFile)
            np.testing.assert_array_equal(file.values().squeeze(), array)
