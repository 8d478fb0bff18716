"""Decoding: every mode of image becomes 8-bit pixels by a stated rule."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.data.images import is_image, list_images, read_image, write_image
from i2i.data.layout import ImageFile
from i2i.data.store import Loading
from i2i.errors import DataError

from .conftest import draw


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tiff", "TIF", "PNG"])
def test_lossless_formats_survive_in_any_case_of_suffix(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_image(tmp_path / f"new/a.{suffix}", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / f"new/a.{suffix}"), pixels)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), "white")
    image.putpixel((0, 0), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for display
    image.save(tmp_path / "a.png", exif=exif)
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == (4, 2, 3)
    assert pixels[0, 1].tolist() == [0, 0, 0]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", channels=1)[..., 0].tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_sixteen_bits_is_found(tmp_path: Path, channels: int) -> None:
    values = np.full((4, 6, channels), 40_000, np.uint16)
    values[:, 3:] = key = [1000, 2000, 3000][:channels]
    content = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    chunk = b"tRNS" + struct.pack(f">{channels}H", *key)
    place = content.index(b"IDAT") - 4
    before = struct.pack(">I", 2 * channels) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(content[:place] + before + content[place:])
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [155 + (channels == 3)] * 3 + [255] * 3
    assert read_image(tmp_path / "a.png", 4)[0, :, 3].tolist() == [255] * 3 + [0] * 3


def test_images_without_a_known_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff: 32-bit images"):
        read_image(tmp_path / "a.tiff")


def test_alpha_is_composited_on_the_background_unless_kept(tmp_path: Path) -> None:
    Image.new("RGBA", (1, 1), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png").tolist() == [[[255, 255, 255]]]
    assert read_image(tmp_path / "clear.png", background=(1, 2, 3)).tolist() == [[[1, 2, 3]]]
    assert read_image(tmp_path / "clear.png", channels=4).tolist() == [[[200, 0, 0, 0]]]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([9, 9, 9])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert read_image(tmp_path / "palette.png").tolist() == [[[255, 255, 255]]]
    Image.new("LA", (1, 1), (10, 0)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png", channels=1).tolist() == [[[255]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_modes_become_the_wanted_channels(tmp_path: Path, mode: str) -> None:
    path = draw(tmp_path / "a.tiff", 0, mode=mode)
    for channels in (1, 3, 4):
        pixels = read_image(path, channels)
        assert pixels.shape == (20, 24, channels)
        assert pixels.max() > 200


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    whole = draw(tmp_path / "whole.jpg", 0).read_bytes()
    broken = {"cut.jpg": whole[: len(whole) // 2], "text.png": b"hello", "empty.webp": b""}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name) as error:
            read_image(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.png")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*a\.png"):
        write_image(tmp_path / "file/a.png", np.zeros((1, 1, 3), np.uint8))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = draw(tmp_path / "mine.jpg", 0)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"mine\.jpg"):
        write_image(path, np.zeros((2, 2, 4), np.uint8))
    assert path.read_bytes() == before


def test_links_are_followed_once(tmp_path: Path) -> None:
    draw(tmp_path / "real/a.png", 0)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link").symlink_to(tmp_path / "real")
    (tmp_path / "set/loop").symlink_to(tmp_path / "set")
    (tmp_path / "set/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in list_images(tmp_path / "set")] == ["gone.png", "a.png"]


def test_folders_are_walked_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b.PNG", "deep/er/a.Jpeg", ".hidden.png", ".cache/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_images(tmp_path)] == ["b.PNG", "a.Jpeg"]
    assert not is_image(Path("x.gif"))


def test_the_header_decides_whether_an_image_is_too_large(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 0)
    assert read_image(path, max_pixels=480).shape == (20, 24, 3)
    path.write_bytes(path.read_bytes()[:60])  # no pixel is there
    with pytest.raises(DataError, match=r"a\.png: 24x20 = 480 pixels are more than the 479 .*--max-pixels"):
        read_image(path, max_pixels=479)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "bmp"])
def test_more_pixels_than_pillow_allows_are_read_where_they_are_asked_for(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2i.data.images.MAX_PIXELS", 100)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = draw(tmp_path / f"a.{suffix}", 0)
    with pytest.raises(DataError, match="480 pixels are more than the 100"):
        read_image(path, max_pixels=100)
    assert read_image(path, max_pixels=480).shape == (20, 24, 3)


def test_the_content_decides_the_format(tmp_path: Path) -> None:
    first = draw(tmp_path / "a.png", 0)
    first.rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(draw(tmp_path / "a.png", 0)))


def test_the_first_image_of_a_camera_file_is_read_without_a_word(tmp_path: Path) -> None:
    images = [Image.fromarray(read_image(draw(tmp_path / f"{number}.png", number))) for number in range(2)]
    images[0].save(tmp_path / "one.jpg", quality=95)
    images[0].save(tmp_path / "two.jpg", format="MPO", save_all=True, append_images=images[1:], quality=95)
    np.testing.assert_array_equal(read_image(tmp_path / "two.jpg"), read_image(tmp_path / "one.jpg"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_large_images_become_the_same_strip_by_strip(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (13, 7, 4), np.uint8))
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 65536, (13, 7), np.uint16))
    elif mode in ("LA", "RGBA"):
        image = image.convert(mode)
    else:
        image = image.convert("RGB").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.tiff"
    image.save(path, exif=exif)
    whole = [read_image(path, channels, (1, 2, 3)) for channels in (1, 3, 4)]
    monkeypatch.setattr("i2i.data.images.STRIP_PIXELS", 30)
    monkeypatch.setattr("i2i.data.images.LARGE_PIXELS", 50)
    for pixels, channels in zip(whole, (1, 3, 4), strict=True):
        assert pixels.shape == (7, 13, channels)
        np.testing.assert_array_equal(read_image(path, channels, (1, 2, 3)), pixels)


def test_an_image_that_would_grow_without_bounds_is_named(tmp_path: Path) -> None:
    Image.new("L", (1, 60_000)).save(tmp_path / "a.png")
    image = ImageFile(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: 1x60,000 pixels would become 64x3,840,000.*data\.fit=square"):
        Loading(1, 64, "shorter", (255, 255, 255)).read(image)
    assert Loading(1, 64, "square", (255, 255, 255)).read(image).shape == (64, 64, 1)


@pytest.mark.parametrize(("half", "decoded"), [("whole", (80, 60)), ("left", (320, 240))])
def test_a_large_jpeg_may_be_decoded_at_a_part_of_its_size(
    tmp_path: Path, half: Literal["whole", "left"], decoded: tuple[int, int]
) -> None:
    """Pillow reports the size at which it has decoded; of a strip, each half has to stay large enough."""
    photograph = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    smooth = Image.fromarray(photograph).resize((640, 480), Image.Resampling.BICUBIC)
    for name in ("a.jpg", "a.png"):
        smooth.save(tmp_path / name)
    size = 30 if half == "whole" else 60
    exact, draft = (Loading(3, size, "square", (255, 255, 255), drafts) for drafts in (False, True))
    image, other = (ImageFile(tmp_path / name, half) for name in ("a.jpg", "a.png"))
    assert image.read(3, (255, 255, 255), 2 * size).shape[:2] == (decoded[1], decoded[0] // (1 + (half == "left")))
    apart = np.abs(draft.read(image).astype(int) - exact.read(image))
    assert 0 < apart.mean() < 1
    np.testing.assert_array_equal(draft.read(image), draft.read(image))
    np.testing.assert_array_equal(draft.read(other), exact.read(other))
    small = Loading(3, 300, "square", (255, 255, 255), True)
    np.testing.assert_array_equal(small.read(image), Loading(3, 300, "square", (255, 255, 255)).read(image))
