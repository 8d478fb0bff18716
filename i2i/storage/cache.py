"""The folder of what i2i keeps between commands and could make again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for i2i, by the platform's custom; ``I2I_CACHE`` overrides it."""
    if own := os.environ.get("I2I_CACHE"):
        return Path(own)
    from platformdirs import user_cache_path

    try:
        Path.home()
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / "i2i"
    return user_cache_path("i2i", appauthor=False, opinion=False)
