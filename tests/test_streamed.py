"""Large PNG and TIFF are translated by bands of rows, to the files that whole images give."""

from __future__ import annotations

import json
import sys
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

from i2i.build import build_method
from i2i.data import streamed
from i2i.data.images import encode_image, read_image, read_values
from i2i.storage.weights import save_weights

from .conftest import Run, no_space_beyond, small_config

pytest.importorskip("pyvips")

SIZE = (18, 25)
Both = Callable[..., list[str]]


def noise(channels: int, kind: type[np.generic] = np.uint8, seed: int = 0) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    if kind == np.float32:
        return random.normal(size=(*SIZE, channels)).astype(kind)
    return random.integers(0, np.iinfo(kind).max, (*SIZE, channels), endpoint=True).astype(kind)  # type: ignore[type-var]


def image(channels: int, kind: type[np.generic] = np.uint8) -> Image.Image:
    values = noise(channels, kind)
    return Image.fromarray(values[..., 0] if channels == 1 else values)


def weights(path: Path, *settings: str) -> Path:
    model = small_config("cyclegan", path, *settings).model
    torch.manual_seed(0)
    save_weights(path, build_method(model).inference_state(), model, step=0)
    return path


def said() -> dict[str, Any]:
    """What a file says beside its pixels."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = (1, 50)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {"dpi": (300, 200), "exif": exif, "icc_profile": profile}


@pytest.fixture
def both(tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch) -> Both:
    """Translates the folder "in" by tiles to "whole" and "bands", and gives the names of those written by bands."""

    def run(model: Path, *arguments: object) -> list[str]:
        names = list[str]()
        encoded = streamed.encoded

        def noted(target: Path, *rest: Any) -> Any:
            names.append(target.stem)
            return encoded(target, *rest)

        command = ("translate", tmp_path / "in", "--model", model, "--device", "cpu", "--tile", 20, *arguments, "-o")
        whole = i2i(*command, tmp_path / "whole")
        with monkeypatch.context() as small:
            small.setattr("i2i.inference.inputs.STREAMED_PIXELS", 1)
            small.setattr("i2i.data.on_disk.BAND_PIXELS", 100)
            small.setattr("i2i.data.streamed.encoded", noted)
            bands = i2i(*command, tmp_path / "bands")
            assert f"{len(list((tmp_path / 'bands').iterdir())) - 1} of" in i2i(*command, tmp_path / "bands").err
        assert bands.code == whole.code
        assert bands.err.replace("bands", "whole") == whole.err
        return sorted(names)

    return run


def beside_pixels(path: Path) -> dict[Any, Any]:
    with Image.open(path) as file:
        found: dict[Any, Any] = {name: file.info.get(name) for name in ("dpi", "icc_profile")}
        inside = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        found |= {part: dict(file.getexif().get_ifd(part)) for part in inside}
        moved = (ExifTags.Base.StripOffsets, *inside)
        found |= {tag: value for tag, value in file.getexif().items() if tag not in moved}
        return found


def put_eight_bits(folder: Path) -> set[str]:
    """Images of all kinds; the names of those that can be streamed are given."""
    folder.mkdir()
    image(1).save(folder / "grey.png")
    image(2).save(folder / "grey-alpha.png", **said())
    image(3).save(folder / "deflate.tif", compression="tiff_deflate", **said())
    image(4).save(folder / "alpha.png", **said())
    image(1, np.uint16).save(folder / "deep.png")
    image(1, np.uint16).save(folder / "deep-lzw.tif", compression="tiff_lzw")
    cv2.imwrite(str(folder / "deep-alpha.png"), noise(4, np.uint16))
    tifffile.imwrite(folder / "tiles.tif", noise(3, np.uint16), photometric="rgb", tile=(16, 16), byteorder=">")
    found = {path.stem for path in folder.iterdir()}
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    image(3).quantize(9).save(folder / "palette.png")
    image(3).save(folder / "key.png", transparency=(1, 2, 3))
    image(3).save(folder / "turned.png", exif=turned)
    image(3).save(folder / "lossy.tif", compression="jpeg")
    return found


@pytest.mark.parametrize("arguments", [("--alpha",), ("--format", "tiff")])
def test_eight_bit_outputs_are_those_of_whole_images(tmp_path: Path, both: Both, arguments: tuple[str, ...]) -> None:
    expected = put_eight_bits(tmp_path / "in")
    assert both(weights(tmp_path / "w.safetensors"), *arguments) == sorted(expected)
    entries = json.loads((tmp_path / "bands/report.json").read_text())["files"]
    assert len(entries) == len(expected) + 4
    for entry in entries:
        whole, bands = tmp_path / "whole" / entry["output"], tmp_path / "bands" / entry["output"]
        with Image.open(whole) as one, Image.open(bands) as two:
            assert one.mode == two.mode
            assert np.array_equal(np.asarray(one), np.asarray(two)), whole.name
        assert beside_pixels(whole) == beside_pixels(bands), whole.name
        assert entry["output_sha256"] == sha256(bands.read_bytes()).hexdigest()


DEEP = ("data.depth_a.kind=uint16", "data.depth_a.high=60000", "data.channels_a=3")
FLOATS = ("data.depth_b.kind=float32", "data.depth_b.low=-2", "data.depth_b.high=2", "data.channels_b=5")


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_deep_outputs_are_those_of_whole_images(tmp_path: Path, both: Both, direction: str) -> None:
    (tmp_path / "in").mkdir()
    given, suffix = (noise(3, np.uint16), "tiff") if direction == "AtoB" else (noise(5, np.float32), "png")
    for name in ("a.tif", *(["b.png"] if direction == "AtoB" else [])):
        (tmp_path / "in" / name).write_bytes(encode_image(Path(name), given))
    model = weights(tmp_path / "w.safetensors", *DEEP, *FLOATS, "method.identity_weight=0")
    names = both(model, "--direction", direction, "--format", suffix)
    assert names == [path.stem for path in sorted((tmp_path / "in").iterdir())]
    for name in names:
        kind, channels = ("float32", 5) if direction == "AtoB" else ("uint16", 3)
        whole, bands = (
            read_values(tmp_path / way / f"{name}.{suffix}", kind, channels)  # type: ignore[arg-type]
            for way in ("whole", "bands")
        )
        assert np.array_equal(whole, bands)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images are streamed too."""
    monkeypatch.setattr("i2i.inference.inputs.STREAMED_PIXELS", 1)
    monkeypatch.setattr("i2i.data.on_disk.BAND_PIXELS", 100)


