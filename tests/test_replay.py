"""A replayed step computes what a step computes: shown with a recorder of operators, where there is no CUDA."""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2i.methods.cyclegan import CycleGAN
from i2i.training.engine import Computed, Engine
from i2i.training.replay import WARM_UP, Again, Replay
from i2i.training.trainer import Trainer

from .conftest import small_config
from .toys import CPU, OF_PAPERS, assert_same, prepare, stream_of

DataFor = Callable[[str], Path]
STEPS = 2 * WARM_UP + 5
replayed = pytest.mark.parametrize("arch", OF_PAPERS)
EXTRA = {
    "cyclegan": [
        *("method.history=3", "method.r1=1", "method.penalty_every=2", "networks.discriminator.norm=instance"),
        "discriminator_augmentation={mode: adaptive, strength: 0.5, rise: 20}",
    ],
    "enco": ["method.identity_until=0.3"],
}
"""What differs between steps: penalties in some, a history that fills, strengths that move, a loss that ends."""


class Operators(TorchDispatchMode):
    """Writes down all operators and what they were given, as a CUDA graph does with kernels and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def again(self) -> None:
        """Repeats them on the same tensors."""
        with torch.no_grad():
            for func, args, kwargs, before in self.calls:
                result = func(*args, **kwargs)
                for kept, new in zip(tree_leaves(before), tree_leaves(result), strict=True):
                    if isinstance(kept, Tensor) and kept.data_ptr() != new.data_ptr():
                        kept.detach().copy_(new)


def record(work: Again) -> Again:
    operators = Operators()
    with operators:
        work()
    return operators.again


def states(arch: str, data: Path, replay: bool, *settings: str) -> list[dict[str, Any]]:
    """The engine's state and what it tells after each step."""
    config, loaded = prepare(arch, data, "training.ema.half_life=10", "training.ema.start=0", *settings)
    engine = Engine(config, CPU)
    assert engine.replay is None
    if replay:
        engine.replay = Replay[Computed](record)
    found, stream = [], stream_of(config, loaded)
    for step in range(STEPS):
        values = engine.step(stream, step / STEPS)
        found.append({key: value.clone() for key, value in values.items()})
    return [*found, engine.state_dict()]


@replayed
def test_replayed_steps_have_the_same_bits(arch: str, data_for: DataFor) -> None:
    settings = EXTRA.get(arch, [])
    straight, again = (states(arch, data_for(arch), replay, *settings) for replay in (False, True))
    for one, other in zip(straight, again, strict=True):
        assert_same(one, other)


def test_a_setting_without_effect_is_named(data_for: DataFor, caplog: pytest.LogCaptureFixture) -> None:
    Trainer(small_config("gan", data_for("gan"), "training.graphs=true"))
    assert "training.graphs has no effect, steps are not replayed: the device is cpu" in caplog.text


def test_a_subclass_says_for_itself_that_it_can_be_replayed(data_for: DataFor) -> None:
    class Other(CycleGAN):
        """May decide on the host what it computes."""

    config, _ = prepare("cyclegan", data_for("cyclegan"))
    engine = Engine(config, CPU)
    engine.device = torch.device("cuda")
    assert not engine.against_replay()
    engine.method.__class__ = Other
    assert "does not say that it can be" in engine.against_replay()
