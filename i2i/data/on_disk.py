"""An image on the disk instead of in memory, as a TIFF without compression, of which windows are read and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from i2i.data.images import EMPTY, encode_image
from i2i.kinds import AnyPixels
from i2i.storage.scratch import ScratchRows

BAND_PIXELS = 1 << 18
WIDTH, HEIGHT, OFFSET, ROWS, BYTES = 256, 257, 273, 278, 279
"""Tags of TIFF: the size of an image, and of the strip that holds all of it."""
BIG = b"II+\0\x08\0\0\0" + bytes(8)
"""What a TIFF of more than 4 GiB begins with."""
SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


class DiskImage:
    """An image (H, W, C) in a file without a name, which is gone when the image is no longer used.

    Windows of it are read and written as of an array: ``image[top:bottom, left:right]``.

    Attributes:
        shape: height, width and channels.
        dtype: of its values.

    Raises:
        DataError: the disk has no room for it, or tifffile is not installed, which writes many channels.
    """

    def __init__(self, height: int, width: int, channels: int, dtype: type[np.generic]) -> None:
        self.shape, self.dtype = (height, width, channels), np.dtype(dtype)
        header = tiff_header(self, one_pixel(Path("image.tiff"), self))
        self._rows = ScratchRows(height, width, channels * self.dtype.itemsize, "an image", header)

    def __getitem__(self, window: tuple[slice, slice]) -> AnyPixels:
        return self._rows.read(*self._edges(window)).view(self.dtype)

    def __setitem__(self, window: tuple[slice, slice], values: AnyPixels) -> None:
        top, _, left, _ = self._edges(window)
        self._rows.write(top, left, np.ascontiguousarray(values, self.dtype).view(np.uint8))

    def _edges(self, window: tuple[slice, slice]) -> tuple[int, int, int, int]:
        (top, bottom, _), (left, right, _) = (part.indices(self.shape[axis]) for axis, part in enumerate(window))
        return top, bottom, left, right

    def fileno(self) -> int:
        """The descriptor of its file, which is a whole TIFF once all of it is written."""
        return self._rows.fileno()

    def bands(self) -> Iterator[slice]:
        """The rows of one band after another."""
        height, width, _ = self.shape
        rows = max(1, BAND_PIXELS // width)
        return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def one_pixel(
    path: Path, image: DiskImage, options: Mapping[str, Any] = EMPTY, alpha: DiskImage | None = None
) -> bytes:
    """What ``encode_image`` makes of a single pixel of such an image: all that is beside the pixels is the same."""
    pixel = np.zeros((1, 1, image.shape[2]), image.dtype)
    return encode_image(path, pixel, options, None if alpha is None else pixel[..., 0])


def tiff_header(image: DiskImage, sample: bytes, exif: bytes = b"", more: int = 0) -> bytes:
    """What stands in a TIFF before the pixels of ``image``.

    Args:
        image: is said to be without compression.
        sample: a TIFF of one such pixel, which says the rest.
        exif: what the sample was written with.
        more: channels of ``sample`` beside those of the image.
    """
    height, width, channels = image.shape
    size = height * width * (channels + more) * image.dtype.itemsize
    given = ImageFileDirectory_v2(sample[:8])
    content = BytesIO(sample)
    content.seek(given.next)
    given.load(content)
    made = ImageFileDirectory_v2(BIG if size + len(sample) >= 2**32 else sample[:8])
    for tag in given:
        made.tagtype[tag] = given.tagtype[tag]
        made[tag] = given[tag]
    inside = Image.Exif()
    inside.load(exif)
    for tag in SUB_DIRECTORIES:
        if tag in given:  # whose place is not the same any more
            made[tag] = inside.get_ifd(tag)
    for tag, value in ((WIDTH, width), (HEIGHT, height), (ROWS, height), (BYTES, size), (OFFSET, 0)):
        made.tagtype.pop(tag, None)  # of a small number
        made[tag] = value  # the offset is counted from the end of the header
    header = BytesIO()
    made.save(header)
    return header.getvalue()
