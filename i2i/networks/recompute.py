"""Calls a network without keeping its activations; the backward pass recomputes them (Chen et al. 2016).

Sublinear memory cost, arXiv:1604.06174. The second computation draws the same random numbers, and batch norm updates
its running statistics only in the first one, so only time and memory differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Output = TypeVar("Output")


def recomputed(network: nn.Module, compute: Callable[[Tensor], Output], x: Tensor) -> Output:
    """``compute(x)``, whose graph keeps only ``x``.

    Args:
        network: the network that ``compute`` calls.
        compute: what to compute: the network itself, or one of its methods.
        x: its input.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics(network)

    output: Output = checkpoint(compute, x, use_reentrant=False, context_fn=contexts)
    return output


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch norm computes as in training, without updating its running statistics."""
    norms = [norm for norm in network.modules() if isinstance(norm, _BatchNorm)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    try:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
