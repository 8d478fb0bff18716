"""What there is to compute in a step: arithmetic, bytes that are moved, and kernels that are launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from i2i.planning.memory import bytes_of

NO_KERNELS = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "alias")


@dataclass
class Work:
    """Sums over operators.

    Attributes:
        flop: of convolutions and matrix products, a multiplication and an addition each counted; all else is little.
        bytes: every operand read and every result written once.
        kernels: operators that are no views, each as one launch.
    """

    flop: int = 0
    bytes: int = 0
    kernels: int = 0

    def add(self, operator: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Adds an operator."""
        name = operator.overloadpacket.__name__
        if operator.is_view or operator.namespace != "aten" or name in NO_KERNELS:
            return
        self.kernels += 1
        self.bytes += sum(
            min(bytes_of(leaf), leaf.untyped_storage().nbytes())  # what is expanded is read once
            for leaf in tree_leaves((args, kwargs, out))
            if isinstance(leaf, Tensor)
        )
        count = flop_registry.get(operator.overloadpacket)
        if count is not None:
            self.flop += count(*args, **kwargs, out_val=out)
