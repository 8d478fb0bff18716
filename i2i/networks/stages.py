"""Reads or changes the outputs of a network's named stages while it runs, by forward hooks, for all networks alike.

A network names its stages itself (``Network.stages``). It is called as usual, so that everything else that hooks into
its call still works.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from torch import Tensor, nn

from i2i.compiling import uncompiled
from i2i.networks.base import Network

Reduce = Callable[[Tensor], Tensor]


def stage_outputs(
    network: Network,
    *inputs: Tensor | None,
    stages: Collection[str] | None = None,
    reduce: Reduce | None = None,
) -> dict[str, Tensor]:
    """The outputs of ``stages`` of ``network(*inputs)``, which runs only up to the last of them.

    Args:
        network: the network to run.
        inputs: its inputs.
        stages: names of its stages; all of them by default.
        reduce: as in ``recorded``.

    Returns:
        By stage, in the order in which they run: maps (N, C, H, W), or their ``reduce`` results.

    Raises:
        KeyError: a stage that the network does not have.
    """
    with recorded(network, stages, reduce=reduce) as found:
        modules = [module for name, module in network.stages().items() if stages is None or name in stages]
        if modules:
            with _hooked(modules[-1], _stop), suppress(_Reached):
                network(*inputs)
    return found


@contextmanager
def recorded(
    network: Network, stages: Collection[str] | None = None, *, reduce: Reduce | None = None
) -> Iterator[dict[str, Tensor]]:
    """A call of ``network`` within the context puts the outputs of ``stages`` into the dictionary.

    It is complete after the context. Layers that work in place do not change the outputs. A compiled network is called
    as it is.

    Args:
        network: the network, to be called once.
        stages: names of its stages; all of them by default.
        reduce: applied to each output (N, C, H, W) immediately, so that only its result is kept.

    Raises:
        KeyError: a stage that the network does not have.
        RuntimeError: a stage did not run.
    """
    known = network.stages()
    missing = set(stages or ()) - known.keys()
    if missing:
        raise KeyError(f"no stage {', '.join(sorted(missing))} in {type(network).__name__}")
    chosen = {name: module for name, module in known.items() if stages is None or name in stages}
    found: dict[str, Tensor] = {}
    originals: dict[str, tuple[Tensor, int]] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            copy = output.clone()
            found[name] = copy if reduce is None else reduce(copy)
            if reduce is None and not output.is_inference():  # inference tensors count no changes
                originals[name] = output, output._version

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in chosen.items()]
    try:
        with uncompiled():
            yield found
        if idle := chosen.keys() - found.keys():
            raise RuntimeError(f"stage {', '.join(sorted(idle))} of {type(network).__name__} did not run")
        # Keep the output itself unless it was changed in place: with a copy, the backward pass would sum the same
        # gradients in another order.
        found |= {name: output for name, (output, version) in originals.items() if output._version == version}
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def changed_stage(network: Network, stage: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the context, ``change`` replaces the output (N, C, H, W) of ``stage`` before ``network`` continues.

    Raises:
        KeyError: a stage that the network does not have.
    """
    with _hooked(network.stages()[stage], lambda _module, _inputs, output: change(output)):
        yield


class _Reached(Exception):
    """The last requested stage has run."""


def _stop(_module: nn.Module, _inputs: object, _output: Tensor) -> None:
    raise _Reached


@contextmanager
def _hooked(module: nn.Module, hook: Callable[[nn.Module, object, Tensor], Tensor | None]) -> Iterator[None]:
    """Applies a forward hook within the context."""
    handle = module.register_forward_hook(hook)
    try:
        with uncompiled():
            yield
    finally:
        handle.remove()
