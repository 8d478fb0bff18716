"""What convolutions take while they run, beside the tensors that they return.

On a CPU, as torch's sources have it (``aten/src/ATen/native/mkldnn/Conv.cpp`` and ``ConvolutionMM2d.cpp``):

- oneDNN computes in layouts of its own. Input, weight and output are each copied to or from one of the same size; the
  copies of input and weight end before the output is copied back. The backward pass does the same for each gradient.
- The plain convolution, which torch takes with one thread for small batches and kernels up to 3x3, unfolds its input to
  columns: each pixel as often as there are weights in a kernel.

On an accelerator, copies as oneDNN's are assumed: cuDNN's fast algorithms want another layout than torch's, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from i2i.planning.memory import bytes_of

UNFOLDING = ("Slow2d", "SlowTranspose2d")


class Workspace(NamedTuple):
    """Bytes that an operator takes before its result exists, and beside it."""

    before: int
    beside: int


NONE = Workspace(0, 0)


def workspace(operator: Any, args: Sequence[Any], chosen: Callable[..., str]) -> Workspace:
    """What ``operator`` takes; ``chosen`` tells by which of torch's backends a convolution is computed."""
    match operator:
        case torch.ops.aten.convolution.default:
            x, weight, bias, *settings = args
            return _forward(x, weight, settings, chosen(x, weight, bias is not None, *settings))
        case torch.ops.aten.convolution_backward.default:
            gradient, x, weight, _, *settings, wanted = args
            return _backward(gradient, x, weight, settings, wanted, chosen(x, weight, wanted[2], *settings))
        case _:
            return NONE


def on_cpu(x: Tensor, weight: Tensor, biased: bool, *settings: Any) -> str:
    """What torch computes a convolution with on a CPU, by shapes, types and the number of threads."""
    *_, transposed, _, groups = settings
    sizes = [weight.shape[1] * groups if transposed else weight.shape[0]] if biased else None
    bias = None if sizes is None else weight.new_empty(sizes)
    return str(torch._C._select_conv_backend(x, weight, bias, *settings, sizes).name)


def by_copies(*_: Any) -> str:
    """What an accelerator is assumed to compute with."""
    return "copies"


def _forward(x: Tensor, weight: Tensor, settings: Sequence[Any], backend: str) -> Workspace:
    if backend in UNFOLDING:
        return Workspace(0, _columns(x, weight, settings))
    out = bytes_of(torch.ops.aten.convolution.default(x, weight, None, *settings))
    return Workspace(bytes_of(x) + bytes_of(weight) + out, out)


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, settings: Sequence[Any], wanted: Sequence[bool], backend: str
) -> Workspace:
    if backend in UNFOLDING:
        return Workspace(0, _columns(x, weight, settings))
    # The gradient of the weight comes second, when that of the input exists.
    copies = bytes_of(gradient) + bytes_of(x) + bytes_of(weight)
    return Workspace(copies if wanted[0] else 0, copies if wanted[1] else 0)


def _columns(x: Tensor, weight: Tensor, settings: Sequence[Any]) -> int:
    """The bytes of an input (N, C, H, W), or for a transposed convolution an output, that is unfolded for a kernel."""
    stride, padding, dilation, transposed, *_ = settings
    high, wide = weight.shape[2:]
    if (high, wide) == (1, 1):
        return 0
    if transposed:
        pixels, channels = x.shape[2] * x.shape[3], weight.shape[1]
    else:
        rows, columns = (
            (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1
            for i in (0, 1)
        )
        pixels, channels = rows * columns, x.shape[1]
    return int(x.shape[0] * channels * high * wide * pixels * x.element_size())
