"""The IDX files of MNIST (LeCun et al. 1998): a header with the shape, then the bytes; gzipped or not.

What the header promises bounds what is read: a small gzip file could otherwise become any amount of memory.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from i2i.bounds import MAX_ARRAY_BYTES, open_regular
from i2i.data.images import Pixels
from i2i.errors import DataError

DIMENSIONS = 3
"""Images have three, labels one."""
BYTES_OF_AN_IMAGE = 1024
"""About what an image takes beside its pixels, once it has a name."""
DEFLATE_RATIO = 1032
"""Gzip makes at most so many bytes of one."""


def read_idx(path: Path) -> Pixels:
    """The array of an IDX file of bytes, gzipped or not.

    Raises:
        DataError: not such a file, cut short, longer than its header says, or too large.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if path.suffix != ".gz":
                return _array(file, size)
            with gzip.open(file) as content:
                return _array(content, size * DEFLATE_RATIO)
    except OSError as error:
        raise DataError(f"{path} is not a whole IDX file ({error.strerror or error})") from None
    except (EOFError, struct.error, zlib.error, ValueError) as error:
        raise DataError(f"{path} is not a whole IDX file ({error})") from None
    except MemoryError:
        raise DataError(f"{path}: not enough memory to read it") from None


def _array(content: BufferedIOBase, most: int) -> Pixels:
    """The array; ``most``: bytes that the content can have."""
    zero, kind, dimensions = struct.unpack(">HBB", content.read(4))
    if (zero, kind) != (0, 8):
        raise ValueError("its head is not that of bytes")
    if not 1 <= dimensions <= DIMENSIONS:
        raise ValueError(f"it has {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content.read(4 * dimensions))
    length = math.prod(shape)
    if length + shape[0] * BYTES_OF_AN_IMAGE > MAX_ARRAY_BYTES:
        raise ValueError(f"its head promises {' x '.join(f'{side:,}' for side in shape)} bytes, and that is too large")
    if not length:
        raise ValueError("its head says that it is empty")
    if length > most:
        raise ValueError(f"its head promises {length:,} bytes, more than it can hold")
    pixels = np.empty(length, np.uint8)
    if content.readinto(pixels.data) < length or content.read(1):
        raise ValueError(f"it does not have the {length:,} bytes that its head promises")
    return pixels.reshape(shape)