@pytest.mark.usefixtures("small")
def test_without_libvips_images_are_read_whole(tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    image(3).save(tmp_path / "a.png")
    command = ("translate", tmp_path / "a.png", "--model", weights(tmp_path / "w.safetensors"), "--tile", 20, "-o")
    assert i2i(*command, tmp_path / "with.png").code == 0
    monkeypatch.setitem(sys.modules, "pyvips", None)
    streamed.libvips.cache_clear()
    try:
        assert i2i(*command, tmp_path / "without.png").code == 0
        assert streamed.libvips() is None
    finally:
        streamed.libvips.cache_clear()
    assert np.array_equal(read_image(tmp_path / "with.png"), read_image(tmp_path / "without.png"))


@pytest.mark.usefixtures("small")
def test_what_is_cut_or_damaged_is_named_and_skipped(tmp_path: Path, i2i: Run) -> None:
    (tmp_path / "in").mkdir()
    image(3).save(tmp_path / "in/good.png")
    for name in ("cut.png", "cut.tif", "cut-deflate.tif", "damaged.png"):
        path = tmp_path / "in" / name
        image(3).save(path, **({"compression": "tiff_deflate"} if "deflate" in name else {}))
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] if "cut" in name else content[:middle] + bytes(40) + content[middle + 40 :])
    model = weights(tmp_path / "w.safetensors")
    result = i2i("translate", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "--tile", 20)
    assert (result.code, "translated 1 of 5" in result.out) == (1, True)
    lines = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 4
    for line, name in zip(sorted(lines), ("cut-deflate.tif", "cut.png", "cut.tif", "damaged.png"), strict=True):
        assert f"in/{name}: unreadable image (" in line
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.png", "report.json"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_disk_without_room_for_an_image_is_named(tmp_path: Path, i2i: Run, suffix: str) -> None:
    described = Image.Exif()
    described[ExifTags.Base.ImageDescription] = "x" * 5_000
    image(3).save(tmp_path / "a.png", exif=described)
    model = weights(tmp_path / "w.safetensors")
    for size, said in ((1_000, "an image of 0.0 GB does not fit into"), (5_000, "cannot write")):
        with no_space_beyond(size):
            result = i2i(
                "translate", tmp_path / "a.png", "-o", tmp_path / f"b.{suffix}", "--model", model, "--tile", 20
            )
        assert result.code == 1
        assert said in result.err
        assert "name another folder by TMPDIR" in result.err
    assert not list(tmp_path.glob("b.*"))
