"""Batch norm that trains with the statistics of the whole batch, over all ranks (Ioffe and Szegedy 2015).

torch's synchronised batch norm runs on CUDA only. Here a pass has one exchange of two numbers for each channel in the
forward and one in the backward, and torch's own kernels do what is done for each pixel. One rank alone uses torch's
layer as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from i2i.world import mean_over_ranks, world


class _GlobalBatchNorm(_BatchNorm):
    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, ...) to the same shape; N is the same on all ranks."""
        if not self.training or world().size == 1:
            return super().forward(x)
        mean, variance = _moments(x)
        self._follow(mean, variance, x.numel() // x.shape[1] * world().size)
        normal: Tensor = _Normalised.apply(x, self.weight, self.bias, mean, variance, self.eps)
        return normal

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Updates the running statistics, as torch does, from a batch of ``count`` values per channel."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), weight)


class BatchNorm1d(_GlobalBatchNorm, nn.BatchNorm1d):
    """Batch norm of (N, C)."""


class BatchNorm2d(_GlobalBatchNorm, nn.BatchNorm2d):
    """Batch norm of (N, C, H, W)."""


@torch.no_grad()
def _moments(x: Tensor) -> Tensor:
    """Mean and variance of each channel of x: (N, C, ...) over all ranks, as (2, C) in at least float32."""
    variance, mean = torch.var_mean(_wide(x), [0, *range(2, x.ndim)], correction=0)
    # In double precision, because a mean of squares less the square of the mean cancels.
    moments = torch.stack([mean, variance]).double()
    moments[1].addcmul_(moments[0], moments[0])
    moments = mean_over_ranks(moments)
    moments[1].addcmul_(moments[0], moments[0], value=-1)
    return moments.to(mean.dtype)


def _wide(x: Tensor) -> Tensor:
    """In float32, or in the precision of x if that is higher."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _Normalised(torch.autograd.Function):
    """Batch norm of x: (N, C, ...) by moments of the whole batch, which ``x`` determines: the gradient knows that."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.eps = eps
        return batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        if torch.is_grad_enabled():  # whoever asks wants to differentiate the result
            return *_differentiable(gradient, x, weight, bias, ctx.eps), None, None, None
        affine = weight is not None
        weight = weight if affine else torch.ones_like(mean)
        # With the moments as constants: the gradients of x, and of weight and bias, which are sums over this rank.
        unused = mean.new_empty(0)  # CUDA's kernel wants tensors for what training mode would have kept
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, unused, unused, False, ctx.eps, [True, True, True]
        )
        # Through the moments: the mean over all values of what each of them gets, as an affine function of x.
        means = mean_over_ranks(torch.stack([of_weight, of_bias])) * (variance + ctx.eps).rsqrt().mul_(weight)
        through = batch_norm(x, mean, variance, means[0], means[1], training=False, eps=ctx.eps)
        of_x.sub_(through, alpha=x.shape[1] / x.numel())
        return of_x, of_weight if affine else None, of_bias if affine else None, None, None, None


def _differentiable(
    gradient: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> list[Tensor | None]:
    """The gradients of x, weight and bias by the plain statement, which can be differentiated again."""
    over, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    inputs = [each for each in (x, weight, bias) if each is not None and each.requires_grad]
    centred = _wide(x) - mean_over_ranks(_wide(x).mean(over)).view(shape)
    variance = mean_over_ranks(centred.square().mean(over)).view(shape)
    normal = centred * (variance + eps).rsqrt()
    if weight is not None and bias is not None:
        normal = normal * weight.view(shape) + bias.view(shape)
    found = iter(torch.autograd.grad(normal, inputs, gradient.to(normal.dtype), create_graph=True))
    return [next(found) if each is not None and each.requires_grad else None for each in (x, weight, bias)]
