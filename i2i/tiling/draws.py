"""What is drawn at random for a whole image, of which tiles take their part."""

from __future__ import annotations

from i2i.errors import DataError

MOST_DRAWN = 1 << 26
"""Random numbers for a whole map that are kept in memory."""


def require_drawable(count: int) -> None:
    """Raises DataError for more random numbers in a map than are kept in memory."""
    if count > MOST_DRAWN:
        raise DataError(
            "the noise or dropout of this model, which is drawn for the whole image, would take too much memory: use a "
            "smaller image"
        )
