"""Reading and writing single images. Every mode is brought to 8-bit grey, RGB or RGBA by a stated rule.

- EXIF orientation is applied
- palette, CMYK, YCbCr and bilevel images are converted to the wanted channels
- alpha is composited on a background, unless four channels are wanted
- 16-bit values are divided by 257; 32-bit integers and floats have no known range and are refused
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from i2i.errors import DataError
from i2i.storage.files import write_atomically

Pixels = NDArray[np.uint8]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
WHITE = (255, 255, 255)
ENCODING: dict[str, dict[str, Any]] = {".jpg": {"quality": 95}, ".jpeg": {"quality": 95}, ".webp": {"lossless": True}}


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
    found, seen = [], set()

    def note(error: OSError) -> None:
        line = f"{error.filename}: {error.strerror}"
        if isinstance(error, PermissionError) and error.filename == os.fspath(folder):
            raise DataError(line)
        if denied is not None and not isinstance(error, FileNotFoundError):
            denied.append(line)

    for root, folders, files in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        # Sorted, so that of two ways to one folder the same is taken on every file system.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in files if is_image(Path(name))]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def read_image(path: Path, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Pixels:
    """Decodes an image to (H, W, channels), uint8.

    Raises:
        DataError: the file is missing, truncated, not an image, or in a mode without a known range.
    """
    with opened(path) as file:
        return from_pil(file, channels, background)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image at ``path``, whose header has been read; whatever is wrong with it becomes an error that names it.

    Raises:
        DataError: the file is missing or not an image, or what the context reads of it is damaged.
    """
    try:
        with Image.open(path) as file:
            yield file
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: unreadable image ({reason})") from None


def from_pil(image: Image.Image, channels: int = 3, background: tuple[int, int, int] = WHITE) -> Pixels:
    """A PIL image as (H, W, channels), uint8, by the rules of this module.

    Raises:
        DataError: a mode without a known range.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise DataError(f"32-bit images (mode {image.mode}) have no known range; convert to 8 or 16 bit")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if channels != 4:
            image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    pixels = np.asarray(image.convert(MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


def to_pil(pixels: Pixels) -> Image.Image:
    """The inverse of ``from_pil``: (H, W, C) or (H, W), uint8, to a PIL image."""
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def write_image(path: Path, pixels: Pixels, *, flush: bool = True) -> None:
    """Writes (H, W, C), uint8, in the format of the suffix; folders are made, and the file appears whole.

    Raises:
        DataError: the file cannot be written.
    """
    write_atomically(path, encode_image(path, pixels), flush=flush)


def encode_image(path: Path, pixels: Pixels) -> bytes:
    """The content of the file ``path`` for (H, W, C), uint8.

    Raises:
        DataError: the format of its suffix cannot hold these pixels.
    """
    suffix, encoded = path.suffix.lower(), BytesIO()
    try:
        to_pil(pixels).save(encoded, Image.registered_extensions()[suffix], **ENCODING.get(suffix, {}))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot write {path}: {error}") from None
    return encoded.getvalue()
