"""Reads and writes PNG and TIFF by bands of rows, by libvips (pyvips): memory does not grow with the image.

Between the two it is on the disk. Values are converted band by band, by the rules of ``images.py`` and ``stored.py``,
and what a file says beside its pixels is read and written by Pillow, of an image of a single pixel. Files whose pixels
would not be the same are left to be read whole: with palettes, other colours than grey and RGB, transparency without
an alpha channel, interlaced, turned, or compressed with losses.

libvips is given only what has been found to be PNG or TIFF, and its reader of that is called by name.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from io import BufferedIOBase, BufferedReader, BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile, putchunk
from PIL.TiffImagePlugin import TiffImageFile

from i2i.config.schema import Depth
from i2i.data.images import ENCODING, MODES, converted, to_pil
from i2i.data.on_disk import DiskImage, one_pixel, tiff_header
from i2i.data.ranges import beyond, clipped_share
from i2i.data.stored import ArrayFile, require_numbers
from i2i.errors import DataError
from i2i.kinds import NUMPY_TYPES, AnyPixels
from i2i.storage.scratch import scratch_folder

SUFFIXES = (".png", ".tif", ".tiff")
"""Of files that are written by bands."""
RAW_MODES = re.compile(r"(L|LA|RGB|RGBA)|(I|RGB|RGBA);16[BLN]?|(F);32[BN]?F")
"""Pillow's names of what a file holds where an array would hold the same: of one of the ``TYPES`` each."""
TYPES = (np.uint8, np.uint16, np.float32)
CHANNELS = {"L": 1, "I": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4}
LOSSLESS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
PHOTOMETRIC, PLANES = 262, 284
"""Tags of TIFF."""
VIPS_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}
PIXELS = (b"IHDR", b"IDAT", b"IEND")
"""The chunks of a PNG that are not beside its pixels."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Layout(NamedTuple):
    """The values of a file."""

    channels: int
    dtype: type[np.generic]


@cache
def libvips() -> Any:
    """pyvips, or None where it is not installed, or tifffile, which images on the disk need."""
    try:
        import pyvips
        import tifffile  # noqa: F401
    except (ImportError, OSError):  # also where the library itself is missing
        return None
    pyvips.block_untrusted_set(True)
    pyvips.concurrency_set(1)  # rows come one after another
    pyvips.cache_set_max(0)
    return pyvips


def can_stream(file: ImageFile | ArrayFile, depth: Depth, channels: int) -> bool:
    """Whether an opened file may be read by bands, by what its header says."""
    layout = _layout(file)
    if layout is None or libvips() is None:
        return False
    if depth.is_plain:
        return layout.dtype != np.float32 and (layout.channels in MODES or isinstance(file, ImageFile))
    return layout == (channels, NUMPY_TYPES[depth.kind]) and (channels != 2 or isinstance(file, ArrayFile))


def _layout(file: ImageFile | ArrayFile) -> Layout | None:
    """What the file holds, or None if an array of the same values would not be the image."""
    if isinstance(file, ArrayFile):
        return Layout(file.held.channels or 0, NUMPY_TYPES[file.held.kind]) if file.by_rows else None
    if isinstance(file, PngImageFile):
        as_it_is = not file.info.get("interlace") and "transparency" not in file.info and file.n_frames == 1
    elif isinstance(file, TiffImageFile):
        tags = file.tag_v2
        as_it_is = tags.get(PHOTOMETRIC) in (1, 2) and tags.get(PLANES, 1) == 1 and file.info["compression"] in LOSSLESS
    else:
        return None
    args: Any = file.tile[0].args if file.tile else ""
    found = RAW_MODES.fullmatch(args if isinstance(args, str) else args[0])
    if not as_it_is or found is None or found.lastindex is None:
        return None
    return Layout(CHANNELS[found[found.lastindex]], TYPES[found.lastindex - 1])


class Streamed:
    """An image in an open file, to be decoded once, band by band.

    Attributes:
        about: the file for all that it says beside its pixels; decoding that takes no memory.
    """

    def __init__(self, file: ImageFile | ArrayFile, about: ImageFile | ArrayFile, decoder: Any) -> None:
        self.about, self._file, self._decoder = about, file, decoder

    def image(
        self, channels: int, background: tuple[int, int, int], *, with_alpha: bool
    ) -> tuple[DiskImage, DiskImage | None]:
        """What ``image_in`` gives, and, where wanted, ``alpha_in``."""
        image = self._empty(channels, np.uint8)
        alpha = self._empty(1, np.uint8) if with_alpha and self._decoder.bands in (2, 4) else None
        for rows, values in self._bands(image):
            band = self._shown(values)
            image[rows, :] = converted(band, channels, background)
            if alpha is not None:
                alpha[rows, :] = converted(band, 4, background)[..., 3:]
        return image, alpha

    def values(self, depth: Depth) -> tuple[DiskImage, str]:
        """What ``values_in`` gives, and what ``clipped`` says of them."""
        image, outside = self._empty(self._decoder.bands, NUMPY_TYPES[depth.kind]), 0
        for rows, values in self._bands(image):
            require_numbers(values)
            outside += beyond(values, depth)
            image[rows, :] = values
        return image, clipped_share(outside / math.prod(image.shape), depth)

    def _empty(self, channels: int, dtype: type[np.generic]) -> DiskImage:
        return DiskImage(self._decoder.height, self._decoder.width, channels, dtype)

    def _bands(self, like: DiskImage) -> Iterator[tuple[slice, AnyPixels]]:
        vips, width = libvips(), self._decoder.width
        region = vips.Region.new(self._decoder)
        for rows in like.bands():
            try:
                content = region.fetch(0, rows.start, width, rows.stop - rows.start)
            except vips.Error as error:
                raise DataError(f"unreadable image ({_reason(error)})") from None
            values = np.frombuffer(content, VIPS_TYPES[self._decoder.format])
            yield rows, values.reshape(-1, width, self._decoder.bands)

    def _shown(self, values: AnyPixels) -> Image.Image:
        """Rows as what Pillow reads."""
        if values.dtype == np.uint16 and isinstance(self._file, ArrayFile):
            values = (values // 257).astype(np.uint8)
        elif values.dtype == np.uint16 and values.shape[2] > 1:  # of which Pillow keeps the upper bits
            values = (values >> 8).astype(np.uint8)
        return to_pil(values)


def streamed(file: ImageFile | ArrayFile, content: BufferedReader) -> Streamed | None:
    """An opened image for which ``can_stream``, or None if it can only be read whole."""
    about = _without_pixels(content) if isinstance(file, PngImageFile) else file
    if isinstance(about, ImageFile) and about.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return None
    vips, place = libvips(), os.lseek(content.fileno(), 0, os.SEEK_CUR)
    try:
        decoder = _opened("pngload_source" if isinstance(file, PngImageFile) else "tiffload_source", content.fileno())
    except vips.Error:
        return None
    finally:
        os.lseek(content.fileno(), place, os.SEEK_SET)
    found = (decoder.width, decoder.height, decoder.bands, VIPS_TYPES.get(decoder.format))
    return Streamed(file, about, decoder) if found == (file.width, file.height, *(_layout(file) or ())) else None


def _opened(loader: str, descriptor: int) -> Any:
    vips = libvips()
    os.lseek(descriptor, 0, os.SEEK_SET)
    source = vips.Source.new_from_descriptor(descriptor)
    return getattr(vips.Image, loader)(source, access="sequential", fail_on="error")


def _reason(error: Exception) -> str:
    said = getattr(error, "detail", None) or getattr(error, "strerror", None) or error
    return " ".join(str(said).split())[:200]


def _without_pixels(content: BufferedReader) -> PngImageFile:
    """A PNG of a single pixel that says all else as the one in ``content``: Pillow would decode that first."""
    made, pixel = BytesIO(), zlib.compress(bytes(9))  # a filter and at most four values of 16 bits
    made.write(SIGNATURE)
    for kind, chunk in _chunks(content, pixels=False):
        if kind == b"IHDR":
            putchunk(made, kind, (1).to_bytes(4), (1).to_bytes(4), chunk[16:-4])
        elif kind != b"IDAT":
            made.write(chunk)
        elif pixel:
            putchunk(made, kind, pixel)
            pixel = b""
    made.seek(0)
    return PngImageFile(made)


def _chunks(content: BufferedIOBase, *, pixels: bool = True) -> Iterator[tuple[bytes, bytes]]:
    """The kind of each chunk of a PNG, and all of it; of those with pixels nothing, where they are not wanted."""
    content.seek(len(SIGNATURE))
    while len(head := content.read(8)) == 8:
        size, kind = int.from_bytes(head[:4]) + 4, head[4:]
        if kind == b"IDAT" and not pixels:
            content.seek(size, os.SEEK_CUR)
            yield kind, b""
        else:
            yield kind, head + content.read(size)


def encoded(target: Path, image: DiskImage, options: Mapping[str, Any], alpha: DiskImage | None) -> BufferedIOBase:
    """An open file of what ``encode_image`` gives for one of the ``SUFFIXES``, up to how it is compressed.

    Raises:
        DataError: the format cannot hold these pixels, or the disk has no room for the file.
    """
    sample = one_pixel(target, image, options, alpha)
    file = tempfile.TemporaryFile(dir=scratch_folder())  # noqa: SIM115
    try:
        if target.suffix.lower() == ".png":
            _write_png(file, sample, image, alpha)
        else:
            _write_tiff(file, sample, image, alpha, options.get("exif", b""))
        file.flush()
    except (OSError, libvips().Error) as error:
        with suppress(OSError):  # what is still to be written to a full disk
            file.close()
        reason = f"{_reason(error)}, in {scratch_folder()}: make room, or name another folder by TMPDIR"
        raise DataError(f"cannot write {target}: {reason}") from None
    return file


def _write_tiff(file: BufferedIOBase, sample: bytes, image: DiskImage, alpha: DiskImage | None, exif: bytes) -> None:
    file.write(tiff_header(image, sample, exif, more=alpha is not None))
    for rows in image.bands():
        values = image[rows, :]
        file.write((values if alpha is None else np.dstack((values, alpha[rows, :]))).data)


def _write_png(file: BufferedIOBase, sample: bytes, image: DiskImage, alpha: DiskImage | None) -> None:
    """A PNG that says beside its pixels what ``sample`` does."""
    found = _opened("tiffload_source", image.fileno())
    if alpha is not None:
        found = found.bandjoin(_opened("tiffload_source", alpha.fileno()))
    with tempfile.TemporaryFile(dir=scratch_folder()) as pixels:
        target = libvips().Target.new_to_descriptor(pixels.fileno())
        found.pngsave_target(target, compression=ENCODING[".png"]["compress_level"], filter="all", keep="none")
        file.write(SIGNATURE)
        for kind, chunk in _chunks(pixels):
            if kind in PIXELS:
                file.write(chunk)
            if kind == b"IHDR":
                file.writelines(said for other, said in _chunks(BytesIO(sample)) if other not in PIXELS)
