"""Memory by kind: which tensors are alive while steps run, and what they are for."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

Kind = Literal[
    "weights",
    "gradients",
    "optimisers",
    "moving average",
    "history",
    "images",
    "batch",
    "activations",
    "workspace",
    "gaps",
]
"""What memory is for. ``images`` are what ``data.on_device`` keeps there, and ``activations`` all tensors that are none
of the others, gradients on their way included; ``workspace`` is what an operator takes while it runs, and ``gaps`` what
the allocator loses."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Peak:
    """The bytes of each kind at the moment when all together are most."""

    by_kind: dict[Kind, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_kind.values())


class Ledger:
    """Follows the storages that operators make, from their birth to their end.

    Args:
        taken: how many bytes the allocator takes for a storage of so many.
    """

    def __init__(self, taken: Callable[[int], int]) -> None:
        self._taken = taken
        self._sizes: list[int] = []  # by the number of a storage, which it gets at birth
        self._kinds: dict[int, Kind] = {}
        self._changes: list[int] = []  # n: the birth of storage n; ~n: its end
        self._alive: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}

    def made(self, out: Any) -> None:
        """Takes note of what an operator returned."""
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._number_of(leaf)

    def worked(self, size: int) -> None:
        """Takes note of ``size`` bytes that an operator took for itself while it ran."""
        if size:
            number = self._born(size)
            self._kinds[number] = "workspace"
            self._changes.append(~number)

    def mark(self, kind: Kind, tensors: Iterable[Tensor]) -> None:
        """Says what tensors are for; the first word on a storage holds."""
        for tensor in tensors:
            self._kinds.setdefault(self._number_of(tensor), kind)

    def now(self) -> int:
        """The bytes that are alive."""
        return sum(self._taken(self._sizes[number]) for number, _ in self._alive.values())

    def restart(self) -> None:
        """Forgets what was before, but for what is still alive."""
        self._changes = [number for number, _ in self._alive.values()]

    def peak(self) -> Peak:
        """What there was when it was most, since the last ``restart``."""
        now = most = at = 0
        for moment, change in enumerate(self._changes):
            now += self._taken(self._sizes[change]) if change >= 0 else -self._taken(self._sizes[~change])
            if now > most:
                most, at = now, moment
        there = set[int]()
        for change in self._changes[: at + 1]:
            if change >= 0:
                there.add(change)
            else:
                there.discard(~change)
        by_kind: defaultdict[Kind, int] = defaultdict(int)
        for number in there:
            size = self._sizes[number]
            by_kind[self._kinds.get(number, "activations")] += size
            by_kind["gaps"] += self._taken(size) - size
        return Peak({kind: by_kind[kind] for kind in KINDS})

    def _number_of(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._alive:
            number = self._born(storage.nbytes())
            self._alive[key] = number, weakref.ref(storage, lambda _: self._ended(key))
        return self._alive[key][0]

    def _born(self, size: int) -> int:
        number = len(self._sizes)
        self._sizes.append(size)
        self._changes.append(number)
        return number

    def _ended(self, key: int) -> None:
        number, _ = self._alive.pop(key)
        self._changes.append(~number)


def bytes_of(tensor: Tensor) -> int:
    """The bytes of a tensor's elements."""
    return tensor.numel() * tensor.element_size()
