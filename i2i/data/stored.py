"""The values of images as files store them: 16-bit and float images, TIFF files of many channels, and NPY arrays.

A file is looked at before its values are read: an array has as many bytes as its header says, and holds no objects.
Pillow reads grey images, OpenCV, which comes with albumentations, RGB of 16 bits, and tifffile other TIFF files, of
which only those without compression are read: their size bounds what they can become.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from i2i.bounds import open_regular
from i2i.errors import DataError
from i2i.kinds import NUMPY_TYPES, AnyPixels, Kind
from i2i.needs import installing

NPY, NPY_SUFFIX = b"\x93NUMPY", ".npy"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LARGEST_HEADER = 4096
"""Bytes of the header of an NPY file; NumPy writes 128."""
PLAIN_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>\|u1|[<>](?:u2|f4))', 'fortran_order': (?P<in_columns>True|False), "
    rb"'shape': \((?P<shape>\d+(?:, \d+)*),?\), \} *\n"
)
"""As NumPy writes it. Its reader parses Python, which fails now and then where two threads do so (CPython < 3.11.8)."""
MAX_CHANNELS = 1024
MAX_BYTES_OF_A_PIXEL = 4 * MAX_CHANNELS
KINDS: dict[str, Kind] = {"uint8": "uint8", "uint16": "uint16", "float32": "float32"}
COLOURS = ("RGB", "RGBA", "RGBX")
WANTED = "arrays (H, W) or (H, W, C) of uint8, uint16 or float32"
# Pillow complains about TIFF files that tifffile reads, and both of broken ones, on stderr.
for _name in ("PIL.TiffImagePlugin", "tifffile"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Held(NamedTuple):
    """What a file holds; ``channels`` None: an image that is brought to those that are asked for."""

    kind: Kind
    channels: int | None

    @property
    def fits_8_bits(self) -> bool:
        """Whether it can be brought to an 8-bit image."""
        return self.kind != "float32" and self.channels in (None, 1, 3, 4)

    def __str__(self) -> str:
        if self.channels is None:
            return "8-bit pixels"
        return f"{self.kind} values in {self.channels} channel{'s' if self.channels > 1 else ''}"


PLAIN = Held("8-bit", None)


def values_of(image: AnyPixels, kind: Kind, channels: int) -> AnyPixels:
    """An array (H, W, C) or (H, W) as an image (H, W, C) of this depth.

    Raises:
        DataError: it has another type or shape, or values that are no numbers.
    """
    values = image[..., None] if image.ndim == 2 else image
    if image.dtype != NUMPY_TYPES[kind] or values.ndim != 3 or not values.size or values.shape[2] != channels:
        held = Held("uint8" if kind == "8-bit" else kind, channels)
        raise DataError(f"{held} are needed, as an array (H, W, C), and not {image.dtype} {image.shape}")
    if not np.isfinite(values).all():
        raise DataError("the array holds values that are no numbers (NaN or infinity)")
    return values


@dataclass
class ArrayFile:
    """An array in an open file; ``values`` reads it as (H, W, C).

    ``by_rows``: whether it is a TIFF in which the values of a pixel lie side by side, as they are.
    """

    width: int
    height: int
    held: Held
    values: Callable[[], AnyPixels]
    by_rows: bool = False

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *error: object) -> None:
        """The file is closed by who opened it."""

    @property
    def mode(self) -> str:
        """What it holds, in a word."""
        return f"{self.held.kind} x {self.held.channels}"


def array_file(content: BufferedReader) -> ArrayFile | None:
    """The array in an NPY file, or None for another file.

    Raises:
        DataError: it holds something else than numbers of an image, or not as many as it says.
        ValueError: its header is damaged.
    """
    content.seek(0)
    if content.read(len(NPY)) != NPY:
        return None
    content.seek(0)
    version = npy.read_magic(content)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"NPY of version {version}, which holds records: save {WANTED}")
    length = int.from_bytes(content.read(2 if version == (1, 0) else 4), "little")
    if length > LARGEST_HEADER:
        raise DataError(f"its header has more than {LARGEST_HEADER:,} bytes")
    if plain := PLAIN_HEADER.fullmatch(content.read(length)):
        dtype, in_columns = np.dtype(plain["dtype"].decode()), plain["in_columns"] == b"True"
        shape = tuple(map(int, plain["shape"].split(b", ")))
    else:
        content.seek(len(NPY) + 2)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, in_columns, dtype = read(content, max_header_size=LARGEST_HEADER)
    if dtype.hasobject or dtype.names is not None:
        raise DataError(f"holds objects, which are not read: save {WANTED}")
    if dtype.newbyteorder("=").name not in KINDS or dtype.subdtype is not None:
        raise DataError(f"holds {dtype}: save {WANTED}")
    start, there = content.tell(), os.fstat(content.fileno()).st_size
    height, width, channels = _require_image(shape)
    if there - start != height * width * channels * dtype.itemsize:
        raise DataError(f"its header says {shape} of {dtype}, and it has {there - start:,} bytes of values")

    def values() -> AnyPixels:
        content.seek(start)
        flat = np.frombuffer(content.read(), dtype)
        array = flat.reshape(shape, order="F" if in_columns else "C").reshape(height, width, channels)
        return np.ascontiguousarray(array, dtype.newbyteorder("="))

    return ArrayFile(width, height, Held(KINDS[dtype.newbyteorder("=").name], channels), values)


def _require_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise DataError(f"holds an array of the shape {shape}: save {WANTED}")
    height, width, channels = shape if len(shape) == 3 else (*shape, 1)
    if channels > MAX_CHANNELS or (height <= 4 < channels):
        raise DataError(f"an array of the shape {shape} has {channels:,} channels: the axes are (H, W, C)")
    return height, width, channels


def tiff_file(content: BufferedReader) -> ArrayFile | None:
    """The first page of a TIFF file as an array, or None for another file.

    Raises:
        DataError: tifffile is not installed, or the page is none that is read.
    """
    content.seek(0)
    if content.read(4) not in TIFF:
        return None
    try:
        import tifffile
    except ImportError:
        raise DataError(f"a TIFF that Pillow does not read; with tifffile it may be: {installing('tiff')}") from None
    content.seek(0)
    page = tifffile.TiffFile(content, name="image.tiff").pages[0]
    dtype = page.dtype
    if not isinstance(page, tifffile.TiffPage) or dtype is None or dtype.name not in KINDS:
        raise DataError(f"a TIFF of {dtype}: save it as uint8, uint16 or float32")
    if page.axes not in ("YX", "YXS", "SYX"):
        raise DataError(f"a TIFF with the axes {page.axes}: Y, X and samples are read")
    shape = (*page.shape[1:], page.shape[0]) if page.axes == "SYX" else page.shape
    height, width, channels = _require_image(shape)
    if page.compression != 1:
        raise DataError(f"a compressed TIFF of {dtype} in {channels} channels: save it without compression")

    size, there = height * width * channels * dtype.itemsize, os.fstat(content.fileno()).st_size
    if size > there:
        raise DataError(f"its header says {size:,} bytes of values, and it has {there:,} bytes in all")

    def values() -> AnyPixels:
        array = page.asarray()
        array = np.moveaxis(array, 0, -1) if page.axes == "SYX" else array
        return np.ascontiguousarray(array.reshape(height, width, channels), dtype.newbyteorder("="))

    by_rows = page.axes != "SYX" and page.photometric in (1, 2) and page.fillorder == 1
    return ArrayFile(width, height, Held(KINDS[dtype.name], channels), values, by_rows)


def held_by(file: ImageFile | ArrayFile) -> Held:
    """What an opened image holds."""
    if isinstance(file, ArrayFile):
        return file.held
    if file.mode.startswith("I;16"):
        return Held("uint16", 1)
    if file.mode == "F":
        return Held("float32", 1)
    if file.mode in COLOURS and _has_16_bits(file):
        return Held("uint16", len(file.mode))
    return PLAIN


def _has_16_bits(file: ImageFile) -> bool:
    if isinstance(file, TiffImageFile):
        return set(file.tag_v2.get(258, ())) == {16}
    return any(str(part.args).startswith("RGB") and ";16" in str(part.args) for part in file.tile)


def decoded(file: ImageFile | ArrayFile, path: Path) -> AnyPixels:
    """The values of an opened image that is none of 8 bits: (H, W, C).

    Raises:
        DataError: it cannot be decoded, or holds NaN or infinity.
        OSError: it is cut.
    """
    if isinstance(file, ArrayFile):
        values = file.values()
    else:
        file.load()
        values = np.asarray(file) if file.mode not in COLOURS else _of_16_bits(path, file)
        values = turned(values.reshape(*values.shape[:2], -1), _orientation(file))
        values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    require_numbers(values)
    return values


def require_numbers(values: AnyPixels) -> None:
    """Raises DataError for NaN and infinity."""
    if values.dtype == np.float32 and not np.isfinite(values).all():
        raise DataError("holds values that are no numbers (NaN or infinity)")


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise DataError("16-bit colours need OpenCV (pip install opencv-python-headless), or take npy") from None
    return cv2


def _orientation(file: ImageFile) -> int:
    tags = file.tag_v2 if isinstance(file, TiffImageFile) else file.getexif()
    return int(tags.get(ExifTags.Base.Orientation, 1))


def _of_16_bits(path: Path, file: ImageFile) -> AnyPixels:
    """RGB or RGBA of 16 bits, of which Pillow keeps 8; it has found the file whole."""
    cv2 = _opencv()
    with open_regular(path) as content:
        values = cv2.imdecode(np.frombuffer(content.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.shape != (file.height, file.width, len(file.mode)):
        raise DataError(f"16-bit {file.mode} that cannot be decoded")
    order = [2, 1, 0, 3][: values.shape[2]]
    return np.asarray(values)[..., order]


def turned(values: AnyPixels, orientation: int) -> AnyPixels:
    """An image (H, W, C) turned upright from an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        values = values.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def can_hold(suffix: str, kind: Kind, channels: int | None) -> bool:
    """Whether files of this suffix hold these values; 8-bit images: whether they hold the channels."""
    if suffix == NPY_SUFFIX:
        return True
    if suffix in (".tif", ".tiff"):
        return True
    if suffix == ".png":
        return kind != "float32" and channels in (1, 3, 4)
    return kind in ("8-bit", "uint8") and channels in (1, 3)


