"""A generator that was trained with other code: it translates, but cannot be trained further.

No paper: a file of foreign weights does not say with which losses, data and optimisers it was trained. ``i2i import``
writes the weight files of this method, and no recipe uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from i2i.batch import Batch, DataSpec
from i2i.methods.base import Update, side_by_side
from i2i.methods.translation import A_TO_B, Direction, TranslationMethod
from i2i.networks.base import Translator


class Imported(TranslationMethod, name="imported"):
    """One generator; its inputs are domain A, its outputs domain B."""

    def __init__(self, data: DataSpec, *, generator: Callable[..., Translator]) -> None:
        super().__init__()
        self.data = data
        self.generator = generator(data.channels_a, data.channels_b)

    def players(self) -> dict[str, list[nn.Module]]:
        """No players: the generator cannot be trained further."""
        return {}

    def updates(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """No updates."""
        return iter(())

    def directions(self) -> dict[str, Direction]:
        return {A_TO_B: Direction(self.generator, self.data.channels_a, self.data.channels_b)}

    def preview(self, batch: Batch) -> dict[str, Tensor]:
        """Rows of input | translated."""
        return {A_TO_B: side_by_side(batch.a, self.generator(batch.a))}
