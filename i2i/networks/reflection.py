"""Reflection padding whose gradient is summed in a fixed order on every device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


def reflect(x: Tensor, padding: int) -> Tensor:
    """Pads (N, C, H, W) by its mirror image on all sides, without the edge itself: (N, C, H + 2p, W + 2p).

    The result has the precision of ``x`` (autocast would copy to float32). On an accelerator torch's own gradient is
    added up in any order, so that no run could be repeated; that of ``repeatable_reflect`` is not.
    """
    if x.device.type != "cpu":
        return repeatable_reflect(x, padding)
    with torch.autocast("cpu", enabled=False):
        return pad(x, (padding,) * 4, mode="reflect")


def repeatable_reflect(x: Tensor, padding: int) -> Tensor:
    """The same as ``reflect``; its gradient is folded by slices, and can be differentiated again."""
    padded: Tensor = _Reflect.apply(x, padding)
    return padded


class _Reflect(torch.autograd.Function):
    """Pads; ``_Fold`` is its transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int) -> Tensor:
        ctx.padding = padding
        return pad(x, (padding,) * 4, mode="reflect")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Fold.apply(gradient, ctx.padding), None


class _Fold(torch.autograd.Function):
    """Adds what lies in the margins of (N, C, H + 2p, W + 2p) to where it is the mirror image of: (N, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, padding: int) -> Tensor:
        ctx.padding = p = padding
        rows = padded[:, :, p:-p].clone()
        _add_margins(padded, rows, 2, p)
        inner = rows[:, :, :, p:-p]
        _add_margins(rows, inner, 3, p)
        return inner

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Reflect.apply(gradient, ctx.padding), None


def _add_margins(padded: Tensor, inner: Tensor, axis: int, p: int) -> None:
    """Adds the margins of ``padded``, p wide, to what they mirror in ``inner``, which lacks them along ``axis``."""
    length = inner.shape[axis]
    margins = padded.unfold(axis, p, length + p)  # both, and along a last axis their rows
    if p > 1:
        margins = margins.flip(-1)
    if length >= 2 * p + 2:
        inner.narrow(axis, 1, length - 2).unfold(axis, p, length - p - 2).add_(margins)
    else:  # what they mirror overlaps
        first, last = (margins.select(axis, side).movedim(-1, axis) for side in (0, 1))
        inner.narrow(axis, 1, p).add_(first)
        inner.narrow(axis, length - p - 1, p).add_(last)