def usual_suffix(kind: Kind, channels: int) -> Literal["png", "tiff", "npy"]:
    """The format that holds what a model writes: PNG for images, TIFF for one channel of floats, else NPY."""
    if kind in ("8-bit", "uint16") and can_hold(".png", kind, channels):
        return "png"
    return "tiff" if kind == "float32" and channels == 1 else "npy"


def encoded(suffix: str, values: AnyPixels, options: Mapping[str, Any]) -> bytes:
    """The content of a file for (H, W, C) of any depth that ``can_hold`` allows; ``options`` go to Pillow.

    Raises:
        DataError: tifffile is not installed, and nothing else writes these.
    """
    content, channels = io.BytesIO(), values.shape[2]
    flat = values[..., 0] if channels == 1 else values
    if suffix == NPY_SUFFIX:
        np.save(content, flat, allow_pickle=False)
        return content.getvalue()
    if channels == 1:
        Image.fromarray(flat).save(content, "PNG" if suffix == ".png" else "TIFF", **options)
        return content.getvalue()
    if suffix == ".png":
        cv2 = _opencv()
        done, written = cv2.imencode(".png", np.ascontiguousarray(values[..., [2, 1, 0, 3][:channels]]))
        if not done:
            raise DataError(f"cannot encode {values.dtype} in {channels} channels as PNG")
        return bytes(written.tobytes())
    try:
        import tifffile
    except ImportError:
        raise DataError(f"TIFF of several channels needs tifffile: {installing('tiff')}, or take npy") from None
    photometric = "rgb" if channels in (3, 4) and values.dtype != np.float32 else "minisblack"
    tifffile.imwrite(content, values, photometric=photometric, planarconfig="contig", metadata=None)
    return content.getvalue()
