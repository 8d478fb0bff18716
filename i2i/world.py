"""Lets several processes train as one: random draws, means and statistics of the whole batch on each of them.

Item i of a batch belongs to rank i modulo the world size. The ranks' random generators are in the same state: every
rank draws for all items and keeps its own part, so no draw depends on the world size. Losses that are means over items
need nothing else; statistics of the whole batch are computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from i2i.launched import World

_as_if: World | None = None


def world() -> World:
    """The processes that train together; one if there is no process group."""
    if _as_if is not None:
        return _as_if
    if not (distributed.is_available() and distributed.is_initialized()):
        return World()
    return World(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def as_rank(rank: int, size: int) -> Iterator[None]:
    """Within the context, this process acts as this rank; as rank 0 of 1, it does not wait for other processes."""
    global _as_if
    before, _as_if = _as_if, World(rank, size)
    try:
        yield
    finally:
        _as_if = before


def own_part(whole: Tensor) -> Tensor:
    """This rank's items of the whole batch."""
    here = world()
    return whole[here.rank :: here.size]


def drawn_for_all(draw: Callable[[int], Tensor], count: int) -> Tensor:
    """This rank's part (count, ...) of ``draw(n)``, where n is the number of items in the whole batch."""
    return own_part(draw(count * world().size))


def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of ``x`` over all ranks, of the same shape; differentiable, also twice."""
    mean: Tensor = x if world().size == 1 else _Mean.apply(x)
    return mean


def means_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean of each tensor over all ranks, in one exchange; differentiable, also twice."""
    if world().size == 1:
        return list(tensors)
    means = torch.split(mean_over_ranks(_joined(tensors)), [tensor.numel() for tensor in tensors])
    return [mean.view_as(tensor) for mean, tensor in zip(means, tensors, strict=True)]


@torch.no_grad()
def items_of_all(x: Tensor, numbers: Sequence[int]) -> Tensor:
    """The items of the whole batch with these ``numbers``, in this order, from this rank's part ``x``.

    Exchanged are as many items as are asked for, and not one for each rank.
    """
    here = world()
    if here.size == 1:
        return torch.stack([x[number] for number in numbers])
    found = x.new_zeros(len(numbers), *x.shape[1:])
    for place, number in enumerate(numbers):
        if number % here.size == here.rank:
            found[place] = x[number // here.size]
    distributed.all_reduce(found)
    return found


def std_over_all(x: Tensor) -> Tensor:
    """The standard deviation of all values of the whole batch, as a detached scalar."""
    size = world().size
    if size == 1:
        return x.detach().std()
    mean = mean_over_ranks(x.detach().double().mean())
    square = mean_over_ranks((x.detach().double() - mean).square().mean())
    count = x.numel() * size
    return (square * count / (count - 1)).sqrt().to(x.dtype)


@torch.no_grad()
def average_over_ranks(tensors: Iterable[Tensor]) -> None:
    """Replaces tensors of the same precision by their means over all ranks, in one exchange."""
    listed = list(tensors)
    if world().size == 1 or not listed:
        return
    flat = _joined(listed)
    distributed.all_reduce(flat)
    flat /= world().size
    for tensor, mean in zip(listed, torch.split(flat, [tensor.numel() for tensor in listed]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


class _Mean(torch.autograd.Function):
    """The gradient for one rank's part is the mean of all ranks' gradients for the mean."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mean = x / world().size
        distributed.all_reduce(mean)
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return mean_over_ranks(gradient.contiguous())
