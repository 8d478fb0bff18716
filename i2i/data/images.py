"""Reading and writing single images. ``read_image`` brings every mode to 8-bit grey, RGB or RGBA by a stated rule.

- EXIF orientation is applied
- palette, CMYK, YCbCr and bilevel images are converted to the wanted channels
- alpha is composited on a background, unless four channels are wanted
- 16-bit values are divided by 257; 32-bit integers and floats have no known range and are refused

``read_values`` reads what a file stores instead, also floats and arrays of many channels (``stored.py``).
What a file holds decides how it is decoded, by the formats of ``FORMATS`` and no others: nothing that Pillow could do
besides, such as calling Ghostscript, is reached. Its header is looked at before a pixel is decoded.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from i2i.bounds import MAX_PIXELS, open_regular
from i2i.data.stored import (
    KINDS,
    NPY_SUFFIX,
    ArrayFile,
    Held,
    array_file,
    can_hold,
    decoded,
    encoded,
    held_by,
    tiff_file,
)
from i2i.errors import DataError
from i2i.kinds import AnyPixels, Kind
from i2i.storage.files import write_atomically

Pixels = NDArray[np.uint8]
FORMATS: dict[str, type[ImageFile]] = {
    ".jpg": JpegImageFile,
    ".jpeg": JpegImageFile,
    ".png": PngImageFile,
    ".webp": WebPImageFile,
    ".bmp": BmpImageFile,
    ".tif": TiffImageFile,
    ".tiff": TiffImageFile,
}
"""The formats that Pillow reads and writes, by suffix; a file may have the suffix of another one of them."""
SUFFIXES = frozenset((*FORMATS, NPY_SUFFIX))
NAMES = "jpg, png, webp, bmp, tiff, npy"
READERS = tuple(dict.fromkeys(FORMATS.values()))
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
WHITE = (255, 255, 255)
ENCODING: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 95},
    ".jpeg": {"quality": 95},
    ".webp": {"lossless": True},
    ".png": {"compress_level": 3},  # of photographs files as small as at level 6, in 0.4 of the time
}
EMPTY: Mapping[str, Any] = {}
BYTES_OF_A_PIXEL = 8
"""Those of 16-bit RGBA, the most that a pixel takes in a file."""
STRIP_PIXELS = 1 << 20
"""Larger images are converted strip by strip, so that there are never two copies of one."""
LARGE_PIXELS = 1 << 24
"""Of images with more pixels one is decoded at a time, so that memory does not grow with the threads."""
MAX_SCANS = 500
"""Of a progressive JPEG; programs write about ten."""


class TooManyPixels(DataError):
    """An image has more pixels than are read."""


class TooLittleMemory(DataError):
    """An image does not fit into memory."""


def is_image(path: Path) -> bool:
    """Whether the name says that this is an image; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path, denied: list[str] | None = None) -> list[Path]:
    """All images below ``folder``, sorted by relative path; links are followed, hidden folders left out.

    Args:
        folder: where to look; one that is not there has none.
        denied: takes a line for each folder below that cannot be entered.

    Raises:
        DataError: ``folder`` itself cannot be entered.
    """
    found, seen, waiting = [], set[tuple[int, int]](), [os.fspath(folder)]
    while waiting:  # not by recursion, which folders can be too deep for
        root = waiting.pop()
        try:
            status = os.stat(root)
            if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(root) as inside:
                # Sorted, so that of two ways to one folder the same is taken on every file system.
                entries = sorted(inside, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            line = f"{root}: {error.strerror}"
            if isinstance(error, PermissionError) and root == os.fspath(folder):
                raise DataError(line) from None
            if denied is not None and not isinstance(error, FileNotFoundError):
                denied.append(line)
            continue
        for entry in entries:
            if _is_folder(entry):
                waiting += [] if entry.name.startswith(".") else [entry.path]
            elif is_image(Path(entry.name)):
                found.append(Path(entry.path))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to what cannot be looked at
        return False


def read_image(
    path: Path,
    channels: int = 3,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = MAX_PIXELS,
    least: int | None = None,
) -> Pixels:
    """Decodes an image to (H, W, channels), uint8.

    ``least``: a JPEG may be decoded at a half, a quarter or an eighth of its size, if no side gets shorter than that.

    Raises:
        DataError: the file is missing, truncated, not an image, in a mode without a known range, or too large.
    """
    with opened(path, max_pixels) as file:
        return image_in(file, channels, background, least)


def image_in(
    file: ImageFile | ArrayFile,
    channels: int = 3,
    background: tuple[int, int, int] = WHITE,
    least: int | None = None,
) -> Pixels:
    """What ``read_image`` gives, of a file that is ``opened``; errors become those that it names in that context."""
    with _turn(file):
        if isinstance(file, ArrayFile):
            return from_pil(to_pil(_as_8_bit(file)), channels, background)
        _require_few_scans(file)
        if least is not None:
            file.draft(None, (least, least))
        return from_pil(file, channels, background)


def alpha_in(file: ImageFile | ArrayFile) -> Pixels | None:
    """The alpha of an ``opened`` image, (H, W) as ``image_in`` turns it; None where the image has no transparency."""
    with _turn(file):
        return alpha_of(to_pil(_as_8_bit(file)) if isinstance(file, ArrayFile) else file)


def alpha_of(image: Image.Image) -> Pixels | None:
    """The alpha of a PIL image, (H, W) as ``from_pil`` turns it; None where it has no transparency."""
    return from_pil(image, 4)[..., 3].copy() if image.has_transparency_data else None


def read_values(path: Path, kind: Kind, channels: int, max_pixels: int = MAX_PIXELS) -> AnyPixels:
    """The values of an image as its file stores them: (H, W, channels), uint8, uint16 or float32.

    Raises:
        DataError: as ``read_image``, or the file holds others, or NaN or infinity.
    """
    with opened(path, max_pixels) as file:
        return values_in(file, path, kind, channels)


def values_in(file: ImageFile | ArrayFile, path: Path, kind: Kind, channels: int) -> AnyPixels:
    """What ``read_values`` gives, of a file that is ``opened`` at ``path``; errors as in ``image_in``."""
    with _turn(file):
        held = held_by(file)
        if held == (kind, channels):
            return decoded(file, path)
        if held.kind == "8-bit" and kind == "uint8" and not isinstance(file, ArrayFile):
            if file.mode == MODES.get(channels):
                _require_few_scans(file)
                return from_pil(file, channels)
            if isinstance(file, TiffImageFile) and file.tag_v2.get(ExifTags.Base.SamplesPerPixel) == channels:
                return _all_samples(path)
            held = Held("8-bit", len(file.getbands()))
        raise DataError(f"holds {held}, and {Held(kind, channels)} are needed")


def _all_samples(path: Path) -> AnyPixels:
    """The values of a TIFF of which Pillow leaves some out: it takes grey and one sample more for grey."""
    with open_regular(path) as content:
        array = tiff_file(content)
        assert array is not None
        return array.values()


def _as_8_bit(file: ArrayFile) -> Pixels:
    if not file.held.fits_8_bits:
        raise DataError(f"holds {file.held}: 8-bit images of 1, 3 or 4 channels are needed")
    values = file.values()
    return (values // 257).astype(np.uint8) if values.dtype == np.uint16 else values


def is_large(file: ImageFile | ArrayFile) -> bool:
    """Whether an opened image has so many pixels that few of them should be in memory."""
    return file.width * file.height > LARGE_PIXELS


@contextmanager
def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[ImageFile | ArrayFile]:
    """The image or array at ``path``, whose header has been read; what is wrong with it becomes an error that names it.

    Raises:
        DataError: the file is missing, not a regular one, not an image, or has more than ``max_pixels``, or what the
            context reads of it is damaged.
    """
    with opened_with_content(path, max_pixels) as (file, _):
        yield file


@contextmanager
def opened_with_content(
    path: Path, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[ImageFile | ArrayFile, BufferedReader]]:
    """What ``opened`` gives, and the open file that it lies in: its pixels are read by seeking there."""
    _allow(max_pixels)
    try:
        with open_regular(path) as content, _identified(content, path, max_pixels) as file:
            if file.width * file.height > max_pixels:
                size = f"{file.width:,}x{file.height:,} = {file.width * file.height:,} pixels"
                raise TooManyPixels(f"{size} are more than the {max_pixels:,} that are read: --max-pixels allows more")
            yield file, content
    except DataError as error:
        raise type(error)(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except MemoryError:
        raise TooLittleMemory(f"{path}: not enough memory to decode it") from None
    except Image.DecompressionBombError as error:  # WebP asks before there is a size to look at
        size = "".join(f"{int(number):,} pixels" for number in re.findall(r"\((\d+) pixels\)", str(error)))
        raise TooManyPixels(
            f"{path}: {size} are more than the {max_pixels:,} that are read: --max-pixels allows more"
        ) from None
    except Exception as error:  # decoders raise nearly every kind on damaged files
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: {error.strerror}") from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: unreadable image ({reason})") from None


def _identified(content: BufferedReader, path: Path, max_pixels: int) -> ImageFile | ArrayFile:
    """The image in a file, by its content; the format of its suffix is tried first.

    Not by Image.open, which judges an image by the limit of the whole process, and warns from there on.
    """
    size = os.fstat(content.fileno()).st_size
    if size > BYTES_OF_A_PIXEL * max_pixels + 2**26:
        raise TooManyPixels(f"{size:,} bytes are more than {max_pixels:,} pixels take: --max-pixels allows more")
    if (array := array_file(content)) is not None:
        return array
    expected = FORMATS.get(path.suffix.lower())
    for reader in sorted(READERS, key=lambda reader: reader is not expected):
        content.seek(0)
        try:
            return reader(content)
        except SyntaxError:
            continue
    if (array := tiff_file(content)) is not None:
        return array
    raise DataError(f"not an image that can be read ({', '.join(str(reader.format) for reader in READERS)}, NPY)")


def _require_few_scans(image: ImageFile) -> None:
    """Each scan of a progressive JPEG costs a walk over the whole image, and a few bytes of the file can be one."""
    if "progressive" not in image.info or image.fp is None:
        return
    place, scans = image.fp.tell(), 0
    image.fp.seek(0)
    while block := image.fp.read(2**20):
        scans += block.count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise DataError(f"more than {MAX_SCANS} scans, as no program writes them")
    image.fp.seek(place)


def _allow(max_pixels: int) -> None:
    """Where more is asked for than is usual, Pillow has to allow it too; its limit is one for the whole process."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > max(MAX_PIXELS, Image.MAX_IMAGE_PIXELS):
        Image.MAX_IMAGE_PIXELS = max_pixels


_turns = threading.Lock()


def _renew_turns() -> None:
    global _turns
    _turns = threading.Lock()


if hasattr(os, "register_at_fork"):  # the lock of a thread that a forked process does not have
    os.register_at_fork(after_in_child=_renew_turns)


def _turn(file: ImageFile | ArrayFile) -> AbstractContextManager[Any]:
    return _turns if is_large(file) else nullcontext()


def from_pil(image: Image.Image, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Pixels:
    """A PIL image as (H, W, channels), uint8, by the rules of this module.

    Raises:
        DataError: a mode without a known range.
    """
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise DataError(f"32-bit images (mode {image.mode}) have no known range; convert to 8 or 16 bit")
    width, height = image.size
    rows = max(1, STRIP_PIXELS // max(1, width))
    if rows >= height:
        return converted(image, channels, background)
    pixels = np.empty((height, width, channels), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = converted(image.crop((0, top, width, bottom)), channels, background)
    return pixels


def converted(image: Image.Image, channels: int, background: tuple[int, int, int]) -> Pixels:
    """Decoded rows of an upright image, as ``from_pil``."""
    key = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        image = Image.fromarray((values // 257).astype(np.uint8))
        if isinstance(key, int):  # the one grey value that is transparent
            image.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    elif image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:  # of 16 bits; pixels have the upper 8
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if channels != 4:
            image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    if image.mode != MODES[channels]:
        image = image.convert(MODES[channels])
    pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], channels)


def to_pil(pixels: Pixels) -> Image.Image:
    """The inverse of ``from_pil``: (H, W, C) or (H, W), uint8, to a PIL image."""
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def write_image(
    path: Path,
    pixels: AnyPixels,
    alpha: Pixels | None = None,
    *,
    options: Mapping[str, Any] = EMPTY,
    flush: bool = True,
) -> None:
    """Writes (H, W, C) in the format of the suffix; folders are made, and the file appears whole.

    ``alpha`` and ``options``: as of ``encode_image``.

    Raises:
        DataError: the file cannot be written.
    """
    write_atomically(path, encode_image(path, pixels, options, alpha), flush=flush)


def encode_image(
    path: Path, pixels: AnyPixels, options: Mapping[str, Any] = EMPTY, alpha: Pixels | None = None
) -> bytes:
    """The content of the file ``path`` for (H, W, C), uint8, uint16 or float32.

    ``options``: what Pillow takes besides, such as a colour profile; files that others write go without. ``alpha``:
    (H, W), for grey or RGB pixels of 8 bits.

    Raises:
        DataError: the format of its suffix cannot hold these pixels.
    """
    suffix, content = path.suffix.lower(), BytesIO()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: cannot write {suffix or 'a name without a suffix'}; supported: {', '.join(sorted(SUFFIXES))}"
        )
    try:
        if suffix == NPY_SUFFIX or pixels.dtype != np.uint8 or pixels.shape[-1] not in MODES:
            values = pixels if alpha is None else np.dstack((pixels, alpha))
            return _encoded_values(suffix, values, options)
        image = to_pil(pixels)
        if alpha is not None:
            image.putalpha(to_pil(alpha))
            options = {**options, "exact": True}  # or WebP drops the colours of transparent pixels
        image.save(content, FORMATS[suffix].format, **ENCODING.get(suffix, {}), **options)
    except (OSError, ValueError, DataError) as error:
        raise DataError(f"cannot write {path}: {error}") from None
    return content.getvalue()


def _encoded_values(suffix: str, values: AnyPixels, options: Mapping[str, Any]) -> bytes:
    held = Held(KINDS[values.dtype.name], values.shape[2])
    if not can_hold(suffix, *held):
        raise DataError(f"{suffix[1:]} cannot hold {held}")
    return encoded(suffix, values, options)
