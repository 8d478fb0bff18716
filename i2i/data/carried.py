"""What a translation takes over from its input besides the pixels: colour profile, EXIF and resolution; alpha if asked.

EXIF without its orientation, which has been applied, and without tags that describe the file and not the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from i2i.data.stored import ArrayFile
from i2i.errors import ConfigError

LARGEST_EXIF, LARGEST_PROFILE = 2**16 - 64, 2**22
"""Bytes: what one segment of a JPEG holds, and more than any profile of use."""
LARGEST_DPI = 1e5
TAGS = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software),
    *(ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright),
)
WITHOUT_ALPHA = (".jpg", ".jpeg", ".bmp")
SPACES = {b"GRAY": (1,), b"RGB ": (3, 4)}
"""The channels of images that a profile of this colour space fits."""


@dataclass(frozen=True)
class Carried:
    """``icc_profile`` and ``exif`` as files hold them, and the dots per inch across and down."""

    icc_profile: bytes = b""
    exif: bytes = b""
    dpi: tuple[float, float] | None = None

    def options(self, suffix: str, channels: int) -> dict[str, Any]:
        """What Pillow's ``save`` takes for a file of this suffix and these channels."""
        found: dict[str, Any] = {}
        if channels in SPACES.get(self.icc_profile[16:20], ()) and suffix != ".bmp":
            found["icc_profile"] = self.icc_profile
        if self.exif and suffix != ".bmp":
            found["exif"] = self.exif
        if self.dpi and suffix != ".webp":
            found["dpi"] = self.dpi
        return found


NOTHING = Carried()


def carried_by(file: ImageFile | ArrayFile) -> Carried:
    """What an opened file says beside its pixels; what is damaged or too large in it is left out.

    To be called when they are decoded: a PNG may have more to say behind them.
    """
    if isinstance(file, ArrayFile):
        return NOTHING
    profile = file.info.get("icc_profile") or b""
    fits = isinstance(profile, bytes) and len(profile) <= LARGEST_PROFILE
    return Carried(profile if fits else b"", _exif(file), _dpi(file))


def _exif(file: Image.Image) -> bytes:
    try:
        found, kept = file.getexif(), Image.Exif()
        kept.update({tag: found[tag] for tag in TAGS if tag in found})
        for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if inside := found.get_ifd(part):
                kept.get_ifd(part).update(inside)
        written = kept.tobytes() if len(kept) or any(kept.get_ifd(part) for part in ExifTags.IFD) else b""
    except Exception:  # Pillow raises nearly every kind on damaged tags
        return b""
    return written if len(written) <= LARGEST_EXIF else b""


def _dpi(file: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in file.info["dpi"])
    except Exception:  # as of damaged tags
        return None
    return (across, down) if all(math.isfinite(each) and 1 < each < LARGEST_DPI for each in (across, down)) else None


def require_alpha(targets: Iterable[Path], channels: int, *, plain: bool) -> None:
    """Raises ConfigError where outputs cannot take over the alpha of their inputs.

    Args:
        targets: the files of the outputs.
        channels: of what the model writes.
        plain: whether inputs and outputs are images of 8 bits.
    """
    if channels == 4:
        raise ConfigError("alpha: this model writes four channels, which have one of their own: leave it out")
    if not plain:
        raise ConfigError("alpha: this model is not one of 8-bit images, which could take it over: leave it out")
    for suffix in sorted({target.suffix.lower() for target in targets} & set(WITHOUT_ALPHA)):
        raise ConfigError(f"alpha: {suffix[1:]} has no transparency: use png, webp, tiff or npy")
