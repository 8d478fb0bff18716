"""Matplotlib figures without pyplot's global state, so that no window opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from i2i.data.images import Pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA, GENERATED, CRITIC, THEORY = "tab:green", "tab:red", "tab:blue", "black"
"""One colour for each, in every figure."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, ``width`` x ``height`` inches."""
    from matplotlib.figure import Figure

    return Figure((width, height), dpi=110, layout="constrained")


def to_pixels(figure: Figure) -> Pixels:
    """Renders a figure to (H, W, 3), uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
